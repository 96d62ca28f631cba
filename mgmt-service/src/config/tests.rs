//! Texts in, settings or mistakes out.

use super::*;
use crate::hub::{ClientSecret, EntraIdentity, HubCredential, ManagedIdentity};

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
fn the_secured_example_has_every_setting_of_its_sections() {
    let folder = tempfile::tempdir().unwrap();
    let example = secured(&folder);
    let sources = Sources::of_text(&example, folder.path()).unwrap();
    let (config, in_force) = Config::read(sources).unwrap();
    assert_eq!(config.access.policy.bindings.len(), 3);
    assert!(!config.access.policy.open && config.tls.is_some());
    for key in in_force.keys() {
        if key.starts_with("tls.") || key.starts_with("access.") {
            let name = key.rsplit('.').next().unwrap();
            // The other of the two ways to give keys is told of in words.
            let told =
                example.contains(&format!("\n{name} = ")) || example.contains(&format!("`{name}`"));
            assert!(told, "{key} is missing");
        }
    }
}

/// The example of a secured service, with every file that it names beside it.
fn secured(folder: &tempfile::TempDir) -> String {
    let params = rcgen::CertificateParams::new(vec!["service.example".to_owned()]).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    for (name, text) in [
        ("hub.secret", HUB),
        ("server.pem", &certificate),
        ("server.key", &key.serialize_pem()),
        ("callers.pem", &certificate),
        ("laptop.token", "a-token-of-some-length\n"),
    ] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    include_str!("../../secured.example.toml").to_owned()
}

/// Changes the example of a secured service, and tells the mistakes in it.
#[track_caller]
fn spoilt(changes: &[(&str, &str)], expected: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut text = secured(&folder);
    for (old, new) in changes {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    let mistakes = Config::parse(&text, folder.path(), None).unwrap_err().0;
    let told: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.contains(expected), "{expected} not in {told:#?}");
    }
}

#[test]
fn every_mistake_about_access_is_told_at_once() {
    spoilt(
        &[
            (
                "\"optional\"\n\n# How long a h",
                "\"perhaps\"\n\n# How long a h",
            ),
            ("issuer = ", "isuer = "),
            ("[\"RS256\"]", "[\"RS256\", \"HS256\"]"),
            ("jwks_url = \"https", "jwks_url = \"http"),
            (
                "who = \"authenticated\"",
                "who = [\"token:phone\", \"everybody\"]",
            ),
            ("role = \"viewer\"", "role = \"guest\""),
            ("\"lab-*\"", "\"lab *\""),
            ("\"force\", \"cancel-others\"", "\"force\", \"fly\""),
            ("site = \"north\"", "site = [\"north\"]"),
            ("role = \"admin\"", "role = \"admin\"\nrights = [\"force\"]"),
        ],
        &[
            "tls.client_certificates = \"perhaps\": expected \"optional\" or \"required\"",
            "access.jwt.issuer: expected who issues the tokens",
            "access.jwt.algorithms = [\"RS256\", \"HS256\"]: expected some of RS256",
            "access.jwt.jwks_url = http://login.example.com/tenant/keys: expected an https:// address",
            "access.jwt.isuer = …: expected no such key",
            "access.binding[0].who = token:phone: expected the name of an access.static_token",
            "access.binding[0].who = everybody: expected \"authenticated\", or",
            "access.binding[0].role = \"guest\": expected viewer, operator or admin",
            "access.binding[0].devices = lab *: expected a pattern of device ids",
            "access.binding[1].rights = fly: expected what this role may have besides: force, power-cycle",
            "access.binding[1].tags = { \"hardware.generation\" = 2, site = [\"north\"] }: expected tags and their values",
            "access.binding[2].rights = force: expected nothing, for an admin has every right",
        ],
    );
}

#[test]
fn credentials_and_files_that_cannot_work_are_told() {
    spoilt(
        &[("\"server.key\"", "\"laptop.token\"")],
        &["tls.key_file: expected a file with a PEM private key"],
    );
    spoilt(&[("\"server.pem\"", "\"gone.pem\"")], &["tls.cert_file = "]);
    spoilt(
        &[("allow_static_tokens = true", "allow_static_tokens = false")],
        &["listen = 0.0.0.0:50051: expected a loopback address: static tokens are for development"],
    );
    spoilt(
        &[("client_ca_file = ", "# "), ("client_certificates", "# ")],
        &[
            "access.binding[1].who = certificate:spiffe://example.com/rollout: expected tls.client_ca_file",
        ],
    );
    spoilt(
        &[("\"laptop.token\"", "\"server.pem\"")],
        &[
            "access.static_token[0].file: expected a file with one token of at least 16 visible",
            "access.binding[2].who = token:laptop",
        ],
    );
    spoilt(
        &[
            ("jwks_url = ", "jwks_file = \"laptop.token\" #"),
            ("leeway = \"1m\"", "leeway = \"1h\""),
        ],
        &[
            "access.jwt.leeway = \"1h\": expected a duration from 0s to 5m",
            "access.jwt.jwks_file: expected a JSON Web Key Set or PEM public keys: neither",
        ],
    );
}

