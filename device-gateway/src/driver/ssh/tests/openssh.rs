//! The driver against OpenSSH's server, which runs as whoever runs the tests.

use std::{fs, os::fd::OwnedFd, path::Path, process::Stdio};

use tempfile::TempDir;
use tokio::{
    net::{TcpListener, TcpStream},
    process::Command,
    task::JoinHandle,
};

use super::*;

const SSHD: &str = "/usr/sbin/sshd";

/// A server that starts OpenSSH's for each connection, so that no port has to be chosen.
struct OpenSsh {
    folder: TempDir,
    port: u16,
    host: PrivateKey,
    client: PrivateKey,
    serving: JoinHandle<()>,
}

impl OpenSsh {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (host, client) = (new_key(), new_key());
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            daemon::files::write_whole(&path, text.as_bytes()).unwrap();
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            fs::set_permissions(&path, mode).unwrap();
            path.display().to_string()
        };
        let host_key = write("host", &host.to_openssh(Default::default()).unwrap());
        let authorized = client.public_key().to_openssh().unwrap();
        let authorized = write("authorized", &authorized);
        let settings = format!(
            "HostKey {host_key}\nAuthorizedKeysFile {authorized}\nPidFile none\nStrictModes no\n\
             UsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        );
        let settings = write("sshd_config", &settings);
        // As root it wants a folder that its service would make.
        if rustix::process::geteuid().is_root() {
            fs::create_dir_all("/run/sshd").unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream, &settings);
            }
        });
        Self {
            folder,
            port,
            host,
            client,
            serving,
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A device whose boot is what is in a file.
    fn config(&self) -> SshConfig {
        let boot = self.path("boot");
        let boot = boot.display();
        SshConfig {
            user: user(),
            look: format!("cat {boot}"),
            reboot: format!("echo b-{{id}} > {boot}"),
            forced: None,
            health: None,
            ..config(
                self.port,
                Trust::Pinned(host_key(&self.host)),
                client_key(&self.client),
            )
        }
    }
}

impl Drop for OpenSsh {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn serve(stream: TcpStream, settings: &str) {
    let stream = stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    let stream = OwnedFd::from(stream);
    let mut sshd = Command::new(SSHD)
        .args(["-i", "-e", "-f", settings])
        .stdin(stream.try_clone().unwrap())
        .stdout(stream)
        .stderr(Stdio::null())
        .spawn()
        .expect("OpenSSH's server is installed");
    tokio::spawn(async move { sshd.wait().await });
}

/// Who runs the tests.
fn user() -> String {
    let id = std::process::Command::new("id")
        .arg("-un")
        .output()
        .unwrap();
    String::from_utf8(id.stdout).unwrap().trim().to_owned()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[tokio::test]
async fn a_reboot_shows_in_the_boot_id_of_the_machine_itself() {
    let server = OpenSsh::start().await;
    let real = SshDriver::new(SshConfig {
        look: "cat /proc/sys/kernel/random/boot_id".into(),
        ..server.config()
    });
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let baseline = real.baseline().await.unwrap();
    assert_eq!(baseline.boot_id.as_deref(), Some(boot.trim()));

    write(&server.path("boot"), "b-0\n");
    let driver = SshDriver::new(server.config());
    assert_eq!(
        driver.baseline().await.unwrap().boot_id.as_deref(),
        Some("b-0")
    );
    let triggered = driver.trigger(&order(Mode::Graceful)).await;
    assert_eq!(triggered, Ok(Triggered::Acknowledged));
    let seen = observe(&driver).await.unwrap();
    let boot = format!("b-{}", ID);
    assert_eq!(seen.boot_id.as_deref(), Some(&*boot));
    assert_eq!(seen.method, "ssh");
}

#[tokio::test]
async fn how_a_command_ends_is_what_it_means() {
    let server = OpenSsh::start().await;
    let driver = |reboot: &str, health: &str| {
        SshDriver::new(SshConfig {
            reboot: reboot.into(),
            health: Some(health.into()),
            ..server.config()
        })
    };
    // The process of this session, as when a machine that goes down ends it.
    let cut = driver("kill -9 $PPID", "true")
        .trigger(&order(Mode::Graceful))
        .await;
    assert_eq!(cut, Ok(Triggered::Unacknowledged));
    let killed = driver("kill -15 $$", "true")
        .trigger(&order(Mode::Graceful))
        .await;
    assert_eq!(killed, Ok(Triggered::Unacknowledged));
    let refused = driver("echo; echo not today >&2; exit 3", "true");
    let refused = refused.trigger(&order(Mode::Graceful)).await;
    assert_eq!(refused, Err(DriverError::Refused("not today".into())));
    let missing = driver("no-such-command", "true")
        .trigger(&order(Mode::Graceful))
        .await;
    assert!(
        matches!(missing, Err(DriverError::Refused(_))),
        "{missing:?}"
    );

    assert_eq!(driver("", "true").health().await, Ok(Health::Healthy));
    let ill = driver("", "echo too hot >&2; false").health().await;
    assert_eq!(ill, Ok(Health::Unhealthy("too hot".into())));
    let seen = observe(&driver("", "true")).await;
    assert!(matches!(seen, Err(DriverError::Failed { .. })), "{seen:?}");
}

#[tokio::test]
async fn whoever_is_not_known_is_not_trusted() {
    let server = OpenSsh::start().await;
    let stranger = SshDriver::new(SshConfig {
        credential: client_key(&new_key()),
        ..server.config()
    });
    let refused = stranger.trigger(&order(Mode::Graceful)).await;
    let words = "the device did not accept the gateway's key".to_owned();
    assert_eq!(refused, Err(DriverError::Refused(words)));

    let other = SshDriver::new(SshConfig {
        trust: Trust::Pinned(host_key(&new_key())),
        ..server.config()
    });
    let message = other.baseline().await.unwrap_err().to_string();
    assert!(message.contains("the host key changed"), "{message}");
}

#[tokio::test]
async fn a_command_that_takes_too_long_is_cut_off() {
    let server = OpenSsh::start().await;
    let driver = SshDriver::new(SshConfig {
        reboot: "sleep 1000".into(),
        // Also for signing in.
        timeout: Duration::from_secs(5),
        ..server.config()
    });
    let given = driver.trigger(&order(Mode::Graceful)).await;
    assert_eq!(given, Ok(Triggered::Unacknowledged));
}
