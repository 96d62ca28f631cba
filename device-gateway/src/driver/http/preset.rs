//! What is asked of known devices.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::SecretString;

use super::{Ask, Auth, Check, Condition, Find, Look, Plan, Uptime, User};

/// The user of every Shelly.
const SHELLY_USER: &str = "admin";

/// How long a Shelly waits after its answer, in milliseconds, so that the answer arrives.
const SHELLY_DELAY_MS: u32 = 1_000;

/// An ESPHome device that boots ten times in a row within a minute each goes into its safe mode.
pub const ESPHOME_COOLDOWN: Duration = Duration::from_secs(60);

/// A Shelly of the second generation or later, by its remote procedure calls. It shows how long it has
/// been up.
pub fn shelly(mac: Option<String>) -> Plan {
    let call = |body: &str| Ask {
        error: Some(pointer("/error/message")),
        ..Ask::post("/rpc", Some(body.to_owned()))
    };
    let reboot =
        format!(r#"{{"id":1,"method":"Shelly.Reboot","params":{{"delay_ms":{SHELLY_DELAY_MS}}}}}"#);
    Plan {
        looks: vec![Look {
            belongs: mac.map(|mac| Condition {
                find: pointer("/result/mac"),
                equals: mac,
            }),
            uptime: Some(Uptime {
                find: pointer("/result/uptime"),
                unit: Duration::from_secs(1),
                lags: false,
            }),
            reset_reason: Some(pointer("/result/reset_reason")),
            ..Look::presence(call(r#"{"id":1,"method":"Sys.GetStatus"}"#))
        }],
        trigger: call(&reboot),
        forced: None,
        health: None,
    }
}

/// How the gateway signs in at a Shelly.
pub fn shelly_auth(password: Option<SecretString>) -> Auth {
    match password {
        Some(password) => Auth::Digest {
            user: User {
                name: SHELLY_USER.to_owned(),
                password,
            },
            strong: true,
        },
        None => Auth::None,
    }
}

/// A container, by the API of Docker or Podman: its boot is its start, and its health is what its own
/// health check says. `grace` is how long it may take to stop before it is killed.
pub fn container(name: &str, grace: Duration) -> Plan {
    let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
    let inspect = Ask::get(format!("/containers/{name}/json"));
    let restart = |grace: u64| Ask::post(format!("/containers/{name}/restart?t={grace}"), None);
    Plan {
        looks: vec![Look {
            present: Some(Condition {
                find: pointer("/State/Running"),
                equals: "true".to_owned(),
            }),
            // One that was made anew under its name has another id, and one that was restarted
            // began at another time. Its count of restarts moves only for those of its policy.
            boot_id: Some(Find::Pointers(vec![
                "/Id".to_owned(),
                "/State/StartedAt".to_owned(),
            ])),
            ..Look::presence(inspect.clone())
        }],
        trigger: restart(grace.as_secs()),
        forced: Some(restart(0)),
        health: Some(Check {
            ask: inspect,
            holds: Some(Condition {
                find: pointer("/State/Health/Status"),
                equals: "healthy".to_owned(),
            }),
            unchecked: &["none"],
        }),
    }
}

/// What of an ESPHome device's own components is used, by their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EspHome {
    /// The button that restarts it.
    pub button: String,
    /// The sensor of its uptime.
    pub uptime: Option<String>,
    /// A text sensor whose text differs from boot to boot.
    pub boot_id: Option<String>,
    /// The text sensor of the reason of its last reset.
    pub reset_reason: Option<String>,
}

/// An ESPHome device, by its web server.
pub fn esphome(names: &EspHome) -> Plan {
    let look = |domain: &str, name: &Option<String>| {
        name.as_ref()
            .map(|name| Look::presence(Ask::get("").component(domain, name, "")))
    };
    let mut looks: Vec<_> = [
        look("sensor", &names.uptime).map(|look| Look {
            uptime: Some(Uptime {
                find: pointer("/value"),
                unit: Duration::from_secs(1),
                lags: true,
            }),
            ..look
        }),
        look("text_sensor", &names.boot_id).map(|look| Look {
            boot_id: Some(pointer("/state")),
            ..look
        }),
        look("text_sensor", &names.reset_reason).map(|look| Look {
            reset_reason: Some(pointer("/state")),
            ..look
        }),
    ]
    .into_iter()
    .flatten()
    .collect();
    if looks.is_empty() {
        looks.push(Look::presence(Ask::get("/")));
    }
    Plan {
        looks,
        trigger: Ask::post("", None).component("button", &names.button, "/press"),
        forced: None,
        health: None,
    }
}

impl Ask {
    /// Asks for a component of an ESPHome device: by its name, as newer ones have it, or else by the
    /// id that older ones make of the name.
    fn component(self, domain: &str, name: &str, action: &str) -> Self {
        let id: String = name
            .chars()
            .map(|c| match c {
                'a'..='z' | '0'..='9' | '-' | '_' => c,
                'A'..='Z' => c.to_ascii_lowercase(),
                _ => '_',
            })
            .collect();
        let name = utf8_percent_encode(name, NON_ALPHANUMERIC);
        Self {
            path: format!("/{domain}/{name}{action}"),
            or_path: Some(format!("/{domain}/{id}{action}")),
            ..self
        }
    }
}

fn pointer(pointer: &str) -> Find {
    Find::Pointer(pointer.to_owned())
}
