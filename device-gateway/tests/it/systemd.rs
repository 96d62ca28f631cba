//! The program as systemd starts it.

use std::{fs, process::Stdio, time::Duration};

use tokio::{net::UnixDatagram, process::Command, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// The next message to systemd that begins like this; others are left out.
async fn told(systemd: &UnixDatagram, words: &str) -> String {
    let mut bytes = [0; 4096];
    let heard = async {
        loop {
            let length = systemd.recv(&mut bytes).await.expect("a message");
            let message = String::from_utf8_lossy(&bytes[..length]);
            if message.lines().any(|line| line.starts_with(words)) {
                return message.into_owned();
            }
        }
    };
    let heard = timeout(LIMIT, heard).await;
    heard.unwrap_or_else(|_| panic!("{words} is not said in time"))
}

#[tokio::test]
async fn readiness_status_watchdog_and_stopping_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    let settings = folder.path().join("gateway.toml");
    // Nobody is at either address: a gateway serves without a hub, and without a message bus.
    let text = "state_dir = \"state\"\n[hub]\nmqtt_port = 1\n[[device]]\nid = \"d1\"\n\
                connection_string = \"HostName=127.0.0.1;DeviceId=d1;\
                SharedAccessKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"\n\
                [device.host]\ndry_run = true\nfallback = false\nbus_address = \"unix:path=/nowhere\"\n";
    fs::write(&settings, text).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_device-gateway"))
        .arg("--config")
        .arg(&settings)
        .env("NOTIFY_SOCKET", &socket)
        .env("WATCHDOG_USEC", "100000")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    told(&systemd, "STATUS=").await;
    told(&systemd, "READY=1").await;
    for _ in 0..3 {
        told(&systemd, "WATCHDOG=1").await;
    }
    let id = gateway.id().unwrap().to_string();
    let send = async |signal: &str| {
        let sent = Command::new("kill")
            .args([signal, id.as_str()])
            .status()
            .await;
        assert!(sent.unwrap().success());
    };
    // With a second device, with a mistake, and with no more than the one device again.
    let second = text.split_once("[[device]]").unwrap().1.replace("d1", "d2");
    let second = second.replace(
        "[device.host]\ndry_run = true\nfallback = false\nbus_address",
        "[device.command]\nbaseline",
    );
    let second = second.replace(
        "\"unix:path=/nowhere\"",
        "[\"false\"]\ntrigger = [\"false\"]\nobserve = [\"false\"]",
    );
    for (text, devices) in [
        (format!("{text}[[device]]{second}"), Some("2 device")),
        (format!("{text}colour = 1\n"), None),
        (text.to_owned(), Some("1 device")),
    ] {
        fs::write(&settings, text).unwrap();
        send("-HUP").await;
        let message = told(&systemd, "RELOADING=1").await;
        assert!(message.contains("MONOTONIC_USEC="), "{message}");
        if let Some(devices) = devices {
            let status = told(&systemd, "STATUS=").await;
            assert!(status.contains(devices), "{status}");
        }
        told(&systemd, "READY=1").await;
    }
    send("-TERM").await;
    told(&systemd, "STOPPING=1").await;
    let ended = timeout(LIMIT, gateway.wait()).await;
    assert!(ended.expect("it ends in time").unwrap().success());
}

/// What systemd gives a service by default is 1024 files, which is less than a thousand devices need.
#[test]
fn the_packages_unit_has_room_for_ten_thousand_devices() {
    const UNIT: &str = include_str!("../../../packaging/debian/device-gateway.service");
    let limit = UNIT
        .lines()
        .find_map(|line| line.strip_prefix("LimitNOFILE="));
    let limit: u32 = limit.expect("a limit").parse().expect("a number");
    assert!(limit >= 2 * 10_000 + 1_000, "{limit}");
}
