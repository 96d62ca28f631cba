//! Forms in the field, mistakes and their messages, and the inverse of printing.

use proptest::prelude::*;

use super::*;
use crate::sas::SharedKey;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn ids_have_1_to_128_of_the_documented_characters() {
    assert!("dev-1.+%_#*?!(),:=@$'".parse::<DeviceId>().is_ok());
    assert!("x".repeat(128).parse::<DeviceId>().is_ok());
    assert_eq!(
        "x".repeat(129).parse::<DeviceId>(),
        Err(IdError::Length(129))
    );
    assert_eq!("".parse::<ModuleId>(), Err(IdError::Empty));
    for bad in ['/', ' ', ';', '&', 'ä', '\n', '\0'] {
        assert_eq!(
            format!("a{bad}").parse::<DeviceId>(),
            Err(IdError::Character(bad))
        );
    }
}

#[test]
fn ids_are_checked_when_deserialised() {
    assert!(serde_json::from_str::<DeviceId>("\"d1\"").is_ok());
    assert!(serde_json::from_str::<DeviceId>("\"a/b\"").is_err());
}

#[test]
fn hosts() {
    #[track_caller]
    fn check(text: &str, name: &str, address: &str, port: Option<u16>) {
        let host: HubHost = text.parse().unwrap();
        assert_eq!(
            (host.name(), host.address(), host.port()),
            (name, address, port)
        );
        assert_eq!(host.to_string(), text);
    }
    check(
        "myhub.azure-devices.net",
        "myhub",
        "myhub.azure-devices.net",
        None,
    );
    check("localhost", "localhost", "localhost", None);
    check("myhub.local:8443", "myhub", "myhub.local", Some(8443));
    check("127.0.0.2", "127.0.0.2", "127.0.0.2", None);
    check("127.0.0.2:443", "127.0.0.2", "127.0.0.2", Some(443));
    check("::1", "::1", "::1", None);
    check("[::1]", "::1", "::1", None);
    check("[::1]:443", "::1", "::1", Some(443));

    for bad in [
        "",
        "a b",
        "a/b",
        "https://h",
        "h:",
        "h:x",
        "h:0",
        "h:65536",
        "h:+1",
        ".h",
        "h..n",
        "[h]",
        "[::1",
        "[::1]x",
        ":1",
    ] {
        assert!(bad.parse::<HubHost>().is_err(), "{bad:?}");
    }
}

#[test]
fn hosts_differ_by_more_than_case() {
    let host = |text: &str| text.parse::<HubHost>().unwrap();
    assert_eq!(host("MyHub.net"), host("myhub.NET"));
    assert_ne!(host("myhub.net"), host("myhub.net:443"));
}

#[test]
fn reads_every_kind_of_connection_string() {
    let service = format!("HostName=h.net;SharedAccessKeyName=service;SharedAccessKey={KEY}");
    assert_eq!(
        service.parse(),
        Ok(ConnectionString::Service(ServiceConnection {
            host: "h.net".parse().unwrap(),
            policy: "service".to_owned(),
            key: KEY.parse().unwrap(),
        }))
    );
    let device: DeviceConnection =
        format!("hostname=h.net;deviceid=d;MODULEID=m;sharedaccesskey={KEY};GatewayHostName=gw;")
            .parse()
            .unwrap();
    assert_eq!(device.auth, DeviceAuth::Key(KEY.parse().unwrap()));
    assert_eq!(device.scope(), "h.net/devices/d/modules/m");
    assert_eq!(device.client_id(), "d/m");
    assert_eq!(device.gateway, Some("gw".parse().unwrap()));
    assert_eq!(
        device.mqtt_user("2021-04-12").to_string(),
        "h.net/d/m/?api-version=2021-04-12"
    );

    let token = "SharedAccessSignature sr=h.net%2Fdevices%2Fd&sig=AAAA&se=1";
    let device: DeviceConnection =
        format!("HostName=h.net;DeviceId=d;SharedAccessSignature={token}")
            .parse()
            .unwrap();
    assert_eq!(device.auth, DeviceAuth::Token(token.into()));

    let device: DeviceConnection = "HostName=h.net;DeviceId=d;x509=true".parse().unwrap();
    assert_eq!(device.auth, DeviceAuth::X509);
}

