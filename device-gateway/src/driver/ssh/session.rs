//! One connection to a device, for one command.

use std::{
    borrow::Cow,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use russh::{
    ChannelMsg, Disconnect, Preferred, client,
    keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate},
};
use secrecy::ExposeSecret as _;
use tokio::{net::TcpStream, time};

use super::trust::{Credential, HostKey};
use crate::{causes::is_turned_away, config::SshConfig};

/// How much of what a command prints is kept.
const KEPT: usize = 64 * 1024;

/// Why no command was run. In each case it certainly was not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SshError {
    /// The device does not answer.
    #[error("{0}")]
    Unreachable(String),
    /// Its machine takes no connection.
    #[error("{0}")]
    TurnedAway(String),
    /// Whoever answers is not the device that is known.
    #[error("the host key changed: it is {found}, and {expected} is trusted")]
    HostKeyChanged {
        /// The key that was shown.
        found: String,
        /// The one that should have been.
        expected: String,
    },
    /// The device does not let the gateway in.
    #[error("the device did not accept {0}")]
    NotAccepted(&'static str),
    /// The trusted host key cannot be read or kept.
    #[error("keep the host key: {0}")]
    HostKeyFile(String),
}

/// How a command ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Finished {
    /// Its exit status; none when the connection, or a signal, ended it.
    pub(super) status: Option<u32>,
    /// The beginning of its standard output.
    pub(super) printed: Vec<u8>,
    /// The beginning of its standard error.
    pub(super) complaints: Vec<u8>,
}

/// Runs a command on the device, by whatever shell the device gives it to.
pub(super) async fn run(config: &SshConfig, command: &str) -> Result<Finished, SshError> {
    let connected = time::timeout(config.timeout, connect(config)).await;
    let session =
        connected.map_err(|_| SshError::Unreachable("no answer in time".to_owned()))??;
    let unreachable = |error: russh::Error| SshError::Unreachable(error.to_string());
    let mut finished = Finished::default();
    let running = async {
        let mut channel = session.channel_open_session().await.map_err(unreachable)?;
        // From here on the command may run, whatever becomes of the connection.
        if channel.exec(true, command).await.is_err() {
            return Ok(());
        }
        while let Some(message) = channel.wait().await {
            finished.take(message);
        }
        Ok(())
    };
    // A command that takes too long is cut off with its connection.
    if let Ok(run) = time::timeout(config.timeout, running).await {
        run?;
    }
    // The device hears of the end or not.
    let farewell = session.disconnect(Disconnect::ByApplication, "", "");
    let _ = time::timeout(config.timeout, farewell).await;
    Ok(finished)
}

impl Finished {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most kinds of message are of a server or a terminal, and the enum is open"
    )]
    fn take(&mut self, message: ChannelMsg) {
        let keep = |kept: &mut Vec<u8>, data: &[u8]| {
            let room = KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
        };
        match message {
            ChannelMsg::Data { data } => keep(&mut self.printed, &data),
            ChannelMsg::ExtendedData { data, .. } => keep(&mut self.complaints, &data),
            ChannelMsg::ExitStatus { exit_status } => self.status = Some(exit_status),
            _ => {}
        }
    }
}

async fn connect(config: &SshConfig) -> Result<client::Handle<HostKeyCheck>, SshError> {
    let expected = config.trust.expected();
    let expected = expected.map_err(|error| SshError::HostKeyFile(error.to_string()))?;
    let mut preferred = Preferred::default();
    if let Some(key) = &expected {
        preferred.key = Cow::Owned(vec![key.algorithm()]);
    }
    let settings = client::Config {
        preferred,
        nodelay: true,
        ..client::Config::default()
    };
    let no_connection = |error: io::Error| {
        if is_turned_away(&error) {
            SshError::TurnedAway(error.to_string())
        } else {
            SshError::Unreachable(error.to_string())
        }
    };
    let address = (config.host.as_str(), config.port);
    let stream = TcpStream::connect(address).await.map_err(no_connection)?;
    let shown = Arc::<Mutex<Option<HostKey>>>::default();
    let check = HostKeyCheck {
        expected: expected.clone(),
        shown: shown.clone(),
    };
    let connected = client::connect_stream(Arc::new(settings), stream, check).await;
    let shown = shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let (Some(expected), Some(found)) = (&expected, &shown)
        && expected != found
    {
        return Err(SshError::HostKeyChanged {
            found: found.to_string(),
            expected: expected.to_string(),
        });
    }
    let mut session = connected.map_err(|error| match (error, &expected) {
        // It has no key of the trusted kind any more.
        (
            russh::Error::NoCommonAlgo {
                kind: russh::AlgorithmKind::Key,
                ..
            },
            Some(expected),
        ) => SshError::HostKeyChanged {
            found: "of another kind".to_owned(),
            expected: expected.to_string(),
        },
        (russh::Error::IO(error), _) => no_connection(error),
        (error, _) => SshError::Unreachable(error.to_string()),
    })?;
    if let (None, Some(shown)) = (&expected, &shown) {
        let learned = config.trust.learn(shown);
        learned.map_err(|error| SshError::HostKeyFile(error.to_string()))?;
        tracing::warn!(host = config.host, key = %shown, "trusted a host key on first use");
    }
    sign_in(config, &mut session).await?;
    Ok(session)
}

async fn sign_in(
    config: &SshConfig,
    session: &mut client::Handle<HostKeyCheck>,
) -> Result<(), SshError> {
    let user = config.user.as_str();
    let (what, signed_in) = match &config.credential {
        Credential::Key(key) => {
            let key = PrivateKeyWithHashAlg::new(key.key(), None);
            let signed_in = session.authenticate_publickey(user, key).await;
            ("the gateway's key", signed_in)
        }
        Credential::Password(password) => {
            let password = password.expose_secret();
            let signed_in = session.authenticate_password(user, password).await;
            ("the password", signed_in)
        }
    };
    match signed_in {
        Ok(result) if result.success() => Ok(()),
        Ok(_) => Err(SshError::NotAccepted(what)),
        Err(error) => Err(SshError::Unreachable(error.to_string())),
    }
}

/// Compares the key that the device shows.
#[derive(Debug)]
struct HostKeyCheck {
    /// Nothing before the first use.
    expected: Option<HostKey>,
    shown: Arc<Mutex<Option<HostKey>>>,
}

impl client::Handler for HostKeyCheck {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        key: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else {
            return Ok(false);
        };
        let key = HostKey::of(key);
        let trusted = self
            .expected
            .as_ref()
            .is_none_or(|expected| *expected == key);
        *self.shown.lock().unwrap_or_else(PoisonError::into_inner) = Some(key);
        Ok(trusted)
    }
}
