//! Who is let in, what they get, and what becomes of enrolments that change.

use iot_hub::provisioning::{IdScope, RegistrationUser, token};
use jiff::ToSpan as _;

use super::*;
use crate::certificate::DeviceAuthorities;
use crate::setup::SetupCredentials;

fn now() -> Timestamp {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

fn key(byte: u8) -> SharedKey {
    SharedKey::from_bytes(vec![byte; 32]).unwrap()
}

fn by_key(enrollee: Enrollee, byte: u8) -> Enrollment {
    let credentials = SetupCredentials::Keys {
        primary: Some(key(byte)),
        secondary: None,
    };
    Enrollment::new(enrollee, credentials)
}

fn device(id: &str) -> Enrollee {
    Enrollee::Device(id.parse().unwrap())
}

fn scope() -> IdScope {
    "0ne".parse().unwrap()
}

fn admit(service: &Provisioning, id: &str, key: &SharedKey) -> Option<Admitted> {
    let user = format!("{}/registrations/{id}/api-version=2019-03-31", scope());
    let user: RegistrationUser = user.parse().unwrap();
    let password = token(&scope(), &user.registration, key, now() + 1.hour()).to_string();
    let shown = Shown {
        user: &user,
        password: &password,
        certificate: None,
    };
    let nobody = DeviceAuthorities::read(&[]).unwrap();
    service.admit(shown, &nobody, now()).ok()
}

fn register(service: &mut Provisioning, hub: &mut Hub, admitted: &Admitted) -> Value {
    let host = "this.hub".parse().unwrap();
    let body = json!({ "registrationId": admitted.registration }).to_string();
    let number = hub.links().count() as u64;
    let asked = service.register(hub, &host, admitted, body.as_bytes(), (number, now()));
    let asked = asked.unwrap();
    assert_eq!(asked["status"], "assigning");
    let operation = asked["operationId"].as_str().unwrap();
    service.status(&admitted.registration, operation).unwrap()
}

#[test]
fn a_device_has_a_hub_once_it_asked_and_the_hub_knows_its_key() {
    let (mut service, mut hub) = (Provisioning::default(), Hub::default());
    service.enroll(by_key(device("Pump-1"), 1), || key(9));
    let admitted = admit(&service, "pump-1", &key(1)).unwrap();
    let told = register(&mut service, &mut hub, &admitted);
    assert_eq!(told["registrationState"]["assignedHub"], "this.hub");
    assert_eq!(told["registrationState"]["deviceId"], "pump-1");
    let id = EntityId::from("pump-1".parse::<DeviceId>().unwrap());
    assert_eq!(hub.identity(&id).unwrap().keys().unwrap().primary, key(1));
    assert!(service.status(&admitted.registration, "4.other").is_err());
}

#[test]
fn a_groups_devices_have_keys_of_their_own_and_no_others() {
    let mut service = Provisioning::default();
    service.enroll(by_key(Enrollee::Group("site".to_owned()), 1), || key(9));
    assert!(admit(&service, "a", &key(1).derive("a")).is_some());
    for wrong in [key(1), key(1).derive("b"), key(2).derive("a")] {
        assert!(admit(&service, "a", &wrong).is_none());
    }
    // Its own enrolment goes before the group's.
    service.enroll(by_key(device("a"), 3), || key(9));
    assert!(admit(&service, "a", &key(1).derive("a")).is_none());
    assert!(admit(&service, "a", &key(3)).is_some());
}

#[test]
fn a_device_moves_when_its_enrolment_names_another_hub() {
    let (mut service, mut hub) = (Provisioning::default(), Hub::default());
    service.enroll(by_key(device("a"), 1), || key(9));
    let admitted = admit(&service, "a", &key(1)).unwrap();
    let first = register(&mut service, &mut hub, &admitted);
    assert_eq!(first["registrationState"]["substatus"], "initialAssignment");
    service.enroll(
        Enrollment {
            hub: Some("other.hub".parse().unwrap()),
            device: Some("a-there".parse().unwrap()),
            payload: Some(json!({"floor": 2})),
            ..by_key(device("a"), 1)
        },
        || key(9),
    );
    let second = register(&mut service, &mut hub, &admitted);
    let state = &second["registrationState"];
    assert_eq!(state["assignedHub"], "other.hub");
    assert_eq!(state["deviceId"], "a-there");
    assert_eq!(state["payload"], json!({"floor": 2}));
    assert_eq!(state["substatus"], "deviceDataReset");
    assert_eq!(service.registration(&admitted.registration).unwrap().0, 2);
}

#[test]
fn a_disabled_or_removed_enrolment_gives_no_hub() {
    let (mut service, mut hub) = (Provisioning::default(), Hub::default());
    service.enroll(
        Enrollment {
            enabled: false,
            ..by_key(device("a"), 1)
        },
        || key(9),
    );
    let admitted = admit(&service, "a", &key(1)).unwrap();
    let told = register(&mut service, &mut hub, &admitted);
    assert_eq!(told["status"], "disabled");
    assert!(service.unenroll(&device("A")));
    assert!(!service.unenroll(&device("a")));
    let body = br#"{"registrationId":"a"}"#;
    let host = "this.hub".parse().unwrap();
    let refused = service.register(&mut hub, &host, &admitted, body, (1, now()));
    assert_eq!(refused.unwrap_err().status, 401);
    assert_eq!(hub.list_devices(9).len(), 0);
}

#[test]
fn a_request_of_another_device_or_of_none_is_refused() {
    let (mut service, mut hub) = (Provisioning::default(), Hub::default());
    service.enroll(by_key(device("a"), 1), || key(9));
    let admitted = admit(&service, "a", &key(1)).unwrap();
    let host = "this.hub".parse().unwrap();
    for body in ["", "[]", "{}", r#"{"registrationId":"b"}"#] {
        let refused = service.register(&mut hub, &host, &admitted, body.as_bytes(), (1, now()));
        assert_eq!(refused.unwrap_err().status, 400, "{body}");
    }
}
