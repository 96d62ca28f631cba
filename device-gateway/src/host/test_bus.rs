//! A message bus of a test's own, with a mock of systemd-logind on it.
//!
//! Needs the Debian packages `dbus` and `python3-dbusmock`.

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time,
};
use zbus::{Connection, connection::Builder, fdo::DBusProxy};

/// How long anything in a test may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(super) const LOGIND: &str = "org.freedesktop.login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

/// A bus, and the mock on it. Both end with it.
pub(crate) struct TestBus {
    /// Where the bus listens.
    pub(crate) address: String,
    pub(crate) dir: TempDir,
    log: PathBuf,
    connection: Connection,
    _daemon: Child,
    _mock: Child,
}

impl TestBus {
    /// Starts both; the mock answers that to `CanReboot`.
    pub(crate) async fn start(can_reboot: &str) -> Self {
        let started = time::timeout(LIMIT, Self::begin(can_reboot)).await;
        started.expect("the bus and the mock start in time")
    }

    async fn begin(can_reboot: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (daemon, address) = start_daemon(&dir).await;
        let connection = Builder::address(address.as_str())
            .method_timeout(LIMIT)
            .build()
            .await
            .unwrap();
        let bus = DBusProxy::new(&connection).await.unwrap();
        let mut owners = bus
            .receive_name_owner_changed_with_args(&[(0, LOGIND)])
            .await
            .unwrap();

        let log = dir.path().join("mock.log");
        // Debian's interpreter by its path: only that one sees Debian's modules.
        let mut mock = Command::new("/usr/bin/python3")
            .args(["-m", "dbusmock", "--template", "logind", "--logfile"])
            .arg(&log)
            .args([
                "--parameters",
                &format!(r#"{{"CanReboot": "{can_reboot}"}}"#),
            ])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &address)
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("run /usr/bin/python3");
        tokio::select! {
            _ = owners.next() => {}
            status = mock.wait() => {
                panic!("the mock ended ({status:?}): is python3-dbusmock installed?");
            }
        }
        let this = Self {
            address,
            dir,
            log,
            connection,
            _daemon: daemon,
            _mock: mock,
        };
        // Debian 12's mock does not have it.
        this.method("ScheduleShutdown", "st", "").await;
        this
    }

    /// Has the mock run that Python code when a method is called.
    pub(crate) async fn method(&self, name: &str, arguments: &str, code: &str) {
        let body = (MANAGER, name, arguments, "", code);
        let added = self.connection.call_method(
            Some(LOGIND),
            "/org/freedesktop/login1",
            Some("org.freedesktop.DBus.Mock"),
            "AddMethod",
            &body,
        );
        added.await.expect("add a method to the mock");
    }

    /// Takes an inhibitor, which lasts as long as what is returned.
    pub(crate) async fn inhibit(&self, what: &str, who: &str, why: &str, mode: &str) -> Inhibitor {
        let body = (what, who, why, mode);
        let taken = self.connection.call_method(
            Some(LOGIND),
            "/org/freedesktop/login1",
            Some(MANAGER),
            "Inhibit",
            &body,
        );
        let reply = taken.await.expect("take an inhibitor");
        Inhibitor(reply.body().deserialize().expect("a file descriptor"))
    }

    /// Has the mock announce that the machine goes down, or does not.
    pub(crate) async fn announce_shutdown(&self, begins: bool) {
        let value = vec![zbus::Variant::from(begins)];
        let body = (MANAGER, "PrepareForShutdown", "b", value);
        let emitted = self.connection.call_method(
            Some(LOGIND),
            "/org/freedesktop/login1",
            Some("org.freedesktop.DBus.Mock"),
            "EmitSignal",
            &body,
        );
        emitted.await.expect("have the mock emit a signal");
    }

    /// Everything but questions that the mock was asked for: the method and its arguments.
    pub(crate) fn asked(&self) -> Vec<String> {
        const HARMLESS: [&str; 4] = ["CanReboot", "ListInhibitors", "Inhibit", "emit"];
        let is_harmless = |call: &str| {
            let method = call.split(' ').next();
            method.is_some_and(|method| HARMLESS.contains(&method))
        };
        fs::read_to_string(&self.log)
            .unwrap()
            .lines()
            // Each line begins with a time.
            .filter_map(|line| Some(line.split_once(' ')?.1.to_owned()))
            .filter(|call| !is_harmless(call))
            .collect()
    }
}

/// An inhibitor of a test.
pub(crate) struct Inhibitor(#[expect(dead_code, reason = "held open")] zbus::wire::OwnedFd);

/// Starts a bus that lets everybody do everything, and reads where it listens.
pub(super) async fn start_daemon(dir: &TempDir) -> (Child, String) {
    let config = dir.path().join("bus.conf");
    let socket = dir.path().join("bus");
    let text = format!(
        "<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth>\
         <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
         <allow own=\"*\"/></policy></busconfig>",
        socket.display()
    );
    fs::write(&config, text).unwrap();
    let mut daemon = Command::new("dbus-daemon")
        .arg(format!("--config-file={}", config.display()))
        .args(["--nofork", "--nopidfile", "--nosyslog", "--print-address=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("run dbus-daemon: is dbus installed?");
    let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
    let address = lines.next_line().await.unwrap().expect("an address");
    (daemon, address)
}
