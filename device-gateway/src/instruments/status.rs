//! Where the gateway stands, as it tells whoever asks for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the gateway stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The gateway's version.
    pub version: String,
    /// Why it cannot do its work at present, if that is so.
    pub trouble: Option<String>,
    /// Its devices by their ids.
    pub devices: BTreeMap<String, DeviceStatus>,
}

/// Where a device stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceStatus {
    /// It is connected to the hub.
    pub connected: bool,
    /// The hub does not have its newest report yet.
    pub undelivered: bool,
    /// Its open attempt: the request and the state.
    pub attempt: Option<(String, String)>,
    /// What failed last of its journal, until it works again.
    pub journal_error: Option<Trouble>,
    /// What failed last of its driver.
    pub driver_error: Option<Trouble>,
}

/// What failed, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// When, in UTC.
    pub time: String,
    /// What.
    pub what: String,
}
