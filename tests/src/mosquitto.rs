//! A real Mosquitto, by the settings and the rules of `docs/examples`.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use crate::{LOCAL_PASSWORD, PATIENCE, eventually, world::own_loopback};

const SETTINGS: &str = include_str!("../../docs/examples/mosquitto.conf");
const RULES: &str = include_str!("../../docs/examples/mosquitto.acl");

/// The gateway's user name.
const GATEWAY: &str = "gateway";

/// A running Mosquitto, which keeps what it has in a folder of its own. Devices come to it without
/// TLS, the gateway in TLS. It is killed when this value is dropped.
#[derive(Debug)]
pub struct Mosquitto {
    folder: TempDir,
    /// Where devices come.
    address: SocketAddr,
    /// Where the gateway comes.
    secured: SocketAddr,
    child: Child,
}

impl Mosquitto {
    /// Starts one that knows the gateway and those devices.
    pub async fn start(devices: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let host = own_loopback();
        let free = [(); 2].map(|()| TcpListener::bind((host, 0)).expect("bind"));
        let [address, secured] = free.map(|free| free.local_addr().expect("an address"));
        let within = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let settings = SETTINGS
            .replace("8883 192.168.7.1", &format!("{} {host}", secured.port()))
            .replace("1883 192.168.7.1", &format!("{} {host}", address.port()))
            .replace("/etc/mosquitto/", &within(""))
            .replace("/var/lib/mosquitto/", &within(""));
        // Else it gives up root, and with it the folder.
        let settings = format!("{settings}user root\n");
        fs::write(within("mosquitto.conf"), settings).expect("write the settings");
        fs::write(within("mosquitto.acl"), RULES).expect("write the rules");
        fs::write(within("passwords"), "").expect("write the passwords");
        let key = KeyPair::generate().expect("make a key");
        let certificate = CertificateParams::new([host.to_string()]).expect("a name");
        let certificate = certificate.self_signed(&key).expect("sign");
        fs::write(within("broker.pem"), certificate.pem()).expect("write the certificate");
        fs::write(within("broker.key"), key.serialize_pem()).expect("write the key");
        for user in devices.iter().chain(&[GATEWAY]) {
            let made = Command::new("mosquitto_passwd")
                .args(["-b", &within("passwords"), user, LOCAL_PASSWORD])
                .status();
            assert!(made.expect("run mosquitto_passwd").success());
        }
        let child = spawn(folder.path());
        let broker = Self {
            folder,
            address,
            secured,
            child,
        };
        broker.answers().await;
        broker
    }

    /// Where devices come.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The certificate that it has to show.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("broker.pem")
    }

    /// The gateway's settings for it.
    pub fn settings(&self) -> String {
        format!(
            "broker = \"mqtts://{}\"\nca_file = {:?}\nuser = \"{GATEWAY}\"\npassword = \"{LOCAL_PASSWORD}\"\n",
            self.secured,
            self.certificate()
        )
    }

    /// Ends in order, as a package's upgrade does, and begins anew.
    pub async fn restart(&mut self) {
        self.stop();
        self.begin().await;
    }

    /// Dies, and begins anew.
    pub async fn crash(&mut self) {
        self.child.kill().expect("kill the broker");
        self.child.wait().expect("wait for the broker");
        self.begin().await;
    }

    /// Ends in order.
    pub fn stop(&mut self) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.expect("run kill").success());
        self.child.wait().expect("wait for the broker");
    }

    /// Begins anew.
    pub async fn begin(&mut self) {
        self.child = spawn(self.folder.path());
        self.answers().await;
    }

    async fn answers(&self) {
        eventually("the broker answers", PATIENCE, async || {
            TcpStream::connect(self.address).ok()
        })
        .await;
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path) -> Child {
    let log = fs::File::create(folder.join("log")).expect("make a log");
    Command::new("mosquitto")
        .arg("-c")
        .arg(folder.join("mosquitto.conf"))
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("run mosquitto")
}
