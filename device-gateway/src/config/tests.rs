//! Configuration texts, and what is read or said about them.

mod docs;

use std::fs;

use iot_hub::reboot::Mode;

use super::*;

const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub(crate) fn device(id: &str) -> String {
    format!(
        "[[device]]\nid = \"{id}\"\n\
         connection_string = \"HostName=h.example.net;DeviceId={id};SharedAccessKey={KEY}\"\n"
    )
}

pub(crate) fn parse(text: &str) -> Result<Config, Vec<String>> {
    Config::parse(text, Path::new("/etc"))
        .map_err(|Mistakes(mistakes)| mistakes.iter().map(ToString::to_string).collect())
}

/// The mistakes of a text, all of them.
#[track_caller]
fn mistaken(text: &str, expected: &[&str]) {
    assert_eq!(parse(text).unwrap_err(), expected);
}

#[test]
fn the_least_that_is_needed() {
    let text = format!("state_dir = \"state\"\n{}[device.host]\n", device("d1"));
    let config = parse(&text).unwrap();
    assert_eq!(config.state_dir, Path::new("/etc/state"));
    assert_eq!(config.hub.mqtt_port, 8883);
    assert_eq!(config.link, LinkTiming::default());
    assert_eq!(config.devices[0].id.as_str(), "d1");
    assert!(matches!(
        &config.devices[0].driver,
        DriverConfig::Host(host) if *host == HostConfig::default()
    ));
}

#[test]
fn everything_that_can_be_set() {
    let text = format!(
        r#"
state_dir = "/var/lib/gateway"
[gateway]
id = "edge-1"
[hub]
mqtt_port = 18883
ca_file = "ca.pem"
[local_mqtt]
listen = "127.0.0.1:0"
[timing]
answer_grace = "2s"
ack_limit = "5s"
token_life = "10m"
{}required_evidence = "CAUSED"
settle = "3s"
go_down_limit = "1m"
cooldown = "30s"
escalation = ["graceful", "forced"]
steps.forced.go_down_limit = "20s"
steps.forced.return_limit = "3m"
[device.mqtt]
password = "secret"
{}[device.command]
baseline = ["read", "--before"]
trigger = ["go"]
observe = ["read"]
timeout = "5s"
"#,
        device("d1"),
        device("d2"),
    );
    let config = parse(&text).unwrap();
    assert_eq!(config.gateway_id, "edge-1");
    assert_eq!(
        config.hub.ca_file.as_deref(),
        Some(Path::new("/etc/ca.pem"))
    );
    assert_eq!(config.link.token_life.as_secs(), 600);
    let settings = &config.devices[0].settings;
    let [graceful, forced] = settings.escalation[..] else {
        panic!("{:?}", settings.escalation);
    };
    assert_eq!(
        (graceful.mode, graceful.return_limit),
        (Mode::Graceful, None)
    );
    assert_eq!(settings.go_down_limit(Mode::Graceful).as_secs(), 60);
    assert_eq!(settings.go_down_limit(forced.mode).as_secs(), 20);
    assert_eq!(settings.return_limit(Mode::Forced).as_secs(), 180);
    assert_eq!(settings.answer_grace.as_secs(), 2);
    assert_eq!(settings.settle.as_secs(), 3);
    assert_eq!(
        settings.required_grade,
        Some(iot_hub::reboot::Grade::Caused)
    );
    assert!(matches!(
        &config.devices[1].driver,
        DriverConfig::Command(command) if command.baseline.arguments == ["--before"]
    ));
}

#[test]
fn every_mistake_is_found_at_once() {
    let text = "
        colour = 1
        [hub]
        mqtt_port = 70000
        [local_mqtt]
        listen = \"here\"
        [timing]
        ack_limit = 5
        [[device]]
        id = \"a b\"
        connection_string = \"HostName=h;DeviceId=x\"
        settle = \"soon\"
        [device.host]
        method = \"now\"
    ";
    mistaken(
        text,
        &[
            "state_dir: expected a folder for the journal",
            "hub.mqtt_port = 70000: expected a port from 1 to 65535",
            "local_mqtt.listen = \"here\": expected an IP address and a port, for example \"127.0.0.1:50051\"",
            "timing.ack_limit = 5: expected a duration from 0s to 30days, for example \"30s\"",
            "device[0].id = \"a b\": expected a device id: id contains ' '; allowed are ASCII letters, digits and -.+%_#*?!(),:=@$'",
            "device[0].connection_string = (hidden): expected a device's connection string: connection string has no `SharedAccessKey`",
            "device[0].settle = \"soon\": expected a duration from 0s to 30days, for example \"30s\"",
            "device[0].host.method = \"now\": expected one of schedule, reboot",
            "colour = 1: expected no such key",
        ],
    );
}

