//! The admin page, in a real browser.

use hub_emulator::{Emulator, EmulatorConfig, Fault, Times};
use rumqttc::mqttbytes::v4::Packet;
use serde_json::{Value, json};

use crate::admin::start;
use crate::browser::Browser;
use crate::device::{Device, METHODS, TWIN_ANSWERS};
use crate::service::Service;

const PHONE: (u32, u32) = (360, 740);
const DESKTOP: (u32, u32) = (1280, 1000);

async fn open(emulator: &Emulator) -> Browser {
    let browser = Browser::start().await;
    show(&browser, DESKTOP, "light").await;
    browser.open(&emulator.admin_url().unwrap()).await;
    browser.shows("#health", "live").await;
    browser
}

/// Shows the page on a screen of this size, in light or dark colors.
async fn show(browser: &Browser, (width, height): (u32, u32), scheme: &str) {
    let screen = json!({
        "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
    });
    browser
        .command("Emulation.setDeviceMetricsOverride", screen)
        .await;
    let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser.command("Emulation.setEmulatedMedia", scheme).await;
}

async fn click(browser: &Browser, selector: &str) {
    browser
        .run(&format!(
            "document.querySelector({}).click()",
            json!(selector)
        ))
        .await;
}

/// The lightness of the page's ground, from 0 to 255.
async fn ground(browser: &Browser) -> u64 {
    let script =
        "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
    let color = browser.run(script).await;
    color
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_u64)
        .sum::<u64>()
        / 3
}

#[tokio::test]
async fn a_person_sees_what_happens_while_it_happens() {
    let (emulator, _) = start().await;
    for device in ["lamp", "pump-2"] {
        let _ = emulator.device(device);
    }
    let service = Service::owner(&emulator);
    let browser = open(&emulator).await;
    browser.shows("#hub", "localhost").await;
    browser.shows("#devices", "lamp").await;
    assert_eq!(browser.text("#tile-connected").await, "0");

    // A device comes; nobody reloads the page.
    let mut device = Device::connect(&emulator, "pump-1").await;
    for filter in [METHODS, TWIN_ANSWERS] {
        device.subscribe(filter).await;
    }
    browser.shows("#tile-connected", "1").await;
    browser
        .shows("#devices tr:nth-child(2)", "pump-1\tconnected")
        .await;

    // Its twin follows what it reports.
    let tags = json!({"tags": {"floor": 3}, "properties": {"desired": {"speed": 7}}});
    service.patch("/twins/pump-1", &tags).await;
    click(&browser, "#devices tr:nth-child(2) button").await;
    browser.shows("#twin-title", "Twin of pump-1").await;
    browser.shows("#tags", "\"floor\": 3").await;
    browser.shows("#desired", "\"speed\": 7").await;
    device.report(r#"{"temperature": 21}"#).await;
    browser.shows("#reported", "\"temperature\": 21").await;

    // A method is seen in flight, and what became of it.
    let (answer, ()) = tokio::join!(
        service.invoke("pump-1", "reboot", json!({"id": 7})),
        async {
            let (_, rid, _) = device.method().await;
            browser.shows("#methods", "waiting").await;
            browser.shows("#tile-flying", "1").await;
            browser.screenshot("page-desktop.png").await;
            device.answer(&rid, 202, "{}").await;
        }
    );
    assert_eq!(answer.status, 200);
    browser.shows("#methods", "answered 202").await;
    browser.shows("#tile-flying", "0").await;
    browser.shows("#traffic", "method calls").await;

    let fault = Fault::RedeliverMethod { device: None };
    emulator.faults().inject(fault, Times::Next(3));
    browser.shows("#faults", "redeliver method").await;
    browser.shows("#faults", "0 of 3").await;

    // What is shown can be narrowed down.
    browser
        .run("const i = document.querySelector('#contains'); i.value = 'LAMP'; i.dispatchEvent(new Event('input', {bubbles: true}))")
        .await;
    browser.shows("#devices tr:only-child", "lamp").await;

    // Nothing is wider than a phone, and the night is dark.
    assert!(ground(&browser).await > 200);
    show(&browser, PHONE, "dark").await;
    let width = browser
        .run("return document.documentElement.scrollWidth")
        .await;
    assert_eq!(width, PHONE.0);
    assert!(ground(&browser).await < 60);
    browser.screenshot("page-phone.png").await;

    device.send(Packet::Disconnect).await;
    browser.shows("#tile-connected", "0").await;
}

#[tokio::test]
async fn nothing_that_a_client_says_is_run() {
    let (emulator, _) = start().await;
    let service = Service::owner(&emulator);
    let hostile = "</pre><script>window.ran = 1</script><img src=x onerror='window.ran = 2'>";
    let mut device = Device::connect(&emulator, "d'1").await;
    for filter in [METHODS, TWIN_ANSWERS] {
        device.subscribe(filter).await;
    }
    let tags = json!({"tags": {"<b>bold</b>": hostile}});
    assert_eq!(service.patch("/twins/d'1", &tags).await.status, 200);
    let (status, ..) = device.report(&json!({"state": hostile}).to_string()).await;
    assert_eq!(status, 204);
    let browser = open(&emulator).await;
    click(&browser, "#devices button").await;
    browser.shows("#reported", "window.ran = 1").await;
    browser.shows("#tags", "<b>bold</b>").await;
    tokio::join!(service.invoke("d'1", "m", json!(hostile)), async {
        let (_, rid, _) = device.method().await;
        browser.shows("#methods", "onerror='window.ran = 2'").await;
        device.answer(&rid, 200, "{}").await;
    });
    assert_eq!(browser.run("return window.ran").await, Value::Null);
    // Should the page ever let one through, the policy does not.
    let made = "const s = document.createElement('script'); s.textContent = 'window.ran = 3'; \
        document.body.append(s); return window.ran";
    let refused = browser
        .run(&format!("try {{ {made} }} catch (e) {{ return null }}"))
        .await;
    assert_eq!(refused, Value::Null);
    let address = emulator.admin_url().unwrap();
    let page = reqwest::get(&address).await.unwrap();
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[tokio::test]
async fn it_says_when_there_is_nothing_and_when_nobody_answers() {
    let (emulator, _) = start().await;
    let browser = open(&emulator).await;
    browser
        .shows("#devices", "No device is registered yet")
        .await;
    browser.shows("#methods", "No method was called yet").await;
    browser.shows("#traffic", "Nothing has come in yet").await;
    assert_eq!(browser.text("#alert").await, "");
    browser.screenshot("page-empty.png").await;

    emulator.faults().pause();
    browser.shows("#paused", "paused").await;
    let admin_port = emulator.admin_port();
    emulator.shutdown().await;
    browser.shows("#alert", "does not answer").await;
    browser.shows("#health", "not reachable").await;
    browser.screenshot("page-lost.png").await;

    let again = EmulatorConfig {
        admin_port,
        ..EmulatorConfig::default()
    };
    let emulator = Emulator::start(again).await.unwrap();
    let _ = emulator.device("newcomer");
    browser.shows("#devices", "newcomer").await;
    browser.shows("#health", "live").await;
    assert_eq!(browser.text("#alert").await, "");

    browser.run("location.hash = 'device=nobody'").await;
    browser
        .shows("#twin-note", "nobody is not registered")
        .await;
}
