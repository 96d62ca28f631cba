//! What the settings say, and what is told when they are wrong.

use std::path::Path;

use super::*;
use crate::faults::{Fault, Operation, Times};
use crate::setup::SetupCredentials;

fn parse(text: &str) -> Result<Settings, Vec<String>> {
    let sources = Sources::of_text(text, Path::new("/folder"));
    let told =
        |mistakes: Mistakes| -> Vec<_> { mistakes.0.iter().map(ToString::to_string).collect() };
    let (settings, _) = sources
        .and_then(|sources| Settings::read(sources, &[]))
        .map_err(told)?;
    Ok(settings)
}

fn ids(settings: &Settings) -> Vec<String> {
    let devices = settings.config.devices.iter();
    devices
        .map(|setup| crate::hub::EntityId::from(setup).to_string())
        .collect()
}

#[test]
fn nothing_said_is_one_device_on_the_ports_that_everybody_knows() {
    let settings = parse("").unwrap();
    assert_eq!(ids(&settings), ["device-1"]);
    let config = settings.config;
    assert_eq!((config.https_port, config.mqtt_port), (443, 8883));
    assert_eq!((config.admin_port, config.tier), (None, None));
    assert_eq!(config.host_name.to_string(), "localhost");
}

#[test]
fn whoever_may_register_proves_it_by_one_thing() {
    let setup = parse(include_str!("../../example.toml"))
        .unwrap()
        .config
        .provisioning;
    let [pump, cameras] = setup.enrollments.as_slice() else {
        panic!("a device and a group");
    };
    assert_eq!(pump.device.as_ref().unwrap().as_str(), "pump-2-north");
    assert_eq!(pump.payload, Some(serde_json::json!({"site": "north"})));
    assert_eq!(cameras.credentials, SetupCredentials::CertificateAuthority);
    assert!(!cameras.enabled && cameras.hub.is_some());

    let told = parse(
        "[[provisioning.device]]\nid = \"a b\"\n\
         [[provisioning.group]]\nname = \"g\"\nthumbprints = [\"0123456789abcdef0123456789abcdef01234567\"]\n",
    );
    let told = told.unwrap_err().join("\n");
    for key in [
        "provisioning.device[0].id",
        "provisioning.device[0].primary_key",
        "provisioning.group[0].thumbprints",
    ] {
        assert!(told.contains(key), "{key}: {told}");
    }
}

#[test]
fn the_example_says_what_its_comments_say() {
    let settings = parse(include_str!("../../example.toml")).unwrap();
    assert_eq!(
        ids(&settings),
        [
            "pump-1",
            "pump-1/filter",
            "camera-1",
            "gate-1",
            "device-1",
            "device-2"
        ]
    );
    let [pump, _, camera, gate, ..] = settings.config.devices.as_slice() else {
        panic!("the devices");
    };
    assert_eq!(pump.tags["site"], "north");
    assert_eq!(
        (&pump.desired["interval"], &pump.reported["firmware"]),
        (&30.into(), &"1.4.2".into())
    );
    assert!(matches!(
        &pump.credentials,
        SetupCredentials::Keys {
            primary: Some(_),
            secondary: None
        }
    ));
    assert!(matches!(
        &camera.credentials,
        SetupCredentials::Thumbprints { .. }
    ));
    assert_eq!(gate.credentials, SetupCredentials::CertificateAuthority);
    assert!(!gate.enabled && camera.enabled);
    let answer = Fault::Answer {
        operation: Some(Operation::MethodCall),
        device: None,
        status: 429,
        retry_after: Some(Duration::from_secs(2)),
    };
    let lag = Fault::DelayQueries {
        by: Duration::from_secs(5),
    };
    assert_eq!(
        settings.config.faults,
        [(answer, Times::Next(1)), (lag, Times::Always)]
    );
}

#[test]
fn what_is_commented_out_in_the_example_is_good_too() {
    let text = include_str!("../../example.toml");
    let whole: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting) if setting.contains(" = ") => format!("{setting}\n"),
            Some(_) | None => format!("{line}\n"),
        })
        .collect();
    let config = parse(&whole).unwrap().config;
    assert_eq!(config.admin_port, Some(8080));
    assert_eq!(
        config.tier.map(|tier| (tier.edition, tier.units)),
        Some((Edition::S1, 1))
    );
    assert_eq!(
        config.state_file.as_deref(),
        Some(Path::new("/folder/hub.state"))
    );
    assert_eq!(config.device_ca_files, [Path::new("/folder/root.pem")]);
}

#[test]
fn everything_that_is_wrong_is_told() {
    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        assert_eq!(parse(text).unwrap_err(), expected, "{text}");
    }
    check(
        "https_port = 70000\nunits = 2\nhots = \"a\"",
        &[
            "https_port = 70000: expected a port from 0 to 65535; 0 takes a free one",
            "units: expected a tier beside it",
            "hots = …: expected no such key",
        ],
    );
    check(
        "[[device]]\nid = \"a b\"\nprimary_key = \"secret\"\ncolor = 1\n[[device.module]]\nname = 1",
        &[
            "device[0].id = \"a b\": expected a device's id",
            "device[0].primary_key = (hidden): expected 16 to 64 bytes in base64: key is not base64",
            "device[0].module[0].id: expected a module's id",
            "device[0].module[0].name = 1: expected no such key",
            "device[0].color = 1: expected no such key",
        ],
    );
    check(
        "[[device]]\nid = \"d\"\nthumbprints = [\"12\"]\ntags = {\"a.b\" = 1}\n[[device]]\nid = \"d\"",
        &[
            "device[0].thumbprints = [\"12\"]: expected one or two hashes of a certificate: \
             40 or 64 hexadecimal digits each",
            "device[0].tags = { \"a.b\" = 1 }: expected what a twin may hold: property name \"a.b\" \
             contains the invalid character '.'",
            "device[1].id = \"d\": expected an id that is not there already",
        ],
    );
    check(
        "[[device]]\nid = \"d\"\ncertificate_authority = true\nprimary_key = \"c2VjcmV0c2VjcmV0c2VjcmV0\"",
        &["device[0].id: expected only one of keys, thumbprints and certificate_authority"],
    );
    check(
        "[[fault]]\nfault = \"answer\"\nretry_after = \"soon\"\ntimes = 0\n[[fault]]\nby = \"1s\"\nhow_long = 1",
        &[
            "fault[0].times = 0: expected a whole number from 1",
            "fault[0].retry_after = \"soon\": expected a duration up to 1day, such as \"1m 30s\" or \"250ms\"",
            "fault[0].status: expected a status from 400 to 599",
            "fault[1].fault: expected one of answer, delay, refuseConnect, withholdAcks, \
             withholdTwinAnswers, loseMethodAnswer, redeliverMethod, skewClock, delayQueries",
            "fault[1].how_long = 1: expected no such key",
        ],
    );
}

#[test]
fn a_flag_wins_over_the_file_and_devices_add_up() {
    let mut sources = Sources::of_text("https_port = 1\ndevices = 1", Path::new("")).unwrap();
    sources.argument("--https-port", "https_port", "2");
    let named = ["lamp".parse().unwrap()];
    let (settings, _) = Settings::read(sources, &named).unwrap();
    assert_eq!(settings.config.https_port, 2);
    assert_eq!(ids(&settings), ["lamp", "device-1"]);
}
