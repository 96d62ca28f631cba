//! The settings of `[device.snmp]`, and of an outlet that a device's power goes through.

use std::time::Duration;

use daemon::settings::Section;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    config::timing::positive,
    driver::snmp::{SnmpAccess, SnmpAgent, SnmpAuth, SnmpOutletSettings, SnmpPrivacy},
};

/// How long an agent may take for one answer.
const DEFAULT_SNMP_TIMEOUT: Duration = Duration::from_secs(2);

/// How long an outlet may be off. A command may take a minute, and what follows this needs some of it.
const DEFAULT_OFF_LIMIT: Duration = Duration::from_secs(30);

/// The longest time an outlet may be off.
const MAX_OFF_LIMIT: Duration = Duration::from_secs(40);

/// The shortest password that SNMPv3 takes.
const MIN_PASSWORD: usize = 8;

const ADDRESS: &str = "a host and a port, as \"pdu-1:161\"";

/// A device that SNMP shows.
#[derive(Debug, Clone)]
pub struct SnmpConfig {
    /// Its own agent; absent, no more is known of it than its outlet.
    pub agent: Option<SnmpAgent>,
}

impl SnmpConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let has_agent = section.has("address");
        let agent = has_agent.then(|| agent(&mut section));
        Some(Self {
            agent: match agent {
                Some(agent) => Some(agent?),
                None => None,
            },
        })
    }
}

/// Reads the section of an outlet.
pub(in crate::config) fn outlet(mut section: Section) -> Option<SnmpOutletSettings> {
    let number = section.count("outlet", 1, u32::MAX).optional();
    if number.is_none() {
        section.mistake("outlet", "", "the number of an outlet");
    }
    let off_limit = section
        .duration("off_limit", Duration::from_secs(1), MAX_OFF_LIMIT)
        .or(DEFAULT_OFF_LIMIT);
    let agent = agent(&mut section);
    Some(SnmpOutletSettings {
        agent: agent?,
        outlet: number?,
        off_limit,
    })
}

fn agent(section: &mut Section) -> Option<SnmpAgent> {
    let address = section.take("address", ADDRESS, |value| {
        let address = value.as_str()?;
        let (host, port) = address.rsplit_once(':')?;
        let port: u16 = port.parse().ok()?;
        (!host.is_empty() && port > 0).then(|| address.to_owned())
    });
    let address = address.required(ADDRESS);
    let timeout = positive(section, "timeout", DEFAULT_SNMP_TIMEOUT);
    let access = access(section);
    Some(SnmpAgent {
        address: address?,
        access: access?,
        timeout,
    })
}

fn access(section: &mut Section) -> Option<SnmpAccess> {
    if section.has_secret("community") {
        let community = section.secret("community")?.text;
        return Some(SnmpAccess::V2c { community });
    }
    let user = section
        .filled("user")
        .required("the name of a user, or a community for SNMPv2c");
    let auths = [
        ("sha1", SnmpAuth::Sha1),
        ("sha256", SnmpAuth::Sha256),
        ("sha512", SnmpAuth::Sha512),
    ];
    let auth = section.choice("auth", &auths).optional();
    let auth = auth.unwrap_or(SnmpAuth::Sha256);
    let auth_password = password(section, "auth_password");
    let privacies = [
        ("aes128", SnmpPrivacy::Aes128),
        ("aes256", SnmpPrivacy::Aes256),
    ];
    let privacy = section.choice("privacy", &privacies).optional();
    let privacy = privacy.unwrap_or(SnmpPrivacy::Aes128);
    if (auth, privacy) == (SnmpAuth::Sha1, SnmpPrivacy::Aes256) {
        section.mistake(
            "privacy",
            "\"aes256\"",
            "aes128, or auth = \"sha256\" with it",
        );
    }
    let privacy_password = password(section, "privacy_password");
    Some(SnmpAccess::V3 {
        user: user?,
        auth,
        auth_password: auth_password?,
        privacy,
        privacy_password: privacy_password?,
    })
}

fn password(section: &mut Section, key: &str) -> Option<SecretString> {
    let secret = section.secret(key)?;
    if secret.text.expose_secret().len() < MIN_PASSWORD {
        section.mistake(&secret.key, "(hidden)", "at least 8 characters");
        return None;
    }
    Some(secret.text)
}
