//! The settings of `[device.onvif]`.

use daemon::settings::Section;

use super::place::{path, place, user};
use crate::driver::http::{Auth, Endpoint, User};

/// A device that speaks ONVIF.
#[derive(Debug, Clone)]
pub struct OnvifConfig {
    /// Where it is. It may ask for a digest beside what ONVIF signs in with.
    pub endpoint: Endpoint,
    /// Who the gateway is there.
    pub user: User,
    /// The path of a picture, which a device gives that is well.
    pub snapshot: Option<String>,
    /// Ask for the time of the last boot.
    pub last_reboot: bool,
}

impl OnvifConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let place = place(&mut section);
        let user = user(&mut section);
        let snapshot = path(&mut section, "snapshot").optional();
        let last_reboot = section.flag("last_reboot").or(true);
        let user = user?;
        Some(Self {
            endpoint: Endpoint {
                auth: Auth::Digest {
                    user: user.clone(),
                    strong: false,
                },
                ..place?
            },
            user,
            snapshot,
            last_reboot,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{DriverConfig, tests};

    fn read(driver: &str) -> Result<OnvifConfig, Vec<String>> {
        let device = tests::device("d1");
        let config = tests::parse(&format!(
            "state_dir = \"s\"\n{device}[device.onvif]\nurl = \"http://camera-1\"\n{driver}"
        ))?;
        let DriverConfig::Onvif(onvif) = &config.devices[0].driver else {
            panic!("{:?}", config.devices[0].driver);
        };
        Ok((**onvif).clone())
    }

    #[test]
    fn a_camera_has_a_user_and_perhaps_a_snapshot() {
        let user = "user = \"u\"\npassword = \"p\"\n";
        let camera = read(user).unwrap();
        assert_eq!((camera.user.name.as_str(), camera.snapshot), ("u", None));
        let camera = read(&format!("{user}snapshot = \"/s.jpg\"\n")).unwrap();
        assert_eq!(camera.snapshot.as_deref(), Some("/s.jpg"));
        assert!(camera.last_reboot);
        let camera = read(&format!("{user}last_reboot = false\n")).unwrap();
        assert!(!camera.last_reboot);
        assert_eq!(
            read("snapshot = \"http://elsewhere/s.jpg\"\n").unwrap_err(),
            [
                "device[0].onvif.user: expected the name of a user",
                "device[0].onvif.password: expected this, password_file or password_credential",
                "device[0].onvif.snapshot = \"http://elsewhere/s.jpg\": expected a path that begins with /",
            ]
        );
    }
}
