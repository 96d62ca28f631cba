//! The settings of `[device.ssh]`.

use std::time::Duration;

use daemon::settings::Section;
use secrecy::ExposeSecret as _;

use crate::{
    config::timing::positive,
    driver::ssh::{Credential, HostKey, Trust},
};

/// How long a connection may take to be made, and a command to run.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);

/// The port of SSH.
const PORT: u16 = 22;

/// What shows the boot that a Linux machine is in.
const LOOK: &str = "cat /proc/sys/kernel/random/boot_id";

/// What reboots it, by a rule of sudo for this one command.
const REBOOT: &str = "sudo -n systemctl reboot";

/// A device that is reached by SSH.
#[derive(Debug, Clone)]
pub struct SshConfig {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who the gateway is there.
    pub user: String,
    /// How the device proves who it is.
    pub trust: Trust,
    /// How the gateway does.
    pub credential: Credential,
    /// The command that prints the boot that the device is in.
    pub look: String,
    /// The command that reboots it.
    pub reboot: String,
    /// The same by force, where that is another one.
    pub forced: Option<String>,
    /// The command that succeeds while the device does its work.
    pub health: Option<String>,
    /// How long a connection may take to be made, and a command to run.
    pub timeout: Duration,
}

impl SshConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let host = section.filled("host").required("a name or an address");
        let port = section.port("port").or(PORT);
        let user = section.filled("user").required("the name of a user");
        let trust = trust(&mut section);
        let credential = credential(&mut section);
        let look = section.filled("look").or(LOOK.to_owned());
        let reboot = section.filled("reboot").or(REBOOT.to_owned());
        let forced = section.filled("forced").optional();
        let health = section.filled("health").optional();
        let timeout = positive(&mut section, "timeout", DEFAULT_TIMEOUT);
        Some(Self {
            host: host?,
            port,
            user: user?,
            trust: trust?,
            credential: credential?,
            look,
            reboot,
            forced,
            health,
            timeout,
        })
    }
}

/// The key is pinned, unless it is said that the first one shall be.
fn trust(section: &mut Section) -> Option<Trust> {
    let expected = "an OpenSSH public key, for example \"ssh-ed25519 AAAA…\"";
    let pinned = section.has("host_key");
    let key = section.take_or_why("host_key", |value| {
        let key = value.as_str().unwrap_or_default().parse::<HostKey>();
        key.map_err(|error| format!("{expected}: {error}"))
    });
    match section.path("trust_on_first_use").optional() {
        Some(path) if !pinned => Some(Trust::FirstUse(path)),
        Some(_) => {
            section.mistake("trust_on_first_use", "…", "no host_key beside it");
            None
        }
        None => key.required(expected).map(Trust::Pinned),
    }
}

fn credential(section: &mut Section) -> Option<Credential> {
    let key = section.optional_secret("key");
    let password = section.optional_secret("password");
    match (key, password) {
        (Some(key), None) => match key.text.expose_secret().parse() {
            Ok(read) => Some(Credential::Key(read)),
            Err(error) => {
                let expected = format!("a private key without a passphrase: {error}");
                section.mistake(&key.key, "(hidden)", &expected);
                None
            }
        },
        (None, Some(password)) => Some(Credential::Password(password.text)),
        (_, _) => {
            section.mistake("key_file", "", "this, or a password, and not both");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DriverConfig, tests};

    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn read(driver: &str) -> Result<SshConfig, Vec<String>> {
        let device = tests::device("d1");
        let config = tests::parse(&format!(
            "state_dir = \"s\"\n{device}[device.ssh]\n{driver}"
        ))?;
        let DriverConfig::Ssh(ssh) = &config.devices[0].driver else {
            panic!("{:?}", config.devices[0].driver);
        };
        Ok((**ssh).clone())
    }

    #[test]
    fn the_least_is_a_linux_machine_with_a_pinned_key() {
        let ssh = read(&format!(
            "host = \"nas\"\nuser = \"dm\"\nhost_key = \"{KEY}\"\npassword = \"p\"\n"
        ))
        .unwrap();
        assert_eq!((ssh.port, ssh.look.as_str()), (22, LOOK));
        assert!(matches!(ssh.trust, Trust::Pinned(_)));
    }

    #[test]
    fn the_first_key_is_trusted_where_that_is_said() {
        let driver = "host = \"nas\"\nuser = \"dm\"\npassword = \"p\"\n";
        let ssh = read(&format!("{driver}trust_on_first_use = \"nas.pub\"\n")).unwrap();
        assert_eq!(ssh.trust, Trust::FirstUse("/etc/nas.pub".into()));
        let untrusted = read(driver).unwrap_err();
        assert_eq!(
            untrusted,
            [
                "device[0].ssh.host_key: expected an OpenSSH public key, for example \"ssh-ed25519 AAAA…\""
            ]
        );
    }

    #[test]
    fn a_key_that_cannot_be_used_is_told_without_it() {
        let mistakes = read(&format!(
            "host = \"nas\"\nuser = \"dm\"\nhost_key = \"{KEY}\"\nkey = \"-----secret\"\n"
        ))
        .unwrap_err();
        assert_eq!(mistakes.len(), 1);
        assert!(mistakes[0].starts_with("device[0].ssh.key = (hidden): expected a private key"));
        assert!(!mistakes[0].contains("-----secret"));
    }
}
