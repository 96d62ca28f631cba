//! The driver over loopback: against a server that misbehaves in its commands, and against OpenSSH.

mod fake;
mod openssh;

use std::time::Duration;

use iot_hub::reboot::{Grade, Mode};
use russh::keys::{Algorithm, PrivateKey};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use crate::driver::tests::{ID, order, rehearsal};

fn new_key() -> PrivateKey {
    PrivateKey::random(&mut rand::rng(), Algorithm::Ed25519).unwrap()
}

/// The host key as it is written in the settings.
fn host_key(key: &PrivateKey) -> HostKey {
    let line = key.public_key().to_openssh().unwrap();
    format!("{line} somebody@somewhere").parse().unwrap()
}

fn client_key(key: &PrivateKey) -> Credential {
    let text = key.to_openssh(Default::default()).unwrap();
    Credential::Key(text.parse().unwrap())
}

fn config(port: u16, trust: Trust, credential: Credential) -> SshConfig {
    SshConfig {
        host: "127.0.0.1".into(),
        port,
        user: "root".into(),
        trust,
        credential,
        look: "look".into(),
        reboot: "reboot {id} {mode}".into(),
        forced: Some("reboot --force {id}".into()),
        health: Some("health".into()),
        timeout: Duration::from_secs(20),
    }
}

async fn observe(driver: &SshDriver) -> Result<Observation, DriverError> {
    driver.observe(&Baseline::default()).await
}

#[tokio::test]
async fn a_machine_that_takes_no_connection_is_known_to_be_away_and_one_that_hangs_up_is_not() {
    let (key, listener) = (new_key(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    let trust = Trust::Pinned(host_key(&key));
    let driver = SshDriver::new(config(port, trust, client_key(&key)));
    let hangs_up = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.shutdown().await.unwrap();
        // A connection is not reset that was read to its end.
        stream.read_to_end(&mut Vec::new()).await.unwrap();
    };
    let (seen, ()) = tokio::join!(observe(&driver), hangs_up);
    assert!(matches!(seen, Err(DriverError::Unreachable(_))), "{seen:?}");

    drop(listener);
    let seen = observe(&driver).await;
    assert!(matches!(seen, Err(DriverError::Absent(_))), "{seen:?}");
    let given = driver.trigger(&order(Mode::Graceful)).await;
    assert!(matches!(given, Err(DriverError::Absent(_))), "{given:?}");
}

#[test]
fn no_secret_is_printed() {
    let key = new_key();
    let printed = format!(
        "{:?}",
        config(22, Trust::Pinned(host_key(&key)), client_key(&key))
    );
    assert!(printed.contains("ClientKey(..)"), "{printed}");
}
