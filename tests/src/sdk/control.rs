//! What a script may ask of the process that runs its hub.
//!
//! A question is a JSON object on a line of the script's standard output, after `ask `. The answer
//! is one line of JSON on its standard input. Waiting is done here, where changes wake it.
//!
//! | question | answer |
//! | --- | --- |
//! | `{"do":"register","device":"d"}` | the connection string of a device, registered now if need be |
//! | `{"do":"cut","device":"d"}` | whether there was a connection to close |
//! | `{"do":"pause"}`, `{"do":"resume"}` | null; the hub is out of reach in between |
//! | `{"do":"connected","device":"d"}`, `"disconnected"`, `"callable"` | null, once it is so |
//! | `{"do":"connects"}` | how many MQTT connects were accepted so far |
//! | `{"do":"connects","atLeast":3}` | the same, once there were so many |
//! | `{"do":"refuse","device":"d"}` | null; its next CONNECT gets CONNACK 3 |
//! | `{"do":"fail","operation":"twinRead","status":429,"times":1}` | null; the next of these fail so |
//! | `{"do":"loseAnswer","device":"d"}` | null; the answer to its next method is lost |
//! | `{"do":"sendToDevice","device":"d","body":"…"}` | null; `id` and `properties` may be added |
//! | `{"do":"acknowledged","device":"d"}` | null, once the device has acknowledged all of these |
//! | `{"do":"certificate","device":"d"}` | a new self-signed `certificate` and its `key`, as PEM |
//! | `{"do":"enroll","device":"d","key":"…"}` | the id scope; `group` instead of `device` enrols a group, `thumbprint` instead of `key` a certificate; `hub`, `deviceId`, `payload` and `"enabled":false` may be added |
//! | `{"do":"restart"}` | null, once the hub has ended and started again; only where it is the script's own |
//! | `{"do":"methods"}` | the delivered methods: `device`, `name`, `payload`, `deliveries` |
//! | `{"do":"telemetry"}` | the messages to the cloud: `device`, `module`, `body`, `properties` |

use anyhow::{Context as _, Result, bail};
use hub_emulator::{
    CloudToDeviceMessage, ConnectRefusal, Emulator, Enrollee, Enrollment, Fault, Operation,
    SetupCredentials, Times,
};
use iot_hub::identity::{DeviceId, ModuleId};
use serde_json::{Value, json};

use super::hub::ScriptHub;

/// Does what a script asks for, and returns the answer.
pub(super) async fn answer(question: &str, hub: &mut ScriptHub<'_>) -> Result<Value> {
    let asked: Value = serde_json::from_str(question).context("read the question")?;
    if asked["do"] == "restart" {
        hub.restart().await?;
        return Ok(Value::Null);
    }
    let emulator = hub.emulator()?;
    let device = asked["device"].as_str().unwrap_or_default();
    let device_id = || device.parse::<DeviceId>().context("read the device's id");
    let faults = emulator.faults();
    let answer = match asked["do"].as_str().unwrap_or_default() {
        "register" => emulator
            .register(&device_id()?)
            .context("register a device")?
            .into(),
        "cut" => faults.cut(device).into(),
        "pause" => {
            faults.pause();
            Value::Null
        }
        "resume" => {
            faults.resume();
            Value::Null
        }
        "connected" => {
            emulator.connected(device).await;
            Value::Null
        }
        "disconnected" => {
            emulator.disconnected(device).await;
            Value::Null
        }
        "callable" => {
            emulator.callable(device).await;
            Value::Null
        }
        "connects" => {
            let wanted = asked["atLeast"].as_u64().unwrap_or_default();
            let counters = emulator
                .counted(|counters| counters.connects_accepted.total >= wanted)
                .await;
            counters.connects_accepted.total.into()
        }
        "refuse" => {
            let fault = Fault::RefuseConnect {
                device: Some(device_id()?),
                refusal: ConnectRefusal::ServerUnavailable,
            };
            faults.inject(fault, Times::Next(1));
            Value::Null
        }
        "fail" => {
            let status = asked["status"].as_u64().context("read the status")?;
            let fault = Fault::Answer {
                operation: Some(operation(&asked["operation"])?),
                device: None,
                status: status.try_into().context("read the status")?,
                retry_after: None,
            };
            let times = asked["times"].as_u64().context("read how often")?;
            faults.inject(fault, Times::Next(times));
            Value::Null
        }
        "loseAnswer" => {
            let fault = Fault::LoseMethodAnswer {
                device: Some(device_id()?),
            };
            faults.inject(fault, Times::Next(1));
            Value::Null
        }
        "sendToDevice" => {
            emulator.send_to_device(&device_id()?, message(&asked))?;
            Value::Null
        }
        "acknowledged" => {
            emulator
                .watch_twin(device, |twin| twin["cloudToDeviceMessageCount"] == 0)
                .await;
            Value::Null
        }
        "certificate" => certificate(device)?,
        "enroll" => {
            emulator.enroll(enrollment(&asked)?);
            emulator.id_scope().to_string().into()
        }
        "methods" => methods(emulator),
        "telemetry" => telemetry(emulator),
        other => bail!("nothing is known of {other:?}"),
    };
    Ok(answer)
}

