//! Devices that are known by SNMP: their own agent proves a reboot, and an outlet of a switched PDU
//! takes their power away.
//!
//! | part | reads | does |
//! | --- | --- | --- |
//! | `agent` | `hrSystemUptime`, or `sysUpTime` and `snmpEngineBoots` | nothing |
//! | `outlet` | `sysObjectID` first, then the outlet's state | the power cycle |
//!
//! SNMP has no reboot of its own, so the agent alone offers no mode. Either part serves without the
//! other: an outlet as the power cycle of a device with another driver.

mod agent;
mod family;
mod outlet;
#[cfg(test)]
mod real_agent;
mod session;
#[cfg(test)]
mod test_agent;

use std::time::Duration;

pub(crate) use agent::{AgentDriver, OutletDriver};
pub(crate) use outlet::SnmpOutlet;
use secrecy::SecretString;

/// An agent, and how to sign in to it.
#[derive(Debug, Clone)]
pub struct SnmpAgent {
    /// Its host name or address, and port.
    pub address: String,
    /// How to sign in.
    pub access: SnmpAccess,
    /// How long it may take for one answer.
    pub timeout: Duration,
}

/// How to sign in to an agent.
#[derive(Debug, Clone)]
pub enum SnmpAccess {
    /// SNMPv3, authenticated and encrypted.
    V3 {
        /// The user.
        user: String,
        /// How messages are authenticated.
        auth: SnmpAuth,
        /// What with.
        auth_password: SecretString,
        /// How they are encrypted.
        privacy: SnmpPrivacy,
        /// What with.
        privacy_password: SecretString,
    },
    /// SNMPv2c: anybody who listens can read and repeat the community.
    V2c {
        /// The community.
        community: SecretString,
    },
}

/// How SNMPv3 messages are authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnmpAuth {
    /// HMAC-SHA-1, the most that older devices know.
    Sha1,
    /// HMAC-SHA-256.
    Sha256,
    /// HMAC-SHA-512.
    Sha512,
}

/// How SNMPv3 messages are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnmpPrivacy {
    /// AES with a key of 128 bits.
    Aes128,
    /// AES with a key of 256 bits, which needs at least [`SnmpAuth::Sha256`].
    Aes256,
}

/// An outlet of a switched PDU.
#[derive(Debug, Clone)]
pub struct SnmpOutletSettings {
    /// The PDU.
    pub agent: SnmpAgent,
    /// The outlet's number; on linked units, counted on over all of them.
    pub outlet: u32,
    /// How long the outlet may be off before it is switched on explicitly.
    pub off_limit: Duration,
}

#[cfg(test)]
mod tests;
