use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(method: Method, path: &str, expected: &Call) {
    assert_eq!(&Call::parse(&method, path).unwrap(), expected);
}

fn device(id: &str) -> EntityId {
    EntityId::from(id.parse::<DeviceId>().unwrap())
}

#[test]
fn reads_the_paths_that_sdks_send() {
    check(Method::GET, "/devices", &Call::ListDevices);
    check(Method::GET, "/devices/", &Call::ListDevices);
    check(
        Method::GET,
        "/devices/d1/modules",
        &Call::ListModules(device("d1")),
    );
    check(Method::PUT, "/devices/d1", &Call::PutIdentity(device("d1")));
    check(Method::POST, "/devices/query", &Call::Query);
    check(Method::GET, "/jobs/v2/query", &Call::ListJobs);
    check(
        Method::PUT,
        "/jobs/v2/job%201",
        &Call::PutJob("job 1".parse().unwrap()),
    );
    check(
        Method::POST,
        "/jobs/v2/j/cancel",
        &Call::CancelJob("j".parse().unwrap()),
    );
    check(
        Method::GET,
        "/devices/query",
        &Call::GetIdentity(device("query")),
    );
    check(
        Method::GET,
        "/twins/a%23b%3Fc",
        &Call::GetTwin(device("a#b?c")),
    );
    check(
        Method::POST,
        "/twins/d1/methods",
        &Call::InvokeMethod(device("d1")),
    );
    let module = EntityId {
        module: Some("m".parse().unwrap()),
        ..device("d1")
    };
    check(
        Method::PATCH,
        "/twins/d1/modules/m",
        &Call::PatchTwin(module),
    );
}

#[test]
fn refuses_what_it_does_not_offer() {
    let code = |method: Method, path: &str| Call::parse(&method, path).unwrap_err().code;
    assert_eq!(
        code(Method::POST, "/twins/d1"),
        Some(ErrorCode::MethodNotAllowed)
    );
    assert_eq!(code(Method::GET, "/nothing"), None);
    assert_eq!(
        code(Method::GET, "/twins/a%FF"),
        Some(ErrorCode::ArgumentInvalid)
    );
    assert_eq!(
        code(Method::GET, "/twins/a%20b"),
        Some(ErrorCode::ArgumentInvalid)
    );
}

proptest! {
    #[test]
    fn any_device_id_survives_its_encoding(id in "[A-Za-z0-9.+%_#*?!(),:=@$'-]{1,128}") {
        let encoded = utf8_percent_encode(&id, NON_ALPHANUMERIC);
        let call = Call::parse(&Method::GET, &format!("/twins/{encoded}"));
        prop_assert_eq!(call, Ok(Call::GetTwin(device(&id))));
    }

    #[test]
    fn no_path_is_too_much(path in ".*", tail in "(/[a-z%0-9]{0,9}){0,7}") {
        for method in [Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE] {
            for path in [path.clone(), format!("/devices{tail}"), format!("/twins{tail}")] {
                if let Err(error) = Call::parse(&method, &path) {
                    prop_assert!(matches!(error.status, 400 | 404 | 405));
                }
            }
        }
    }
}
