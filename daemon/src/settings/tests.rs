//! Sources in; settings, mistakes or what is in force out.

use std::{net::SocketAddr, time::Duration};

use secrecy::ExposeSecret as _;

use super::*;

/// What the tests read.
#[derive(Debug, PartialEq)]
struct Settings {
    listen: SocketAddr,
    port: u16,
    name: Option<String>,
    path: PathBuf,
    words: Vec<String>,
    pause: Duration,
    key: Option<String>,
}

fn read(root: &mut Section) -> Option<Settings> {
    let listen = root.address("listen").or("127.0.0.1:1".parse().unwrap());
    let mut hub = root.section("hub");
    Some(Settings {
        listen,
        port: hub.port("https_port").or(443),
        name: hub.text("name").optional(),
        path: hub.path("path").or("default.db".into()),
        words: hub.texts("words").or(Vec::new()),
        pause: hub
            .duration("pause", Duration::ZERO, Duration::from_secs(60))
            .or(Duration::from_secs(5)),
        key: hub
            .optional_secret("key")
            .map(|secret| secret.text.expose_secret().to_owned()),
    })
}

fn sources(text: &str, variables: &[(&str, &str)], arguments: &[(&str, &str)]) -> Sources {
    let mut sources = Sources::of_text(text, Path::new("/etc/x")).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    sources.environment("my-program", variables);
    for (key, value) in arguments {
        sources.argument("--set", key, value);
    }
    sources
}

#[track_caller]
fn refused(sources: Sources, expected: &[&str]) {
    let Mistakes(mistakes) = sources.read(read).unwrap_err();
    let texts: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(texts, expected);
}

#[test]
fn arguments_win_over_the_environment_and_that_over_the_file() {
    let text = "[hub]\nhttps_port = 1\nname = \"file\"\npause = \"1s\"";
    let variables = [
        ("MY_PROGRAM__HUB__HTTPS_PORT", "2"),
        ("MY_PROGRAM__HUB__NAME", "42"),
        ("MY_PROGRAM", "not meant"),
        ("OTHER__HUB__NAME", "not meant"),
    ];
    let given = sources(text, &variables, &[("hub.https_port", "3")]);
    let (settings, in_force) = given.read(read).unwrap();
    assert_eq!(settings.port, 3);
    assert_eq!(settings.name.as_deref(), Some("42"), "a text of digits");
    assert_eq!(settings.pause, Duration::from_secs(1));
    let printed = in_force.to_string();
    for (start, origin) in [
        ("listen = \"127.0.0.1:1\"", "# default"),
        ("https_port = 3", "# --set"),
        ("name = \"42\"", "# MY_PROGRAM__HUB__NAME"),
        ("pause = \"1s\"", "# file"),
        ("# key =", "# not set"),
    ] {
        let mut lines = printed.lines();
        let line = lines.find(|line| line.starts_with(start));
        assert!(line.is_some_and(|line| line.ends_with(origin)), "{printed}");
    }
}

#[test]
fn what_is_printed_is_toml_that_says_the_same() {
    let text = "listen = \"[::1]:2\"\n[hub]\nname = \"a \\\"b\\\"\\n# c\"\nwords = [\"x\", \"y\"]";
    let (settings, in_force) = sources(text, &[], &[]).read(read).unwrap();
    let again = sources(&in_force.to_string(), &[], &[]).read(read).unwrap();
    // The default is a relative path, and printed as such; in a file it means another.
    let again = Settings {
        path: "default.db".into(),
        ..again.0
    };
    assert_eq!(again, settings);
    let keys: Vec<_> = in_force.keys().collect();
    assert_eq!(keys[..2], ["listen", "hub.https_port"]);
}

#[test]
fn a_list_in_the_environment_is_written_as_in_the_file() {
    let given = sources("", &[("MY_PROGRAM__HUB__WORDS", "[\"a\", \"b\"]")], &[]);
    assert_eq!(given.read(read).unwrap().0.words, ["a", "b"]);
}

#[test]
fn a_path_is_relative_to_where_it_was_written() {
    let in_file = sources("[hub]\npath = \"a.db\"", &[], &[]);
    let path = in_file.read(read).unwrap().0.path;
    assert_eq!(path, Path::new("/etc/x/a.db"));
    let argument = sources("", &[], &[("hub.path", "a.db")]);
    assert_eq!(argument.read(read).unwrap().0.path, Path::new("a.db"));
}