#[test]
fn what_is_in_force_is_printed_without_secrets() {
    let text = format!(
        "state_dir = \"s\"\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n{}[device.mqtt]\npassword = \"hunter2\"\n{}[device.host]\n",
        device("d1"),
        device("d2"),
    );
    let sources = Sources::of_text(&text, Path::new("/etc")).unwrap();
    let printed = Config::read(sources).unwrap().1.to_string();
    for line in [
        "[[device]]",
        "[device.mqtt]",
        "password = \"(hidden)\"",
        "method = \"schedule\"",
    ] {
        assert!(printed.contains(line), "{line} {printed}");
    }
    assert!(
        !printed.contains("hunter2") && !printed.contains(KEY),
        "{printed}"
    );
}

#[test]
fn a_device_needs_one_driver_and_its_own_credentials() {
    let base = format!("state_dir = \"s\"\n{}", device("d1"));
    let ways = "device[0]: expected exactly one of mqtt, command, host, http, snmp, container, ssh, redfish, onvif: there is";
    mistaken(&base, &[&format!("{ways} none")]);
    mistaken(
        &format!("{base}[device.host]\n[device.mqtt]\npassword = \"x\""),
        &[&format!("{ways} mqtt and host")],
    );
    mistaken(
        &format!("{base}[device.mqtt]\n"),
        &["local_mqtt: expected a section with `listen` or `broker`: device d1 connects there"],
    );
    mistaken(
        &format!("{base}[device.mqtt]\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n"),
        &[
            "device.mqtt.password: expected this, password_file or password_credential: device d1 connects to the gateway",
        ],
    );
    let swapped = base.replace("id = \"d1\"", "id = \"d2\"") + "[device.host]\n";
    mistaken(
        &swapped,
        &["device[0].id = d2: expected d1, whose connection string it has"],
    );
    let twice = format!("{base}[device.host]\n{}[device.host]\n", device("d1"));
    mistaken(
        &twice,
        &[
            "device: expected one d1, and it is there twice",
            "device: expected only one that is the gateway's host",
        ],
    );
    let service = base.replace(";DeviceId=d1", ";SharedAccessKeyName=owner") + "[device.host]\n";
    mistaken(
        &service,
        &[
            "device[0].connection_string = (hidden): expected a device's connection string, with a DeviceId: this is a service's",
        ],
    );
}

#[test]
fn a_device_says_in_one_way_who_it_is() {
    let base = "state_dir = \"s\"\n[[device]]\nid = \"d1\"\n[device.host]\n";
    let service = "[provisioning]\nid_scope = \"0ne1\"\n";
    mistaken(
        base,
        &[
            "device[0].connection_string: expected this, connection_string_file or connection_string_credential",
        ],
    );
    mistaken(
        &format!("{base}[device.provisioning]\n"),
        &["device[0].provisioning: expected a section [provisioning] with the id_scope"],
    );
    mistaken(
        &format!("{base}[device.provisioning]\n{service}"),
        &[
            "device[0].provisioning.key: expected this, key_file, a [device.certificate] or a group_key in [provisioning]",
        ],
    );
    mistaken(
        &format!("{base}[device.provisioning]\nkey = \"short\"\n[provisioning]\nhost = \"a b\"\n"),
        &[
            "provisioning.host = \"a b\": expected a host name",
            "provisioning.id_scope: expected the id scope of the provisioning service, such as 0ne00001234",
            "device[0].provisioning.key = (hidden): expected 16 to 64 bytes in base64",
            "device[0].provisioning: expected a section [provisioning] with the id_scope",
        ],
    );
    let by_key = device("d1") + "[device.host]\n";
    mistaken(
        &format!(
            "state_dir = \"s\"\n{by_key}[device.certificate]\nfile = \"c\"\nkey_file = \"k\"\n"
        ),
        &[
            "device[0].connection_string = (hidden): expected x509=true in it, beside [device.certificate]",
        ],
    );
    let without = by_key.replace(&format!("SharedAccessKey={KEY}"), "x509=true");
    mistaken(
        &format!("state_dir = \"s\"\n{without}"),
        &[
            "device[0].connection_string = (hidden): expected a [device.certificate] beside x509=true",
        ],
    );
}