/// A certificate that nobody vouches for but its own key.
fn certificate(name: &str) -> Result<Value> {
    let mut params = rcgen::CertificateParams::default();
    let common_name = rcgen::DnType::CommonName;
    params.distinguished_name.push(common_name, name);
    let key = rcgen::KeyPair::generate().context("make a key")?;
    let certificate = params.self_signed(&key).context("sign a certificate")?;
    Ok(json!({"certificate": certificate.pem(), "key": key.serialize_pem()}))
}

fn enrollment(asked: &Value) -> Result<Enrollment> {
    let text = |name: &str| asked[name].as_str();
    let enrollee = match text("group") {
        Some(group) => Enrollee::Group(group.to_owned()),
        None => Enrollee::Device(text("device").context("read who")?.parse()?),
    };
    let credentials = match text("thumbprint") {
        Some(thumbprint) => SetupCredentials::Thumbprints {
            primary: thumbprint.to_owned(),
            secondary: None,
        },
        None => SetupCredentials::Keys {
            primary: Some(text("key").context("read the key")?.parse()?),
            secondary: None,
        },
    };
    Ok(Enrollment {
        enabled: asked["enabled"].as_bool().unwrap_or(true),
        hub: text("hub").map(str::parse).transpose()?,
        device: text("deviceId").map(str::parse).transpose()?,
        payload: asked.get("payload").cloned(),
        ..Enrollment::new(enrollee, credentials)
    })
}

fn operation(name: &Value) -> Result<Operation> {
    Ok(match name.as_str().unwrap_or_default() {
        "twinRead" => Operation::ServiceTwinRead,
        "methodCall" => Operation::MethodCall,
        "registry" => Operation::Registry,
        "deviceTwinUpdate" => Operation::DeviceTwinUpdate,
        "registration" => Operation::Registration,
        other => bail!("no operation is called {other:?}"),
    })
}

fn message(asked: &Value) -> CloudToDeviceMessage {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let properties = asked["properties"].as_object();
    CloudToDeviceMessage {
        message_id: text(&asked["id"]),
        properties: properties
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), text(value)))
            .collect(),
        payload: text(&asked["body"]).unwrap_or_default().into(),
        ..CloudToDeviceMessage::default()
    }
}

fn methods(emulator: &Emulator) -> Value {
    let describe = |record: hub_emulator::MethodRecord| {
        json!({
            "device": record.device.as_ref(),
            "name": record.name,
            "payload": record.payload,
            "deliveries": record.deliveries,
        })
    };
    emulator.methods().into_iter().map(describe).collect()
}

fn telemetry(emulator: &Emulator) -> Value {
    let describe = |message: hub_emulator::Telemetry| {
        let properties: serde_json::Map<_, _> = message
            .properties
            .iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        json!({
            "device": message.device.as_ref(),
            "module": message.module.as_ref().map(ModuleId::as_ref),
            "body": String::from_utf8_lossy(&message.payload),
            "properties": properties,
        })
    };
    emulator.telemetry().into_iter().map(describe).collect()
}