#[test]
fn every_mistake_is_told_with_its_origin() {
    refused(
        sources(
            "colour = true\n[hub]\nhttps_port = 0\n[shed]\ndoor = \"hunter2\"",
            &[
                ("MY_PROGRAM__LISTEN", "here"),
                ("MY_PROGRAM__HUB__NAMES", "x"),
                ("MY_PROGRAM__", "x"),
                ("MY_PROGRAM__NEST__EGG", "x"),
            ],
            &[("hub.pause", "2m"), ("colour.red", "1")],
        ),
        &[
            "MY_PROGRAM__: expected the name of a setting after the program's",
            "colour.red (--set): expected no such key: colour is no section",
            "listen = \"here\" (MY_PROGRAM__LISTEN): expected an IP address and a port, for example \"127.0.0.1:50051\"",
            "hub.https_port = 0: expected a port from 1 to 65535",
            "hub.pause = \"2m\" (--set): expected a duration from 0s to 1m, for example \"30s\"",
            "hub.names = … (MY_PROGRAM__HUB__NAMES): expected no such key",
            "colour = true: expected no such key",
            "nest.egg = … (MY_PROGRAM__NEST__EGG): expected no such key",
            "shed.door = …: expected no such key",
        ],
    );
}

#[test]
fn a_secret_is_read_and_never_shown() {
    let (settings, in_force) = sources("[hub]\nkey = \"hunter2\"", &[], &[])
        .read(read)
        .unwrap();
    assert_eq!(settings.key.as_deref(), Some("hunter2"));
    let printed = in_force.to_string();
    assert!(printed.contains("key = \"(hidden)\""), "{printed}");
    assert!(!printed.contains("hunter2"), "{printed}");
    for text in ["[hub]\nkey = 12345", "hub = \"12345\"", "key = [\"12345\"]"] {
        let told = sources(text, &[], &[]).read(read).unwrap_err().to_string();
        assert!(!told.contains("12345"), "{told}");
    }
    let told = Sources::of_text("key = \"hunter2", Path::new("")).unwrap_err();
    assert!(told.to_string().contains("line 1, column"), "{told}");
    assert!(!told.to_string().contains("hunter2"), "{told}");
}

#[test]
fn the_stronger_source_of_a_secret_wins() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("k"), "from file\n").unwrap();
    let path = folder.path().join("k").display().to_string();
    let text = "[hub]\nkey = \"inline\"";
    let variables = [("MY_PROGRAM__HUB__KEY_FILE", path.as_str())];
    let (settings, _) = sources(text, &variables, &[]).read(read).unwrap();
    assert_eq!(settings.key.as_deref(), Some("from file"));
    refused(
        sources(&format!("{text}\nkey_file = \"k\""), &[], &[]),
        &["hub.key_file = …: expected no key beside it"],
    );
    fs::write(folder.path().join("k"), " \n").unwrap();
    refused(
        sources("", &variables, &[]),
        &["hub.key_file (MY_PROGRAM__HUB__KEY_FILE): expected a file that is not empty"],
    );
}

#[test]
fn a_variable_of_a_platform_stands_in_for_an_absent_key_only() {
    let read = |text: &str| {
        let variables = [("PLATFORM_NAME", "by-platform"), ("PLATFORM_EMPTY", "")];
        let sources = sources(text, &variables, &[]);
        let read = sources.read(|root| {
            root.adopt("name", "PLATFORM_NAME");
            root.adopt("empty", "PLATFORM_EMPTY");
            root.adopt("other", "PLATFORM_OTHER");
            let given = [root.text("name"), root.text("empty"), root.text("other")];
            Some(given.map(Given::optional))
        });
        let (values, in_force) = read.unwrap();
        (values, in_force.to_string())
    };
    let (values, printed) = read("");
    assert_eq!(values, [Some("by-platform".to_owned()), None, None]);
    assert!(printed.contains("# PLATFORM_NAME"), "{printed}");
    let (values, printed) = read("name = \"by-file\"");
    assert_eq!(values, [Some("by-file".to_owned()), None, None]);
    assert!(!printed.contains("PLATFORM"), "{printed}");
}

