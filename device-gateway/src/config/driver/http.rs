//! The settings of `[device.http]`.

use std::time::Duration;

use daemon::settings::{Given, Section};
use secrecy::SecretString;

use super::place::{PATH, path, place, user};
use crate::driver::http::{
    Ask, Auth, Check, Condition, Endpoint, Find, Look, Method, Plan, Uptime, preset,
};

const METHODS: [Method; 4] = [Method::Get, Method::Post, Method::Put, Method::Patch];

const FIND: &str = "a JSON pointer as \"/boot/id\", or a regular expression";

/// A device that is reached over HTTP.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where it is.
    pub endpoint: Endpoint,
    /// What is asked of it.
    pub plan: Plan,
    /// How long such a device has to be left alone after a boot.
    pub least_cooldown: Duration,
}

/// A device that is known.
#[derive(Debug, Clone, Copy)]
enum Preset {
    Shelly,
    EspHome,
}

impl HttpConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let place = place(&mut section);
        let presets = [("shelly", Preset::Shelly), ("esphome", Preset::EspHome)];
        let preset = section.choice("preset", &presets).optional();
        let (auth, plan) = match preset {
            Some(Preset::Shelly) => {
                let auth = preset::shelly_auth(password(&mut section));
                let mac = section.filled("mac").optional();
                (Some(auth), Some(preset::shelly(mac)))
            }
            Some(Preset::EspHome) => (auth(&mut section), esphome(&mut section)),
            None => (auth(&mut section), generic(&mut section)),
        };
        let health = section
            .has("health")
            .then(|| check(section.section("health")));
        let mut plan = plan?;
        if let Some(health) = health {
            plan.health = Some(health?);
        }
        let endpoint = Endpoint {
            auth: auth?,
            ..place?
        };
        Some(Self {
            endpoint,
            plan,
            least_cooldown: match preset {
                Some(Preset::EspHome) => preset::ESPHOME_COOLDOWN,
                Some(Preset::Shelly) | None => Duration::ZERO,
            },
        })
    }
}

fn password(section: &mut Section) -> Option<SecretString> {
    Some(section.optional_secret("password")?.text)
}

fn auth(section: &mut Section) -> Option<Auth> {
    #[derive(Clone, Copy)]
    enum Kind {
        Basic,
        Digest,
        Bearer,
    }
    let kinds = [
        ("basic", Kind::Basic),
        ("digest", Kind::Digest),
        ("bearer", Kind::Bearer),
    ];
    Some(match section.choice("auth", &kinds).optional() {
        None => Auth::None,
        Some(Kind::Basic) => Auth::Basic(user(section)?),
        Some(Kind::Digest) => Auth::Digest {
            user: user(section)?,
            strong: false,
        },
        Some(Kind::Bearer) => Auth::Bearer(section.secret("token")?.text),
    })
}

fn esphome(section: &mut Section) -> Option<Plan> {
    let button = section.filled("button");
    let button = button.required("the name of the button that restarts the device");
    let uptime = section.filled("uptime_sensor").optional();
    let boot_id = section.filled("boot_id_sensor").optional();
    let reset_reason = section.filled("reset_reason_sensor").optional();
    Some(preset::esphome(&preset::EspHome {
        button: button?,
        uptime,
        boot_id,
        reset_reason,
    }))
}

fn generic(section: &mut Section) -> Option<Plan> {
    let look = look(section.section("look"));
    let trigger = ask(&mut section.section("trigger"), Method::Post);
    Some(Plan {
        looks: vec![look?],
        trigger: trigger?,
        forced: None,
        health: None,
    })
}

fn look(mut section: Section) -> Option<Look> {
    let ask = ask(&mut section, Method::Get);
    let belongs = section
        .has("belongs")
        .then(|| condition(section.section("belongs")));
    let boot_id = find(&mut section, "boot_id").optional();
    let boot_count = find(&mut section, "boot_count").optional();
    let cause = find(&mut section, "cause").optional();
    let reset_reason = find(&mut section, "reset_reason").optional();
    let units = [
        ("s", Duration::from_secs(1)),
        ("ms", Duration::from_millis(1)),
    ];
    let unit = section.choice("uptime_unit", &units).optional();
    let lags = section.flag("uptime_lags").or(false);
    let uptime = find(&mut section, "uptime").optional().map(|find| Uptime {
        find,
        unit: unit.unwrap_or(units[0].1),
        lags,
    });
    Some(Look {
        ask: ask?,
        belongs: match belongs {
            Some(belongs) => Some(belongs?),
            None => None,
        },
        present: None,
        boot_id,
        boot_count,
        uptime,
        cause,
        reset_reason,
    })
}

fn check(mut section: Section) -> Option<Check> {
    let ask = ask(&mut section, Method::Get);
    let holds = section
        .has("holds")
        .then(|| condition(section.section("holds")));
    Some(Check {
        ask: ask?,
        holds: match holds {
            Some(holds) => Some(holds?),
            None => None,
        },
        unchecked: &[],
    })
}