#[test]
fn a_key_of_another_certificate_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let text = secured(&folder);
    let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder.path().join("server.key"), other).unwrap();
    let told = Config::parse(&text, folder.path(), None).unwrap_err();
    let told = told.to_string();
    assert!(
        told.contains("certificates and a key that can be used"),
        "{told}"
    );
}

#[test]
fn whoever_is_reached_from_elsewhere_needs_tls_and_credentials() {
    let lifted = "allow_insecure_listen = true lifts this";
    let without = |sections: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let mut text = secured(&folder);
        for section in sections {
            let start = text.find(&format!("\n[{section}]")).unwrap();
            let length = text[start + 1..]
                .find("\n\n[")
                .unwrap_or(text.len() - start - 1);
            text.replace_range(start..=start + length, "\n");
        }
        let parsed = Config::parse(&text, folder.path(), None);
        parsed.map_err(|mistakes| mistakes.to_string())
    };
    assert!(without(&[]).is_ok());
    let told = without(&["tls"]).unwrap_err();
    assert!(
        told.contains("connections are not secured, for") && told.contains(lifted),
        "{told}"
    );
    let certificate = "[tls]\ncert_file = \"server.pem\"\nkey_file = \"server.key\"\n";
    let folder = tempfile::tempdir().unwrap();
    secured(&folder);
    let text =
        format!("listen = \"0.0.0.0:1\"\n[hub]\nconnection_string = \"{HUB}\"\n{certificate}");
    let told = Config::parse(&text, folder.path(), None).unwrap_err();
    assert!(
        told.to_string()
            .contains("callers are not authenticated, for"),
        "{told}"
    );
    let lifted = format!("allow_insecure_listen = true\n{text}");
    assert!(Config::parse(&lifted, folder.path(), None).is_ok());
}

#[test]
fn bindings_and_credentials_need_each_other() {
    refused(
        "[[access.binding]]\nwho = \"authenticated\"\nrole = \"admin\"",
        &[
            "access.binding: expected credentials to tell callers by: tls.client_ca_file, access.jwt or access.static_token",
        ],
    );
    let folder = tempfile::tempdir().unwrap();
    secured(&folder);
    let text = format!(
        "[hub]\nconnection_string = \"{HUB}\"\n[[access.static_token]]\nname = \"a\"\nfile = \"laptop.token\"\n[[access.static_token]]\nname = \"b\"\nfile = \"laptop.token\""
    );
    let told = Config::parse(&text, folder.path(), None).unwrap_err();
    let told: Vec<_> = told.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "access.static_token[1].file: expected another token than the others",
            "access.binding: expected at least one: without any, nobody may do anything",
        ]
    );
}

#[test]
fn what_is_in_force_of_a_secured_service_says_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources::of_text(&secured(&folder), folder.path()).unwrap();
    let (config, in_force) = Config::read(sources).unwrap();
    let printed = in_force.to_string();
    for secret in ["a-token-of-some-length", "PRIVATE KEY", "AAECAw"] {
        assert!(!printed.contains(secret), "{printed}");
    }
    assert_eq!(
        Config::parse(&printed, Path::new("/"), None),
        Ok(config),
        "{printed}"
    );
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
fn a_device_is_looked_for_no_longer_than_its_attempt_is_kept() {
    let config = parse("[store]\nretention = \"2h\"").unwrap();
    assert_eq!(config.timing.recovery_limit, config.timing.retention);
    refused(
        "[store]\nretention = \"2h\"\n[timing]\nrecovery_limit = \"3h\"",
        &["timing.recovery_limit = 10800s: expected no more than store.retention"],
    );
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
    let expected = "a loopback address: connections are not secured and callers not authenticated, for which see [tls] and [access]; allow_insecure_listen = true lifts this";
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
    let HubCredential::SharedKey(connection) = config.hub.credential else {
        panic!("a shared key");
    };
    assert_eq!(connection.policy, "service");
    let missing = text.replace("hub.txt", "no.txt");
    let error = Config::parse(&missing, folder.path(), None).unwrap_err();
    assert_eq!(error.0[0].key, "hub.connection_string_file");
}

#[test]
fn text_that_is_no_toml_is_told_with_its_place() {
    let error = Config::parse("listen = ", Path::new("."), None).unwrap_err();
    assert!(error.to_string().contains("line 1"), "{error}");
}

