//! The outlet of a switched PDU as the last step for a device that does nothing: net-snmp's agent, with
//! a script behind it that answers as a PDU.

use std::{
    fs,
    net::{Ipv4Addr, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use device_gateway::config::Config;
use iot_hub::reboot::Mode;
use serde_json::{Value, json};
use tokio::time;

use crate::{
    device::Script,
    world::{DEVICE, ID, World, hurried, within},
};

/// An outlet that is off once it is told to cycle, until it has been looked at; then it is on again. One
/// that is stuck stays off until it is told to be on.
const PDU: &str = r#"
outlets=.1.3.6.1.4.1.318.1.1.12.3
case "$1 $2" in
"-s $outlets.3.1.1.4.1")
    echo "$4" >> "$0.told"
    if [ "$4" = 1 ]; then rm -f "$0.off" "$0.stuck"; else touch "$0.off"; fi ;;
"-g $outlets.5.1.1.4.1")
    state=1
    if [ -e "$0.off" ]; then touch "$0.cycled"; state=2; fi
    if ! [ -e "$0.stuck" ]; then rm -f "$0.off"; fi
    printf '%s\ninteger\n%s\n' "$2" "$state" ;;
esac
"#;

struct Outlet {
    world: World,
    snmpd: Child,
    settings: String,
}

impl Outlet {
    /// A gateway whose device says yes and does nothing, and whose policy ends with its outlet.
    async fn new() -> Self {
        let mut world = World::prepare("block_interval = \"50ms\"", Default::default()).await;
        let folder = world.state_dir().to_owned();
        let port = free_port();
        let snmpd = start(&folder, port);
        let text = hurried(&world.text()).replace(
            "settle = \"50ms\"",
            "settle = \"50ms\"\nescalation = [\"graceful\", \"power-cycle\"]",
        );
        let text = format!(
            "{text}\n[device.power_cycle.snmp]\naddress = \"127.0.0.1:{port}\"\ncommunity = \"pdu\"\n\
             outlet = 1\noff_limit = \"20s\"\n"
        );
        world.device.follow(Script::Lies);
        world.start_with(Config::parse(&text, &folder).unwrap());
        world.connected().await;
        let outlet = Self {
            world,
            snmpd,
            settings: text,
        };
        // It offers this once the PDU answers.
        let offered = |reboot: &Value| reboot["capabilities"]["modes"][power_cycle()] == true;
        outlet.world.reported(offered).await;
        outlet
    }

    /// Waits until the outlet was seen off.
    async fn cycled(&self) {
        let cycled = async {
            while !self.beside("cycled").exists() {
                time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(cycled).await;
    }

    /// What the outlet was told.
    fn told(&self) -> String {
        fs::read_to_string(self.beside("told")).unwrap_or_default()
    }

    fn beside(&self, name: &str) -> std::path::PathBuf {
        self.world.state_dir().join(format!("pdu.sh.{name}"))
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let _ = self.snmpd.kill();
        let _ = self.snmpd.wait();
    }
}

fn power_cycle() -> &'static str {
    Mode::PowerCycle.name()
}

fn free_port() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap().port()
}

fn start(folder: &Path, port: u16) -> Child {
    let script = folder.join("pdu.sh");
    fs::write(&script, PDU).unwrap();
    let settings = format!(
        "rwcommunity pdu 127.0.0.1\nsysObjectID .1.3.6.1.4.1.318.1.3.4.5\n\
         pass .1.3.6.1.4.1.318.1.1.12.3 /bin/sh {}\n",
        script.display()
    );
    fs::write(folder.join("snmpd.conf"), settings).unwrap();
    Command::new("snmpd")
        .args(["-f", "-Le"])
        .arg(format!("udp:127.0.0.1:{port}"))
        .env("SNMP_PERSISTENT_DIR", folder.join("kept"))
        .env("SNMPCONFPATH", folder)
        .env("MIBS", "")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start snmpd: `cargo xtask test` installs it")
}

#[tokio::test]
async fn a_device_that_does_nothing_loses_its_power_once_where_caller_and_policy_agree() {
    let outlet = Outlet::new().await;
    let request = json!({ "requestId": ID, "escalateTo": power_cycle() });
    assert_eq!(outlet.world.call("reboot", request).await.0, 202);
    outlet.cycled().await;
    outlet.world.device.boot(None);
    let report = outlet.world.state("SUCCEEDED").await;
    assert_eq!(
        report["steps"][Mode::Graceful.name()]["error"]["code"],
        "NO_SHUTDOWN",
        "{report}"
    );
    assert!(report["steps"][power_cycle()].is_object(), "{report}");
    assert_eq!(outlet.told(), "3\n", "cycled once, and told nothing else");
    assert_eq!(outlet.world.device.orders().len(), 1);
}

#[tokio::test]
async fn a_gateway_that_is_killed_while_the_power_is_off_gives_it_back_when_it_starts() {
    let mut outlet = Outlet::new().await;
    fs::write(outlet.beside("stuck"), "").unwrap();
    let request = json!({ "requestId": ID, "mode": power_cycle() });
    assert_eq!(outlet.world.call("reboot", request).await.0, 202);
    outlet.cycled().await;
    outlet.world.kill_gateway().await;
    assert_eq!(outlet.told(), "3\n");

    // Nobody waits long for a PDU that gives no power back by itself.
    let settings = outlet
        .settings
        .replace("off_limit = \"20s\"", "off_limit = \"1s\"");
    let folder = outlet.world.state_dir().to_owned();
    let config = Config::parse(&settings, &folder).unwrap();
    outlet.world.start_with(config);
    let switched_on = async {
        while outlet.beside("stuck").exists() {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    within(switched_on).await;
    assert_eq!(outlet.told().lines().next(), Some("3"));
    let others: Vec<_> = outlet.told().lines().skip(1).map(str::to_owned).collect();
    assert!(others.iter().all(|told| told == "1"), "{others:?}");
}

#[tokio::test]
async fn no_power_is_taken_from_a_device_without_the_callers_consent() {
    let outlet = Outlet::new().await;
    for request in [
        json!({ "requestId": ID }),
        json!({ "requestId": ID.replace('1', "2"), "escalateTo": Mode::Forced.name() }),
    ] {
        let id = request["requestId"].clone();
        assert_eq!(outlet.world.call("reboot", request).await.0, 202);
        let ended = |reboot: &Value| reboot["requestId"] == id && reboot["state"] == "FAILED";
        let report = outlet.world.reported(ended).await;
        assert_eq!(report["error"]["code"], "NO_SHUTDOWN", "{report}");
    }
    assert_eq!(outlet.told(), "");
    assert!(outlet.world.hub.is_connected(DEVICE));
}