fn ask(section: &mut Section, method: Method) -> Option<Ask> {
    let methods = METHODS.map(|method| (method.name(), method));
    let method = section
        .choice("method", &methods)
        .optional()
        .unwrap_or(method);
    let path = path(section, "path").required(PATH);
    let body = section.text("body").optional();
    let content_type = section.filled("content_type").optional();
    let statuses = section.take("statuses", "a list of HTTP statuses", |value| {
        let statuses = value.as_array()?.iter();
        let status = |value: &toml::Value| u16::try_from(value.as_integer()?).ok();
        statuses
            .map(|value| status(value).filter(|status| (100..600).contains(status)))
            .collect::<Option<Vec<_>>>()
    });
    let statuses = statuses.optional();
    let error = find(section, "error").optional();
    let path = path?;
    let plain = Ask::get(path);
    Some(Ask {
        method,
        body,
        content_type: content_type.unwrap_or(plain.content_type),
        statuses: statuses.unwrap_or(plain.statuses),
        error,
        path: plain.path,
        or_path: None,
    })
}

fn condition(mut section: Section) -> Option<Condition> {
    let find = find(&mut section, "at").required(FIND);
    let equals = section.filled("is").required("the value as a text");
    Some(Condition {
        find: find?,
        equals: equals?,
    })
}

fn find(section: &mut Section, key: &str) -> Given<Find> {
    section.take(key, FIND, |value| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Config, DriverConfig, tests},
        driver::http::Find,
    };

    fn read(driver: &str) -> Result<(HttpConfig, Config), Vec<String>> {
        let config = tests::parse(&format!(
            "state_dir = \"state\"\n{}{driver}",
            tests::device("d1")
        ))?;
        let DriverConfig::Http(http) = &config.devices[0].driver else {
            panic!("{:?}", config.devices[0].driver);
        };
        Ok(((**http).clone(), config))
    }

    #[test]
    fn a_generic_device() {
        let (http, _) = read(
            r#"
            [device.http]
            url = "http://10.0.0.7:8080"
            auth = "basic"
            user = "u"
            password = "p"
            [device.http.look]
            path = "/state"
            boot_id = "/sys/boot"
            uptime = "up (\\d+) ms"
            uptime_unit = "ms"
            belongs = { at = "/serial", is = "4711" }
            [device.http.trigger]
            path = "/reboot"
            body = '{"id":"{id}"}'
            statuses = [202]
            [device.http.health]
            path = "/health"
            "#,
        )
        .unwrap();
        assert_eq!(http.endpoint.url.as_str(), "http://10.0.0.7:8080/");
        let look = &http.plan.looks[0];
        assert!(matches!(&look.boot_id, Some(Find::Pointer(at)) if at == "/sys/boot"));
        assert!(matches!(
            &look.uptime,
            Some(Uptime { find: Find::Pattern(_), unit, lags: false }) if unit.as_millis() == 1
        ));
        assert!(look.belongs.is_some() && http.plan.health.is_some());
        assert_eq!(http.plan.trigger.method, Method::Post);
        assert_eq!(http.plan.trigger.statuses, [202]);
    }

    #[test]
    fn the_known_devices() {
        let (http, _) = read(
            "[device.http]\nurl = \"http://h\"\npreset = \"shelly\"\npassword = \"p\"\nmac = \"A8\"\n",
        )
        .unwrap();
        assert!(matches!(
            &http.endpoint.auth,
            Auth::Digest { user, strong: true } if user.name == "admin"
        ));
        let (_, config) = read(
            "cooldown = \"5s\"\n[device.http]\nurl = \"http://h\"\npreset = \"esphome\"\nbutton = \"Restart\"\n",
        )
        .unwrap();
        // It would count boots in quick succession as bad ones.
        assert_eq!(config.devices[0].settings.cooldown.as_secs(), 60);
    }

    #[test]
    fn every_mistake_is_told() {
        let mistakes = read(
            r#"
            [device.http]
            url = "ftp://h/x"
            auth = "basic"
            [device.http.look]
            path = "//elsewhere"
            boot_id = "("
            [device.http.trigger]
            path = "/reboot"
            statuses = [2]
            pth = 1
            "#,
        )
        .unwrap_err();
        assert_eq!(
            mistakes,
            [
                "device[0].http.url = \"ftp://h/x\": expected http:// or https:// and a host, without a path",
                "device[0].http.user: expected the name of a user",
                "device[0].http.password: expected this, password_file or password_credential",
                "device[0].http.look.path = \"//elsewhere\": expected a path that begins with /",
                "device[0].http.look.boot_id = \"(\": expected a JSON pointer as \"/boot/id\", or a regular expression",
                "device[0].http.trigger.statuses = [2]: expected a list of HTTP statuses",
                "device[0].http.trigger.pth = 1: expected no such key",
            ]
        );
    }
}