/// Settings whose hub has tokens of Microsoft Entra ID, in an environment.
fn entra_sources(lines: &str, environment: &[(&str, &str)]) -> Sources {
    let text = format!("[hub]\nhost_name = \"h.example\"\n{lines}");
    let mut sources = Sources::of_text(&text, Path::new("/etc/x")).unwrap();
    let pairs = environment.iter().map(|(k, v)| (k.into(), v.into()));
    sources.environment("mgmt-service", pairs);
    sources
}

fn entra(lines: &str, environment: &[(&str, &str)]) -> Result<HubConfig, Vec<String>> {
    match Config::read(entra_sources(lines, environment)) {
        Ok((config, _)) => Ok(config.hub),
        Err(mistakes) => Err(mistakes.0.iter().map(ToString::to_string).collect()),
    }
}

fn identity(lines: &str, environment: &[(&str, &str)]) -> EntraIdentity {
    let hub = entra(lines, environment).unwrap();
    let HubCredential::Entra { host, options } = hub.credential else {
        panic!("an identity");
    };
    assert_eq!(host.to_string(), "h.example");
    options.identity
}

#[test]
fn an_identity_is_in_the_settings_or_where_the_platform_puts_it() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let by_platform = [
        ("AZURE_TENANT_ID", "t"),
        ("AZURE_CLIENT_ID", "c"),
        ("AZURE_FEDERATED_TOKEN_FILE", path.as_str()),
        ("AZURE_CLIENT_SECRET", "hunter2"),
    ];
    let workload = EntraIdentity::Workload {
        tenant: "t".into(),
        client: "c".into(),
        token_file: file.path().into(),
    };
    let kind = "[hub.entra]\nkind = \"workload-identity\"\n";
    assert_eq!(identity(kind, &by_platform), workload);
    let told = format!("{kind}tenant_id = \"t\"\nclient_id = \"c\"\ntoken_file = \"{path}\"");
    assert_eq!(identity(&told, &[("AZURE_CLIENT_ID", "other")]), workload);

    let kind = "[hub.entra]\nkind = \"client-secret\"\n";
    let secret = |text: &str| EntraIdentity::Secret {
        tenant: "t".into(),
        client: "c".into(),
        secret: ClientSecret(text.into()),
    };
    assert_eq!(identity(kind, &by_platform), secret("hunter2"));
    std::fs::write(file.path(), "from-the-file\n").unwrap();
    let told = format!("{kind}client_secret_file = \"{path}\"");
    assert_eq!(identity(&told, &by_platform), secret("from-the-file"));

    let kind = "[hub.entra]\nkind = \"managed-identity\"\n";
    let managed = |identity| EntraIdentity::Managed(identity);
    assert_eq!(
        identity(kind, &by_platform),
        managed(ManagedIdentity::System)
    );
    let told = format!("{kind}object_id = \"o\"");
    assert_eq!(
        identity(&told, &[]),
        managed(ManagedIdentity::ObjectId("o".into()))
    );
}

#[test]
fn every_mistake_about_an_identity_is_told() {
    for (lines, expected) in [
        ("", vec!["hub.host_name", "hub.connection_string"]),
        ("[hub.entra]\n", vec!["hub.entra.kind"]),
        (
            "[hub.entra]\nkind = \"magic\"",
            vec!["hub.entra.kind = \"magic\""],
        ),
        (
            "[hub.entra]\nkind = \"client-secret\"\ntenant_id = \"a b\"\nauthority = \"http://x\"",
            vec![
                "hub.entra.tenant_id",
                "hub.entra.client_id",
                "hub.entra.client_secret",
                "hub.entra.authority",
            ],
        ),
        (
            "[hub.entra]\nkind = \"workload-identity\"\ntoken_file = \"/none\"",
            vec![
                "hub.entra.tenant_id",
                "hub.entra.client_id",
                "hub.entra.token_file = /none",
            ],
        ),
        (
            "[hub.entra]\nkind = \"managed-identity\"\nclient_id = \"c\"\nresource_id = \"r\"",
            vec!["hub.entra.resource_id"],
        ),
        (
            "[hub.entra]\nkind = \"managed-identity\"\nclient_secret = \"hunter2\"",
            vec!["hub.entra.client_secret"],
        ),
        (
            "connection_string = \"hunter2\"\n[hub.entra]\nkind = \"managed-identity\"",
            vec!["hub.connection_string = (hidden)"],
        ),
    ] {
        let told = entra(lines, &[]).unwrap_err();
        assert_eq!(told.len(), expected.len(), "{lines}: {told:#?}");
        for part in expected {
            assert!(
                told.iter().any(|told| told.contains(part)),
                "{part}: {told:#?}"
            );
        }
        assert!(!told.concat().contains("hunter2"), "{told:#?}");
    }
}
