//! The settings of `[device.mqtt]`.

use daemon::settings::{Given, Section};
use secrecy::SecretString;

use crate::{
    driver::mqtt::{tasmota, zigbee2mqtt},
    local_mqtt::Elsewhere,
};

/// A device on the local endpoint.
#[derive(Debug, Clone)]
pub struct MqttDeviceConfig {
    /// What it signs in with at the gateway's endpoint; its user name is its device id. None where
    /// it is the broker's to know.
    pub password: Option<SecretString>,
    /// What it speaks.
    pub dialect: MqttDialect,
}

/// What a device on the local endpoint speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MqttDialect {
    /// The native contract.
    Native,
    /// What the Tasmota firmware does.
    Tasmota {
        /// Its `Topic`.
        topic: String,
    },
    /// What Zigbee2MQTT does.
    Zigbee2Mqtt {
        /// Its `base_topic`.
        base_topic: String,
    },
}

/// A device that is known.
#[derive(Debug, Clone, Copy)]
enum Preset {
    Tasmota,
    Zigbee2Mqtt,
}

impl MqttDeviceConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let password = section.optional_secret("password");
        let presets = [
            ("tasmota", Preset::Tasmota),
            ("zigbee2mqtt", Preset::Zigbee2Mqtt),
        ];
        let dialect = match section.choice("preset", &presets).optional() {
            None => Some(MqttDialect::Native),
            Some(Preset::Tasmota) => topic(&mut section, "topic")
                .required(TOPIC)
                .map(|topic| MqttDialect::Tasmota { topic }),
            Some(Preset::Zigbee2Mqtt) => Some(MqttDialect::Zigbee2Mqtt {
                base_topic: topic(&mut section, "base_topic").or("zigbee2mqtt".to_owned()),
            }),
        };
        Some(Self {
            password: password.map(|password| password.text),
            dialect: dialect?,
        })
    }

    /// The topics that the device uses outside its corner.
    pub(crate) fn elsewhere(&self) -> Elsewhere {
        match &self.dialect {
            MqttDialect::Native => Elsewhere::default(),
            MqttDialect::Tasmota { topic } => tasmota::topics(topic),
            MqttDialect::Zigbee2Mqtt { base_topic } => zigbee2mqtt::topics(base_topic),
        }
    }
}

const TOPIC: &str = "a topic without wildcards";

fn topic(section: &mut Section, key: &str) -> Given<String> {
    section.take(key, TOPIC, |value| {
        let topic = value.as_str()?;
        let levels = topic.split('/').all(|level| !level.is_empty());
        let plain = !topic.contains(|c: char| matches!(c, '+' | '#') || c.is_control());
        (levels && plain && topic.len() <= 256).then(|| topic.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests;

    fn read(devices: &[(&str, &str)]) -> Result<Vec<MqttDeviceConfig>, Vec<String>> {
        let mut text = "state_dir = \"s\"\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        for (id, settings) in devices {
            text += &format!(
                "{}[device.mqtt]\npassword = \"p\"\n{settings}\n",
                tests::device(id)
            );
        }
        let devices = tests::parse(&text)?.devices.into_iter();
        Ok(devices
            .map(|device| device.driver.on_local_mqtt().unwrap().clone())
            .collect())
    }

    #[test]
    fn each_dialect_has_the_topics_that_it_needs_and_no_others() {
        let read = read(&[
            ("pump-1", ""),
            ("plug-1", "preset = \"tasmota\"\ntopic = \"plug\""),
            ("zigbee-1", "preset = \"zigbee2mqtt\""),
        ]);
        let elsewhere = read.unwrap();
        let elsewhere = elsewhere.iter().map(MqttDeviceConfig::elsewhere);
        let prefixes: Vec<_> = elsewhere.map(|elsewhere| elsewhere.prefixes).collect();
        assert_eq!(prefixes[0], [""; 0]);
        assert_eq!(prefixes[1], ["cmnd/plug/", "stat/plug/", "tele/plug/"]);
        assert_eq!(prefixes[2], ["zigbee2mqtt/"]);
    }

    #[test]
    fn no_topic_belongs_to_two_devices() {
        let tasmota = |topic: &str| format!("preset = \"tasmota\"\ntopic = \"{topic}\"");
        let (plug, same, below, beside) = (
            tasmota("plug"),
            tasmota("plug"),
            tasmota("plug/2"),
            tasmota("plug2"),
        );
        let twice = |other: &str| {
            format!(
                "device: expected topics of each device's own: cmnd/plug/ of a and cmnd/{other}/ of b overlap"
            )
        };
        for (settings, mistake) in [(&same, twice("plug")), (&below, twice("plug/2"))] {
            let read = read(&[("a", &plug), ("b", settings)]);
            assert_eq!(read.unwrap_err()[0], mistake);
        }
        read(&[("a", &plug), ("b", &beside)]).unwrap();
        // Nor does any reach into the corner of another, or have it for its own.
        for base in ["dm", "dm/a", "dm/a/b"] {
            let settings = format!("preset = \"zigbee2mqtt\"\nbase_topic = \"{base}\"");
            let told = read(&[("a", ""), ("b", &settings)]).unwrap_err();
            assert!(told[0].contains("overlap"), "{base}: {told:?}");
        }
        // Also when the first of the corners there is its own.
        let bridge = "preset = \"zigbee2mqtt\"\nbase_topic = \"dm\"";
        let told = read(&[("a", bridge), ("b", "")]).unwrap_err();
        let overlap =
            "device: expected topics of each device's own: dm/ of a and dm/b/ of b overlap";
        assert_eq!(told, [overlap]);
        read(&[("a", bridge)]).unwrap();
    }

    #[test]
    fn a_topic_is_no_filter() {
        for wrong in ["", "a/", "/a", "a//b", "+", "a/#", "a\\u0007"] {
            let settings = format!("preset = \"tasmota\"\ntopic = \"{wrong}\"");
            let told = read(&[("a", &settings)]).unwrap_err();
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].ends_with("expected a topic without wildcards"),
                "{told:?}"
            );
        }
        let told = read(&[("a", "preset = \"tasmota\"")]).unwrap_err();
        assert_eq!(
            told,
            ["device[0].mqtt.topic: expected a topic without wildcards"]
        );
        let told = read(&[("a", "topic = \"plug\"")]).unwrap_err();
        assert_eq!(told, ["device[0].mqtt.topic = …: expected no such key"]);
    }
}
