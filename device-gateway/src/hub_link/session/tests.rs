//! A session with a hub that is scripted byte by byte.

use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::{config::Config, hub_link::clock_tests::link_of};

/// An accepted session that is new.
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];

#[tokio::test]
async fn a_hub_that_does_not_acknowledge_the_subscriptions_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let text = "state_dir = \"state\"\n[timing]\nrequest_limit = \"50ms\"\n\
                [[device]]\nid = \"d1\"\n\
                connection_string = \"HostName=h;DeviceId=d1;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0\"\n\
                [device.command]\nbaseline = [\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]\n";
    let (mut link, _handle) = link_of(&Config::parse(text, folder.path()).unwrap());
    let (ours, mut hub) = io::duplex(4_096);
    let welcomes = async move {
        let connect = hub.read(&mut [0; 1_024]).await.unwrap();
        assert!(connect > 0);
        hub.write_all(&CONNACK).await.unwrap();
        // From here on it hears all and says nothing.
        io::copy(&mut hub, &mut io::sink()).await
    };
    tokio::spawn(welcomes);
    let login = Login {
        client_id: "d1".into(),
        user: "u".into(),
        password: "p".into(),
        keep_alive: 240,
        clean: false,
        will: None,
        max_packet: 4_096,
    };
    let session = Session::open(Box::new(ours), login, None).await.unwrap();
    let shutdown = CancellationToken::new();
    let held = link.hold(session, false, &shutdown);
    let end = time::timeout(Duration::from_secs(30), held).await;
    let Ok(End::Lost(error)) = end else {
        panic!("it is held for ever");
    };
    assert!(
        matches!(error, LinkError::Slow("subscribing", _)),
        "{error}"
    );
}
