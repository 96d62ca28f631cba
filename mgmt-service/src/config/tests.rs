//! Texts in, settings or mistakes out.

use super::*;

const HUB: &str = "HostName=h.example;SharedAccessKeyName=service;SharedAccessKey=AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn parse(text: &str) -> Result<Config, Vec<String>> {
    let text = format!("{text}\n[hub]\nconnection_string = \"{HUB}\"\n");
    let parsed = Config::parse(&text, Path::new("/etc/x"), None);
    parsed.map_err(|error| error.0.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(parse(text).unwrap_err(), expected, "{text}");
}

#[test]
fn a_connection_string_is_enough() {
    let config = parse("").unwrap();
    assert_eq!(config.listen, DEFAULT_LISTEN);
    assert_eq!(config.hub.https_port, 443);
    assert_eq!(config.store.path, Path::new("/etc/x/mgmt-service.db"));
    assert_eq!(config.timing.default_deadline, Duration::from_secs(1800));
}

#[test]
fn the_example_has_every_setting_with_its_default() {
    let example = include_str!("../../mgmt-service.example.toml");
    let start = example.find("connection_string = ").unwrap();
    let line = example[start..].lines().next().unwrap();
    let text = example.replace(line, &format!("connection_string = \"{HUB}\""));
    let sources = Sources::of_text(&text, Path::new("/etc/x")).unwrap();
    let (listed, in_force) = Config::read(sources).unwrap();
    assert_eq!(listed, parse("").unwrap());
    for key in in_force.keys() {
        let (section, name) = key.rsplit_once('.').unwrap_or(("", &key));
        let start = if section.is_empty() {
            0
        } else {
            example.find(&format!("\n[{section}]\n")).unwrap() + 2
        };
        let block = &example[start..];
        let block = &block[..block.find("\n[").unwrap_or(block.len())];
        let named = block.lines().any(|line| {
            let line = line.trim_start_matches("# ");
            line.starts_with(&format!("{name} = "))
        });
        assert!(named, "{key} is missing");
    }
}

#[test]
fn what_is_in_force_says_the_same_again_but_for_the_secret() {
    let text = format!(
        "listen = \"[::1]:5\"\n[hub]\nconnection_string = \"{HUB}\"\n[quota]\ntier = \"S2\"\n[log]\nformat = \"json\""
    );
    let sources = Sources::of_text(&text, Path::new("/etc/x")).unwrap();
    let (config, in_force) = Config::read(sources).unwrap();
    let printed = in_force.to_string();
    assert!(!printed.contains("AAECAw"), "{printed}");
    let again = printed.replace("(hidden)", HUB);
    assert_eq!(Config::parse(&again, Path::new("/"), None), Ok(config));
}

#[test]
fn the_tier_decides_how_much_the_hub_is_asked_unless_that_is_given() {
    let config = parse("[quota]\ntier = \"S3\"\nunits = 2").unwrap();
    assert!((config.cadence.reads_per_second - 950.0).abs() < 1e-9);
    assert!((config.quota.methods_per_second - 11_400.0).abs() < 1e-9);
    let text = "[quota]\ntier = \"S3\"\nmethods_per_second = 7\n[polling]\nreads_per_second = 5";
    let config = parse(text).unwrap();
    assert!((config.cadence.reads_per_second - 5.0).abs() < 1e-9);
    assert!((config.quota.methods_per_second - 7.0).abs() < 1e-9);
}

#[test]
fn every_mistake_is_told_at_once() {
    let text = "
        listen = 5
        lisen = \"x\"
        [store]
        retention = \"soon\"
        [polling]
        reads_per_second = 0
        min_interval = \"10s\"
        max_interval = \"1s\"
        [timing]
        dispatch_answer_timeout = \"1s\"
        [hub]
        https_port = 99999
        colour = true
    ";
    let error = Config::parse(text, Path::new("."), None).unwrap_err();
    let keys: Vec<_> = error.0.iter().map(|mistake| mistake.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "listen",
            "hub.https_port",
            "hub.connection_string",
            "hub.colour",
            "store.retention",
            "polling.reads_per_second",
            "polling.min_interval",
            "timing.dispatch_answer_timeout",
            "lisen",
        ]
    );
}

#[test]
fn a_mistake_names_key_value_and_what_was_expected() {
    refused(
        "listen = \"here\"",
        &["listen = \"here\": expected an IP address and a port, for example \"127.0.0.1:50051\""],
    );
    refused(
        "allow_insecure_listen = 1",
        &["allow_insecure_listen = 1: expected true or false"],
    );
    refused("store = 1", &["store = 1: expected a section"]);
    refused("[store]\npath = 3", &["store.path = 3: expected a path"]);
    refused(
        "[store]\nevents_per_attempt = 1",
        &["store.events_per_attempt = 1: expected a number from 10 to 100000"],
    );
    refused(
        "[polling]\nreads_per_second = -2.5",
        &["polling.reads_per_second = -2.5: expected a number from 0.01 to 1000000"],
    );
    refused(
        "[quota]\ntier = \"F1\"",
        &["quota.tier = \"F1\": expected \"S1\", \"S2\" or \"S3\""],
    );
    refused(
        "[timing]\nbookmark_interval = 15",
        &[
            "timing.bookmark_interval = 15: expected a duration from 10ms to 1h, for example \"30s\"",
        ],
    );
    refused(
        "[timing]\nretry_min = \"2m\"",
        &["timing.retry_min = 120s: expected no more than retry_max"],
    );
    refused(
        "[server]\nport = 1",
        &["server.port = 1: expected no such key"],
    );
}

#[test]
fn callers_from_elsewhere_need_a_word_more() {
    let expected = "a loopback address: callers are not authenticated; allow_insecure_listen = true lifts this";
    refused(
        "listen = \"0.0.0.0:1\"",
        &[&format!("listen = 0.0.0.0:1: expected {expected}")],
    );
    let config = parse("listen = \"0.0.0.0:1\"\nallow_insecure_listen = true").unwrap();
    assert_eq!(config.listen.port(), 1);
    let text = format!("[hub]\nconnection_string = \"{HUB}\"");
    let argument = Some("10.0.0.1:1".parse().unwrap());
    assert!(Config::parse(&text, Path::new("."), argument).is_err());
}

#[test]
fn a_connection_string_is_never_shown() {
    for text in [
        "HostName=h.example;SharedAccessKeyName=service;SharedAccessKey=hunter2hunter2",
        "HostName=h.example;DeviceId=d;SharedAccessKey=AAECAwQFBgcICQoLDA0ODw==",
    ] {
        let toml = format!("[hub]\nconnection_string = \"{text}\"");
        let error = Config::parse(&toml, Path::new("."), None).unwrap_err();
        let told = error.to_string();
        assert!(told.contains("hub.connection_string = (hidden)"), "{told}");
        assert!(
            !told.contains("hunter2") && !told.contains("AAECAw"),
            "{told}"
        );
    }
}

#[test]
fn a_connection_string_may_be_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hub.txt"), format!("{HUB}\n")).unwrap();
    let text = "[hub]\nconnection_string_file = \"hub.txt\"";
    let config = Config::parse(text, folder.path(), None).unwrap();
    assert_eq!(config.hub.connection.policy, "service");
    let missing = text.replace("hub.txt", "no.txt");
    let error = Config::parse(&missing, folder.path(), None).unwrap_err();
    assert_eq!(error.0[0].key, "hub.connection_string_file");
}

#[test]
fn text_that_is_no_toml_is_told_with_its_place() {
    let error = Config::parse("listen = ", Path::new("."), None).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}
