//! The driver against net-snmp's agent.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use iot_hub::reboot::{Grade, RequestId};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::*;
use crate::{
    driver::{Baseline, Driver, DriverError, power::Outlet as _},
    evidence::{Cause, Elapsed, Sign, grade},
};

/// How long snmpd may take to answer; nothing asserts it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running snmpd, which keeps the number of its boots in a folder of its own.
struct Snmpd {
    folder: TempDir,
    port: u16,
    child: Child,
}

impl Snmpd {
    /// Starts an agent whose user sees this of it.
    fn start(view: &str) -> Self {
        let folder = tempfile::tempdir().expect("make a folder");
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let port = socket.local_addr().expect("an address").port();
        drop(socket);
        let settings = format!(
            "createUser gateway SHA-256 \"auth-password\" AES \"privacy-password\"\n\
             rouser gateway authPriv -V seen\n\
             view seen included .1\n{view}\n\
             rocommunity listened-to 127.0.0.1 -V seen\n"
        );
        fs::write(folder.path().join("snmpd.conf"), settings).expect("write the settings");
        let child = spawn(folder.path(), port);
        Self {
            folder,
            port,
            child,
        }
    }

    /// Restarts it, as a loss of power would.
    fn restart(&mut self, forgets: bool) {
        self.child.kill().expect("kill snmpd");
        self.child.wait().expect("wait for snmpd");
        if forgets {
            fs::remove_dir_all(self.folder.path().join("kept")).expect("remove what it kept");
        }
        self.child = spawn(self.folder.path(), self.port);
    }

    fn agent(&self, privacy_password: &str) -> SnmpAgent {
        SnmpAgent {
            address: format!("127.0.0.1:{}", self.port),
            access: SnmpAccess::V3 {
                user: "gateway".into(),
                auth: SnmpAuth::Sha256,
                auth_password: "auth-password".into(),
                privacy: SnmpPrivacy::Aes128,
                privacy_password: privacy_password.into(),
            },
            timeout: Duration::from_secs(2),
        }
    }
}

impl Drop for Snmpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16) -> Child {
    let kept = folder.join("kept");
    Command::new("snmpd")
        .args(["-f", "-Le"])
        .arg(format!("udp:127.0.0.1:{port}"))
        // What it keeps is in a file of the same name as its settings.
        .env("SNMP_PERSISTENT_DIR", &kept)
        .env(
            "SNMPCONFPATH",
            format!("{}:{}", folder.display(), kept.display()),
        )
        .env("MIBS", "")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start snmpd: `cargo xtask test` installs it")
}

async fn baseline(driver: &AgentDriver) -> Baseline {
    let began = Instant::now();
    loop {
        match driver.baseline().await {
            Ok(baseline) => return baseline,
            Err(error) if began.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// What is seen of an agent that was restarted, compared with before.
async fn after_a_restart(view: &str, forgets: bool) -> (Baseline, Sign) {
    let mut snmpd = Snmpd::start(view);
    let driver = AgentDriver::new(snmpd.agent("privacy-password"));
    let before = baseline(&driver).await;
    let began = Instant::now();
    sleep(Duration::from_secs(3)).await;
    snmpd.restart(forgets);
    let cause = Cause {
        id: RequestId(Uuid::nil()),
        journal_marker: false,
    };
    loop {
        let elapsed = Elapsed::exactly(began.elapsed());
        match driver.observe(&before).await {
            Ok(seen) => return (before.clone(), grade(&before, &seen, elapsed, cause)),
            Err(error) if began.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test]
async fn a_restarted_snmpd_on_a_computer_that_runs_on_is_no_reboot() {
    let (before, sign) = after_a_restart("", false).await;
    assert!(before.detail.starts_with("snmp-host-uptime"), "{before:?}");
    assert_eq!(sign, Sign::SameBoot);
}

#[tokio::test]
async fn a_device_that_is_its_agent_is_told_by_the_boots_of_its_engine() {
    // An agent that forgets its boots has the same number again, and still a shorter uptime.
    for (forgets, proved) in [(false, Grade::BootChanged), (true, Grade::UptimeReset)] {
        let view = "view seen excluded .1.3.6.1.2.1.25";
        let (before, sign) = after_a_restart(view, forgets).await;
        assert!(before.detail.starts_with("snmp-agent"), "{before:?}");
        assert!(before.boot_count >= Some(1), "{before:?}");
        assert_eq!(sign, Sign::Rebooted(proved), "forgets: {forgets}");
    }
}

#[tokio::test]
async fn snmpd_is_no_pdu_and_needs_the_right_password() {
    let snmpd = Snmpd::start("");
    baseline(&AgentDriver::new(snmpd.agent("privacy-password"))).await;
    let outlet = SnmpOutlet::new(SnmpOutletSettings {
        agent: snmpd.agent("privacy-password"),
        outlet: 1,
        off_limit: Duration::from_secs(1),
    });
    let refused = outlet.check().await;
    assert!(
        matches!(&refused, Err(DriverError::Unsupported(why)) if why.contains("1.3.6.1.4.1.8072")),
        "{refused:?}"
    );
    let wrong = AgentDriver::new(snmpd.agent("another-password"))
        .baseline()
        .await;
    assert!(wrong.is_err(), "{wrong:?}");
    let mut plain = snmpd.agent("privacy-password");
    plain.access = SnmpAccess::V2c {
        community: "listened-to".into(),
    };
    let by_community = AgentDriver::new(plain).baseline().await;
    assert!(by_community.is_ok(), "{by_community:?}");
}