#[test]
fn an_assignment_has_a_key_and_a_value() {
    let assignment: Assignment = "hub.key = a=b ".parse().unwrap();
    assert_eq!(
        (assignment.key.as_str(), assignment.value.as_str()),
        ("hub.key", "a=b")
    );
    for text in ["", "key", "=value", " = "] {
        assert_eq!(text.parse::<Assignment>(), Err(AssignmentError));
    }
}

#[test]
fn settings_that_say_the_same_have_the_same_fingerprint() {
    let folder = tempfile::tempdir().unwrap();
    let of = |text: &str| {
        let sources = Sources::of_text(text, folder.path()).unwrap();
        let read = |root: &mut Section| {
            let prints = root.sections("device").into_iter().map(|mut device| {
                let taken = device.taken();
                let _ = device.text("id").optional();
                let mut inner = device.section("inner");
                let part = inner.taken();
                let _ = inner.optional_secret("key");
                drop(inner);
                (taken.fingerprint(), part.fingerprint())
            });
            Some(prints.collect::<Vec<_>>())
        };
        sources.read(read).unwrap().0
    };
    fs::write(folder.path().join("k"), "one").unwrap();
    let a = "[[device]]\nid = \"a\"\n[device.inner]\nkey = \"x\"\n";
    let b = "[[device]]\nid = \"b\"\n[device.inner]\nkey_file = \"k\"\n";
    let first = of(&format!("{a}{b}"));
    let swapped = of(&format!("{b}# another place\n{a}"));
    assert_eq!((first[0], first[1]), (swapped[1], swapped[0]));
    let other_id = of(&a.replace("\"a\"", "\"c\""));
    assert_ne!(other_id[0].0, first[0].0);
    assert_eq!(other_id[0].1, first[0].1, "what is within says the same");
    fs::write(folder.path().join("k"), "two").unwrap();
    let replaced = of(b);
    assert_ne!(replaced[0].0, first[1].0, "a file says something else");
    assert_ne!(replaced[0].1, first[1].1);
}

#[test]
fn a_credential_is_brought_by_the_service_manager() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("hub"), "brought\n").unwrap();
    let path = folder.path().display().to_string();
    let brings = [("CREDENTIALS_DIRECTORY", path.as_str())];
    let text = "[hub]\nkey_credential = \"hub\"";
    let (settings, in_force) = sources(text, &brings, &[]).read(read).unwrap();
    assert_eq!(settings.key.as_deref(), Some("brought"));
    assert!(!in_force.to_string().contains("brought"));
    refused(
        sources(text, &[], &[]),
        &[
            "hub.key_credential = hub: expected a service manager that brings credentials: CREDENTIALS_DIRECTORY is not set",
        ],
    );
    refused(
        sources("[hub]\nkey_credential = \"../hub\"", &brings, &[]),
        &["hub.key_credential = ../hub: expected the name of a credential, without a folder"],
    );
    refused(
        sources(
            &format!("{text}\nkey_file = \"x\"\nkey = \"y\""),
            &brings,
            &[],
        ),
        &[
            "hub.key_file = …: expected no key beside it",
            "hub.key_credential = …: expected no key beside it",
        ],
    );
}

#[test]
fn a_secret_that_others_can_read_is_refused_where_secrets_are_guarded() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("k");
    fs::write(&path, "hunter2").unwrap();
    let shown = path.display().to_string();
    let guarded = |mode, variables: &[(&str, &str)]| {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let text = format!("[hub]\nkey_file = \"{shown}\"");
        let read = |root: &mut Section| {
            root.guard_secrets();
            read(root)
        };
        sources(&text, variables, &[])
            .read(read)
            .map(|read| read.0.key)
    };
    for mode in [0o600, 0o400] {
        assert_eq!(guarded(mode, &[]).unwrap().as_deref(), Some("hunter2"));
    }
    for mode in [0o640, 0o604, 0o644] {
        let told = guarded(mode, &[]).unwrap_err().to_string();
        assert!(told.contains("only its owner can read"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
    let credentials = folder.path().display().to_string();
    let brings = [("CREDENTIALS_DIRECTORY", credentials.as_str())];
    assert!(guarded(0o440, &brings).is_ok(), "systemd guards it");
}
