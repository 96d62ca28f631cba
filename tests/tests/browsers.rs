//! Callers in browsers: gRPC-Web and CORS, where the settings allow them.

use std::{fs, path::Path, time::Duration};

use iothubdm_proto::v1::{AttemptState, FILE_DESCRIPTOR_SET};
use iothubdm_tests::{Behavior, DeviceSetup, Language, ScriptProcess, World};
use reqwest::{Client, Method, Response, header::HeaderMap};

const DEVICE: &str = "pump-1";
const PAGE: &str = "https://console.example";
const OPEN: &str = "[web]\nenabled = true\nallowed_origins = [\"https://console.example\"]\n";
const GET_REBOOT: &str = "iothubdm.v1.DeviceManagement/GetReboot";

async fn empty(settings: &str) -> World {
    World::builder().service_settings(settings).start().await
}

/// Sends an empty gRPC-Web message over HTTP/1.1, as a page of `origin` does.
async fn call(world: &World, origin: &str) -> reqwest::Result<Response> {
    let url = format!("http://{}/{GET_REBOOT}", world.service_address());
    Client::new()
        .post(url)
        .header("origin", origin)
        .header("content-type", "application/grpc-web+proto")
        .header("x-grpc-web", "1")
        .body(vec![0_u8; 5])
        .send()
        .await
}

/// Asks what a browser asks before a page of `origin` may call.
async fn ask(world: &World, origin: &str, headers: &str) -> HeaderMap {
    let url = format!("http://{}/{GET_REBOOT}", world.service_address());
    let answer = Client::new()
        .request(Method::OPTIONS, url)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", headers)
        .send()
        .await
        .expect("an answer");
    assert!(answer.status().is_success(), "{answer:?}");
    answer.headers().clone()
}

#[track_caller]
fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .map(|value| value.to_str().expect("a text"))
        .unwrap_or_default()
}

#[tokio::test]
async fn browsers_may_not_call_unless_told_otherwise() {
    let world = empty("").await;
    let refused = call(&world, PAGE).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn a_page_that_may_call_is_told_so() {
    let world = empty(OPEN).await;
    let headers = ask(&world, PAGE, "authorization,content-type,x-grpc-web").await;
    assert_eq!(text(&headers, "access-control-allow-origin"), PAGE);
    assert_eq!(text(&headers, "access-control-allow-methods"), "POST");
    let allowed = text(&headers, "access-control-allow-headers");
    for header in [
        "authorization",
        "content-type",
        "x-grpc-web",
        "grpc-timeout",
    ] {
        assert!(allowed.split(',').any(|name| name == header), "{allowed}");
    }
    // A page acts with what it sends, never with what its browser adds.
    assert_eq!(text(&headers, "access-control-allow-credentials"), "");

    let answer = call(&world, PAGE).await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(text(headers, "access-control-allow-origin"), PAGE);
    assert_eq!(text(headers, "content-type"), "application/grpc-web+proto");
    let exposed = text(headers, "access-control-expose-headers");
    assert!(exposed.contains("grpc-status-details-bin"), "{exposed}");
    // An empty name is a mistake of the caller: INVALID_ARGUMENT.
    assert_eq!(text(headers, "grpc-status"), "3");
}

#[tokio::test]
async fn a_page_from_elsewhere_is_not() {
    let world = empty(OPEN).await;
    for origin in [
        "https://evil.example",
        "http://console.example",
        "https://console.example.evil.example",
        "null",
    ] {
        let headers = ask(&world, origin, "content-type,x-grpc-web").await;
        assert_eq!(
            text(&headers, "access-control-allow-origin"),
            "",
            "{origin}"
        );
        let answer = call(&world, origin).await.expect("an answer");
        assert_eq!(answer.status(), 403, "{origin}");
        let allowed = text(answer.headers(), "access-control-allow-origin");
        assert_eq!(allowed, "", "{origin}");
        let told = text(answer.headers(), "grpc-status");
        assert_eq!(told, "", "the API has not heard of it");
    }
}

#[tokio::test]
async fn a_page_reboots_a_device_and_watches_it() {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved);
    let mut world = World::builder()
        .device(setup.boot_time(Duration::from_secs(2)))
        .service_settings(OPEN)
        .start()
        .await;
    let description = world.folder().join("api.binpb");
    fs::write(&description, FILE_DESCRIPTOR_SET).expect("write the API's description");
    let description = description.to_str().expect("a path that is a text");
    let url = format!("http://{}", world.service_address());
    let start = |device: &str| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let arguments = [url.as_str(), device, description];
        match ScriptProcess::start(
            Language::Node,
            "docs/examples/web",
            "reboot.js",
            &arguments,
            target,
        ) {
            Ok(example) => example,
            Err(error) => panic!("{error:#}"),
        }
    };

    let mut page = start(DEVICE);
    // This comes while the device is away: steps are not held back until the end.
    page.prints("REBOOTING").await;
    world.kill_service().await;
    page.prints("interrupted:").await;
    world.start_service().await;
    let (code, output) = page.end().await;
    assert_eq!(code, Some(0), "{output:#?}\n{}", world.logs());
    for stage in ["ACCEPTED", "REBOOTING", "VERIFYING", "SUCCEEDED"] {
        let told = output.iter().filter(|line| line.starts_with(stage));
        assert_eq!(told.count(), 1, "{stage}: {output:#?}");
    }
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));

    let (code, output) = start("nobody").end().await;
    assert_eq!(code, Some(4), "{output:#?}");
    let refused = "refused: NotFound DEVICE_NOT_FOUND device nobody";
    assert!(output[0].starts_with(refused), "{output:#?}");

    // Everybody else is served as before.
    let attempt = world.reboot_to_end(DEVICE).await;
    assert_eq!(attempt.state(), AttemptState::Succeeded);
}
