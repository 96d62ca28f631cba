//! A device with an SSH server of its own and three commands.

use std::{net::SocketAddr, sync::Arc};

use russh::{
    Channel, ChannelId,
    server::{self, Auth, ChannelOpenHandle, Msg, Session},
};
use tokio::{net::TcpListener, task::JoinHandle};

use super::*;
use crate::driver::conformance::{self, FakeDevice, Shows};

/// What the device is told to run, as it answers: what it prints and its exit status, or nothing when
/// it cuts the connection.
type Shell = dyn Fn(&str) -> Option<(String, u32)> + Send + Sync;

/// A server; it ends when it is dropped.
pub(super) struct Fake {
    pub(super) address: SocketAddr,
    serving: JoinHandle<()>,
}

impl Fake {
    /// Lets in whoever says `secret`.
    pub(super) async fn start(
        key: PrivateKey,
        shell: impl Fn(&str) -> Option<(String, u32)> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Arc::new(server::Config {
            keys: vec![key],
            auth_rejection_time: Duration::ZERO,
            nodelay: true,
            ..server::Config::default()
        });
        let shell: Arc<Shell> = Arc::new(shell);
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = Connection(shell.clone());
                let served = server::run_stream(settings.clone(), stream, connection);
                tokio::spawn(async move {
                    // A client that does not like our key breaks off.
                    if let Ok(session) = served.await {
                        let _ = session.await;
                    }
                });
            }
        });
        Self { address, serving }
    }

    fn driver(&self, key: &PrivateKey) -> SshDriver {
        let trust = Trust::Pinned(host_key(key));
        let password = Credential::Password("secret".into());
        SshDriver::new(config(self.address.port(), trust, password))
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

struct Connection(Arc<Shell>);

impl server::Handler for Connection {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(match (user, password) {
            ("root", "secret") => Auth::Accept,
            (_, _) => Auth::reject(),
        })
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8_lossy(command);
        let (printed, status) = (self.0)(&command).ok_or(russh::Error::Disconnect)?;
        session.channel_success(channel)?;
        session.data(channel, printed)?;
        session.exit_status_request(channel, status)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

#[tokio::test]
async fn no_behavior_of_a_device_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::BootChanged,
        each_boot: true,
        health: true,
    };
    conformance::check(shows, async |device| {
        let key = new_key();
        let fake = Fake::start(key.clone(), move |command| answer(&device, command)).await;
        (Arc::new(fake.driver(&key)) as Arc<dyn Driver>, fake)
    })
    .await;
}

fn answer(device: &FakeDevice, command: &str) -> Option<(String, u32)> {
    let said = |status| (String::new(), status);
    match command {
        "look" => device
            .look()
            .map(|shown| (format!("b{}\n", shown.boots), 0)),
        "health" => device.peek().map(|shown| said(u32::from(!shown.healthy))),
        command => {
            assert_eq!(command, format!("reboot {} graceful", ID));
            device.command(None).then(|| said(0))
        }
    }
}

#[tokio::test]
async fn another_host_key_is_named_and_nothing_is_sent_to_it() {
    let (known, changed) = (new_key(), new_key());
    let fake = Fake::start(changed.clone(), |command| {
        panic!("it was told to {command}")
    })
    .await;
    let driver = fake.driver(&known);
    let (known, changed) = (host_key(&known), host_key(&changed));
    let words = format!("the host key changed: it is {changed}, and {known} is trusted");
    for failed in [driver.baseline().await.err(), observe(&driver).await.err()] {
        let expected = DriverError::Failed {
            doing: "sign in",
            message: words.clone(),
        };
        assert_eq!(failed, Some(expected));
    }
    // The command was certainly not given.
    let refused = driver.trigger(&order(Mode::Graceful)).await;
    assert_eq!(refused, Err(DriverError::Refused(words)));
}

#[tokio::test]
async fn the_first_key_is_trusted_only_where_asked_and_the_second_never() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host.pub");
    let (first, second) = (new_key(), new_key());
    let shell = |_: &str| Some(("b1".to_owned(), 0));
    let learns = |port| {
        let trust = Trust::FirstUse(file.clone());
        SshDriver::new(config(port, trust, Credential::Password("secret".into())))
    };
    let fake = Fake::start(first.clone(), shell).await;
    let driver = learns(fake.address.port());
    assert!(observe(&driver).await.unwrap().present);
    let kept: HostKey = std::fs::read_to_string(&file).unwrap().parse().unwrap();
    assert_eq!(kept, host_key(&first));
    assert!(observe(&driver).await.unwrap().present);

    let other = Fake::start(second, shell).await;
    let refused = observe(&learns(other.address.port())).await;
    let message = refused.unwrap_err().to_string();
    assert!(
        message.starts_with("sign in: the host key changed: "),
        "{message}"
    );
    std::fs::write(&file, "nonsense").unwrap();
    assert!(matches!(
        observe(&driver).await,
        Err(DriverError::Failed { .. })
    ));
}

#[tokio::test]
async fn a_wrong_password_is_told() {
    let key = new_key();
    let fake = Fake::start(key.clone(), |_| None).await;
    let trust = Trust::Pinned(host_key(&key));
    let wrong = Credential::Password("guess".into());
    let driver = SshDriver::new(config(fake.address.port(), trust, wrong));
    let refused = driver.trigger(&order(Mode::Graceful)).await;
    let words = "the device did not accept the password".to_owned();
    assert_eq!(refused, Err(DriverError::Refused(words)));
}

#[tokio::test]
async fn a_rehearsal_looks_and_gives_no_command() {
    let key = new_key();
    let fake = Fake::start(key.clone(), |command| {
        assert_eq!(command, "look");
        Some(("b1\n".to_owned(), 0))
    })
    .await;
    let driver = fake.driver(&key);
    let rehearsal = rehearsal(Mode::Graceful);
    let rehearsed = driver.trigger(&rehearsal).await;
    assert_eq!(rehearsed, Ok(Triggered::Rehearsed));
    let probe = driver.probe().await.unwrap();
    assert_eq!(probe.best_grade, Grade::Healthy);
    assert_eq!(probe.required_grade, Grade::BootChanged);
    assert_eq!(probe.boot_id.as_deref(), Some("b1"));
}
