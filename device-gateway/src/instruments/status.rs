//! Where the gateway stands, as it tells whoever asks for it.

use std::collections::BTreeMap;

use iot_hub::reboot::AttemptReport;
use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

/// Where the gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Why it cannot do its work at present, if that is so.
    pub trouble: Option<String>,
    /// Its devices by their ids.
    pub devices: BTreeMap<String, DeviceStatus>,
}

/// Where a device stands. What few of them have is boxed: a gateway may hold thousands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// It is connected to the hub.
    pub connected: bool,
    /// The hub does not have its newest report yet.
    pub undelivered: bool,
    /// Its open attempt: the request and the state.
    pub attempt: Option<Box<(String, String)>>,
    /// The device itself is connected to the gateway; nothing is known of those that do not connect.
    #[serde(default)]
    pub local: Option<bool>,
    /// How its newest ended attempt ended.
    #[serde(default)]
    pub ended: Option<Box<Trouble>>,
    /// What failed last of its journal, until it works again.
    pub journal_error: Option<Box<Trouble>>,
    /// What failed last of its driver.
    pub driver_error: Option<Box<Trouble>>,
}

/// What failed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When, in UTC.
    pub time: String,
    /// What.
    pub what: String,
}

impl Trouble {
    /// Something failed just now.
    pub(crate) fn now(what: String) -> Self {
        Self::at(Timestamp::now(), what)
    }

    /// The end of an attempt, and why it did not succeed.
    pub(crate) fn of_ended(report: &AttemptReport) -> Self {
        let mut what = format!("{} {}", report.state, report.request_id);
        if let Some(error) = &report.error {
            what += &format!(", {}: {}", error.code, error.message);
        }
        Self::at(report.state_time, what)
    }

    fn at(time: Timestamp, what: String) -> Self {
        let time = time.round(Unit::Second).unwrap_or(time);
        Self {
            time: time.to_string(),
            what,
        }
    }
}