#[test]
fn a_registered_device_has_its_own_key_or_one_of_its_groups() {
    let group: iot_hub::sas::SharedKey = KEY.parse().unwrap();
    let text = format!(
        "state_dir = \"s\"\n[provisioning]\nid_scope = \"0ne1\"\ngroup_key = \"{KEY}\"\n\
         [hub]\ntransport = \"auto\"\nproxy = \"http://u:hunter2@p:1\"\n\
         [[device]]\nid = \"d1\"\n[device.provisioning]\n[device.host]\n\
         [[device]]\nid = \"d2\"\n[device.provisioning]\nregistration_id = \"r2\"\nkey = \"{KEY}\"\n[device.command]\nbaseline = [\"a\"]\ntrigger = [\"a\"]\nobserve = [\"a\"]\n"
    );
    let config = parse(&text).unwrap();
    let home = |device: usize, id: &str, key: &iot_hub::sas::SharedKey| {
        let auth = iot_hub::identity::DeviceAuth::Key(key.clone());
        let registration = id.parse().unwrap();
        let expected = HomeConfig::Registered { registration, auth };
        assert_eq!(config.devices[device].identity.home, expected);
    };
    home(0, "d1", &group.derive("d1"));
    home(1, "r2", &group);
    assert_eq!(config.hub.transport, Transport::Auto);
    let service = config.hub.provisioning.unwrap();
    assert_eq!(
        service.host.as_str(),
        "global.azure-devices-provisioning.net"
    );

    let sources = Sources::of_text(&text, Path::new("/etc")).unwrap();
    let printed = Config::read(sources).unwrap().1.to_string();
    assert!(
        !printed.contains(KEY) && !printed.contains("hunter2"),
        "{printed}"
    );
    let proxy = text.replace("http://u:hunter2@p:1", "https://u:hunter2@p:1");
    let told = parse(&proxy).unwrap_err();
    assert_eq!(
        told,
        ["hub.proxy = (hidden): expected http://HOST:PORT or http://USER:PASSWORD@HOST:PORT"]
    );
}

#[test]
fn a_secret_is_never_shown() {
    let text = format!(
        "state_dir = \"s\"\n{}[device.mqtt]\npassword = 12345\n",
        device("d1")
    );
    let mistakes = parse(&text).unwrap_err().join("\n");
    assert!(
        !mistakes.contains("12345") && !mistakes.contains(KEY),
        "{mistakes}"
    );
}

#[test]
fn broken_toml_is_an_error() {
    let secret = "state_dir = \"s\"\npassword = \"hunter2";
    let told = parse(secret).unwrap_err().join("\n");
    assert!(told.starts_with("expected TOML: line 2, column"), "{told}");
    assert!(!told.contains("hunter2"), "{told}");
}

/// The file that the package brings says the same things as this program understands.
#[test]
fn the_packages_settings_are_good_once_taken_over() {
    const PACKAGED: &str = include_str!("../../../packaging/debian/device-gateway.toml");
    let credentials = tempfile::tempdir().unwrap();
    let taken_over: String = PACKAGED
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(setting) if !setting.starts_with(' ') && !setting.is_empty() => setting,
            Some(_) | None => line,
        })
        .flat_map(|line| [line, "\n"])
        .collect();
    for id in ["edge-1", "pump-1", "server-1", "camera-1", "camera-2"] {
        let secret = format!("HostName=h.example.net;DeviceId={id};SharedAccessKey={KEY}\n");
        fs::write(credentials.path().join(format!("device_{id}")), secret).unwrap();
    }
    for id in ["pump-1", "server-1", "camera-1"] {
        let password = credentials.path().join(format!("device_{id}.password"));
        fs::write(password, "secret\n").unwrap();
    }
    let mut sources = Sources::of_text(&taken_over, Path::new("/etc")).unwrap();
    let brings = ("CREDENTIALS_DIRECTORY".into(), credentials.path().into());
    sources.environment("device-gateway", [brings]);
    let (config, _) = Config::read(sources).unwrap();
    assert_eq!(config.devices.len(), 5);
    let metrics = config.metrics_listen.expect("an address");
    assert!(metrics.ip().is_loopback());

    // As it is delivered, only a device is missing.
    assert_eq!(
        parse(PACKAGED).unwrap_err(),
        ["device: expected at least one [[device]]"]
    );
}

#[test]
fn an_escalation_rises_and_limits_only_its_own_steps() {
    let with = |more: &str| {
        let device = device("d1");
        format!("state_dir = \"s\"\n{device}{more}\n[device.host]\n")
    };
    let list = "a list of graceful, forced, power-cycle: mildest first, each once";
    for wrong in [
        "[\"forced\", \"graceful\"]",
        "[\"forced\", \"forced\"]",
        "[\"pull the plug\"]",
        "\"forced\"",
    ] {
        let mistake = format!("device[0].escalation = {wrong}: expected {list}");
        mistaken(&with(&format!("escalation = {wrong}")), &[&mistake]);
    }
    mistaken(
        &with("escalation = [\"graceful\"]\nsteps.forced.return_limit = \"1m\""),
        &["device[0].steps.forced.return_limit = …: expected no such key"],
    );
}