#[test]
fn every_mistake_in_a_connection_string_names_its_field() {
    #[track_caller]
    fn check(text: &str, message: &str) {
        let error = text
            .replace("{KEY}", KEY)
            .parse::<ConnectionString>()
            .unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
    check(
        "",
        "connection string must be `Key=Value` pairs joined by `;`",
    );
    check(
        "HostName=h;;DeviceId=d",
        "connection string must be `Key=Value` pairs joined by `;`",
    );
    check(
        "HostName=h;Colour=red",
        "unknown key `Colour` in connection string",
    );
    check(
        "HostName=h;hostname=h",
        "`HostName` stands twice in connection string",
    );
    check(
        "HostName=;DeviceId=d",
        "`HostName` is empty in connection string",
    );
    check(
        "DeviceId=d;SharedAccessKey={KEY}",
        "connection string has no `HostName`",
    );
    check(
        "HostName=h",
        "connection string has neither `DeviceId` nor `SharedAccessKeyName`",
    );
    check(
        "HostName=h;DeviceId=d",
        "connection string has no `SharedAccessKey`",
    );
    check(
        "HostName=h;SharedAccessKeyName=p",
        "connection string has no `SharedAccessKey`",
    );
    check(
        "HostName=h;DeviceId=d;SharedAccessKeyName=p;SharedAccessKey={KEY}",
        "`SharedAccessKeyName` and `DeviceId` exclude each other in connection string",
    );
    check(
        "HostName=h;DeviceId=d;x509=true;SharedAccessKey={KEY}",
        "`SharedAccessKey` and `x509` exclude each other in connection string",
    );
    check(
        "HostName=h;DeviceId=d;x509=yes",
        "`x509` in connection string must be `true`",
    );
    check(
        "HostName=h;DeviceId=d;SharedAccessKey=AAAA",
        "`SharedAccessKey` in connection string: key has 3 bytes, expected 16 to 64",
    );
    check(
        "HostName=h;DeviceId=d;SharedAccessKey=?",
        "`SharedAccessKey` in connection string: key is not base64",
    );
    check(
        "HostName=h:x;DeviceId=d;x509=true",
        "`HostName` in connection string: host's port is not a number from 1 to 65535",
    );
    check(
        "HostName=h;DeviceId=a/b;x509=true",
        "`DeviceId` in connection string: id contains '/'; allowed are ASCII letters, digits and -.+%_#*?!(),:=@$'",
    );
    check(
        "HostName=h;SharedAccessKeyName=a b;SharedAccessKey={KEY}",
        "`SharedAccessKeyName` in connection string may have ASCII letters, digits and _-@. only",
    );
}

#[test]
fn debug_of_a_connection_shows_no_secret() {
    let token = "SharedAccessSignature sr=h&sig=AAAA&se=1";
    for secret in [
        format!("SharedAccessKey={KEY}"),
        format!("SharedAccessSignature={token}"),
    ] {
        let connection: ConnectionString =
            format!("HostName=h;DeviceId=d;{secret}").parse().unwrap();
        let shown = format!("{connection:?}");
        assert!(!shown.contains("AAAA") && !shown.contains(KEY), "{shown}");
    }
}

#[track_caller]
fn check_user(text: &str, device: &str, module: Option<&str>, query: &[(&str, &str)]) {
    let user: MqttUser = text.parse().unwrap();
    assert_eq!(
        (
            user.device.as_str(),
            user.module.as_ref().map(ModuleId::as_str)
        ),
        (device, module),
        "{text}"
    );
    let expected: Vec<_> = query
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    assert_eq!(user.query, expected, "{text}");
}

#[test]
fn reads_every_form_of_user_name_in_the_field() {
    check_user(
        "h/d/?api-version=2019-10-01&DeviceClientType=azure-iot-device-iothub-py%2F2.14.0%283.11.2%3BLinux%20...%29",
        "d",
        None,
        &[
            ("api-version", "2019-10-01"),
            (
                "DeviceClientType",
                "azure-iot-device-iothub-py/2.14.0(3.11.2;Linux ...)",
            ),
        ],
    );
    check_user(
        "h/d/m/?api-version=2020-09-30",
        "d",
        Some("m"),
        &[("api-version", "2020-09-30")],
    );
    check_user(
        "h/d/api-version=2016-11-14&DeviceClientType=x",
        "d",
        None,
        &[("api-version", "2016-11-14"), ("DeviceClientType", "x")],
    );
    check_user(
        "h/d/?api-version=2020-09-30&DeviceClientType=x&auth-chain=leaf%3Bedge2%3Bedge1",
        "d",
        None,
        &[
            ("api-version", "2020-09-30"),
            ("DeviceClientType", "x"),
            ("auth-chain", "leaf;edge2;edge1"),
        ],
    );
    check_user(
        "h/d/m/api-version=2017-06-30/DeviceClientType=Microsoft.Azure.Devices.Client/1.5.1-preview-003",
        "d",
        Some("m"),
        &[
            ("api-version", "2017-06-30"),
            (
                "DeviceClientType",
                "Microsoft.Azure.Devices.Client/1.5.1-preview-003",
            ),
        ],
    );
    check_user(
        "127.0.0.2/dev-1/?api-version=2021-04-12&DeviceClientType=azure-iot-device%2F1.18.4%20(node%20v20)",
        "dev-1",
        None,
        &[
            ("api-version", "2021-04-12"),
            ("DeviceClientType", "azure-iot-device/1.18.4 (node v20)"),
        ],
    );
    check_user("h/d", "d", None, &[]);
    check_user("h/d/", "d", None, &[]);
    check_user("h/d/?", "d", None, &[]);
    check_user("h/d/m/", "d", Some("m"), &[]);
    check_user("h/?d/?m/?a=1", "?d", Some("?m"), &[("a", "1")]);
    check_user(
        "h/d/?api-version=1&x=a/b",
        "d",
        None,
        &[("api-version", "1"), ("x", "a/b")],
    );
    check_user(
        "h/d/?api-version=1&x=a/?b",
        "d",
        None,
        &[("api-version", "1"), ("x", "a/?b")],
    );
    check_user(
        "h/d/?a=1&a=2&&b&c=+%FF",
        "d",
        None,
        &[("a", "1"), ("a", "2"), ("b", ""), ("c", "+\u{fffd}")],
    );
}

#[test]
fn refuses_what_is_no_user_name() {
    for bad in [
        "",
        "h",
        "h/",
        "/d",
        "h/d/m",
        "h/d/m/x",
        "h/d/m/x/?api-version=1/y",
        "h/a b/?x=1",
        "h h/d/?x=1",
    ] {
        assert!(bad.parse::<MqttUser>().is_err(), "{bad:?}");
    }
}

#[test]
fn first_duplicate_wins() {
    let user: MqttUser = "h/d/?api-version=1&api-version=2".parse().unwrap();
    assert_eq!(user.api_version(), Some("1"));
    assert_eq!(user.client_id(), "d");
}

pub(crate) fn device_id() -> impl Strategy<Value = DeviceId> {
    "[A-Za-z0-9\\-.+%_#*?!(),:=@$']{1,128}".prop_map(|text| text.parse().unwrap())
}

pub(crate) fn module_id() -> impl Strategy<Value = ModuleId> {
    "[A-Za-z0-9\\-.+%_#*?!(),:=@$']{1,20}".prop_map(|text| text.parse().unwrap())
}

fn host() -> impl Strategy<Value = HubHost> {
    "([a-zA-Z0-9_-]{1,9}(\\.[a-z0-9-]{1,5}){0,2}|127\\.0\\.0\\.[1-9]|\\[::[1-9]\\])(:[1-9][0-9]{0,3})?"
        .prop_map(|text| text.parse().unwrap())
}

fn key() -> impl Strategy<Value = SharedKey> {
    proptest::collection::vec(any::<u8>(), 16..=64)
        .prop_map(|bytes| SharedKey::from_bytes(bytes).unwrap())
}

fn auth() -> impl Strategy<Value = DeviceAuth> {
    prop_oneof![
        key().prop_map(DeviceAuth::Key),
        "[A-Za-z =&%]{1,30}".prop_map(|token| DeviceAuth::Token(token.into())),
        Just(DeviceAuth::X509),
    ]
}

prop_compose! {
    fn device_connection()(
        host in host(),
        device in device_id(),
        module in proptest::option::of(module_id()),
        auth in auth(),
        gateway in proptest::option::of(host()),
    ) -> DeviceConnection {
        DeviceConnection { host, device, module, auth, gateway }
    }
}

prop_compose! {
    fn service_connection()(host in host(), policy in "[a-zA-Z0-9_\\-@.]{1,20}", key in key()) -> ServiceConnection {
        ServiceConnection { host, policy, key }
    }
}

prop_compose! {
    fn mqtt_user()(
        host in host(),
        device in device_id(),
        module in proptest::option::of(module_id()),
        query in proptest::collection::vec((".{0,8}", ".{0,12}"), 0..4),
    ) -> MqttUser {
        MqttUser { host, device, module, query }
    }
}

proptest! {
    #[test]
    fn parsing_a_device_connection_inverts_printing(connection in device_connection()) {
        prop_assert_eq!(connection.to_string().parse(), Ok(ConnectionString::Device(connection)));
    }

    #[test]
    fn parsing_a_service_connection_inverts_printing(connection in service_connection()) {
        prop_assert_eq!(connection.to_string().parse(), Ok(ConnectionString::Service(connection)));
    }

    #[test]
    fn parsing_a_user_inverts_printing(user in mqtt_user()) {
        prop_assert_eq!(user.to_string().parse(), Ok(user));
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,60}", shaped in "(HostName|DeviceId|x509|=|;|/|\\?|&|api-version=|:|\\[|\\]|%|\\PC){0,20}") {
        for text in [text, shaped] {
            let _ = text.parse::<ConnectionString>();
            let _ = text.parse::<MqttUser>();
            let _ = text.parse::<HubHost>().map(|host| (host.name().len(), host.address().len(), host.port()));
            let _ = text.parse::<DeviceId>();
        }
    }
}