#[test]
fn what_must_say_yes() {
    let text = |more: &str| {
        format!(
            "state_dir = \"s\"\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n{}{more}\n{}[device.mqtt]\n\
             password = \"x\"\n",
            device("d1") + "[device.host]\n",
            device("press-1"),
        )
    };
    let config = parse(&text(
        r#"
[[device.interlock]]
name = "line stopped"
command = ["line-stopped"]
absolute = true
[[device.interlock]]
name = "idle"
device = "press-1"
topic = "state/idle"
yes = "yes"
[device.prepare]
command = ["drain", "all"]
timeout = "2m"
"#,
    ))
    .unwrap();
    let d1 = &config.devices[0];
    assert_eq!(d1.safety.interlocks.len(), 2);
    let absolute: Vec<_> = d1.settings.absolute.iter().collect();
    assert_eq!(absolute, ["interlock-line-stopped"]);
    let prepare = d1.safety.prepare.as_ref().unwrap();
    assert_eq!(prepare.timeout.as_secs(), 120);

    let mistakes = parse(&text(
        r#"
[[device.interlock]]
name = "a b"
device = "press-2"
topic = "t"
yes = "yes"
[[device.interlock]]
name = "a.b"
command = ["x"]
timeout = "20s"
[[device.interlock]]
name = "both"
command = ["x"]
device = "press-1"
"#,
    ))
    .unwrap_err()
    .join("\n");
    for part in [
        "press-2",
        "a.b",
        "less than timing.survey_limit",
        "exactly one of command, device",
    ] {
        assert!(mistakes.contains(part), "{part}: {mistakes}");
    }
}

#[test]
fn a_device_has_an_outlet_that_its_power_goes_through() {
    let snmp = "address = \"pdu-1:161\"\noutlet = 4\nuser = \"u\"\n\
                auth_password = \"long-enough\"\nprivacy_password = \"long-enough\"\n";
    let with = |driver: &str, outlet: &str| {
        let device = device("d1");
        format!("state_dir = \"s\"\n{device}{driver}\n[device.power_cycle.snmp]\n{outlet}")
    };
    for driver in ["[device.host]", "[device.snmp]"] {
        let config = parse(&with(driver, snmp)).unwrap();
        let outlet = config.devices[0].power_cycle.as_ref().unwrap();
        assert_eq!(
            (outlet.outlet, outlet.agent.address.as_str()),
            (4, "pdu-1:161")
        );
    }
    let community = "address = \"pdu-1:161\"\noutlet = 4\ncommunity = \"c\"\n";
    assert!(parse(&with("[device.host]", community)).is_ok());
    // Also where systemd brings it: nobody is told then that a user is missing.
    let brought = community.replace("community = ", "community_credential = ");
    let told = parse(&with("[device.host]", &brought)).unwrap_err();
    let nobody = "a service manager that brings credentials: CREDENTIALS_DIRECTORY is not set";
    let key = "device[0].power_cycle.snmp.community_credential";
    assert_eq!(told, [format!("{key} = c: expected {nobody}")]);

    let wrong = "address = \"pdu-1\"\nuser = \"u\"\nauth = \"sha1\"\nprivacy = \"aes256\"\n\
                 auth_password = \"short\"\nprivacy_password = \"long-enough\"\n";
    let key = |key: &str, rest: &str| format!("device[0].power_cycle.snmp.{key}{rest}");
    let mistakes = [
        key("outlet", ": expected the number of an outlet"),
        key(
            "address",
            " = \"pdu-1\": expected a host and a port, as \"pdu-1:161\"",
        ),
        key(
            "auth_password",
            " = (hidden): expected at least 8 characters",
        ),
        key(
            "privacy",
            " = \"aes256\": expected aes128, or auth = \"sha256\" with it",
        ),
    ];
    let mut told = parse(&with("[device.host]", wrong)).unwrap_err();
    let mut expected = mistakes.to_vec();
    told.sort();
    expected.sort();
    assert_eq!(told, expected);
    let bare = format!("state_dir = \"s\"\n{}[device.snmp]\n", device("d1"));
    let told = parse(&bare).unwrap_err();
    assert_eq!(
        told,
        ["device[0].power_cycle: expected an outlet: SNMP reboots a device by its power alone"]
    );
}
