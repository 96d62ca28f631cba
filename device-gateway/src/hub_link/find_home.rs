//! A device without a hub, or with one in doubt, asks the provisioning service.

use std::{sync::Arc, time::Duration};

use iot_hub::{
    identity::{DeviceAuth, DeviceConnection},
    provisioning::{self, RegistrationUser},
};
use tokio::time::{self, Instant};

use super::{
    Link, LinkError,
    registration::{self, RegistrationError},
    sign_in::{Login, sign_in},
};

/// The version of the provisioning service's API that is spoken.
const PROVISIONING_API_VERSION: &str = "2019-03-31";

/// How long a token for the provisioning service is good for: registering is short.
const REGISTRATION_LIFE: Duration = Duration::from_secs(3_600);

impl Link {
    /// Asks the provisioning service, which knows the device, which hub is its own, where there is reason
    /// to.
    pub(super) async fn find_home(&mut self) -> Result<(), LinkError> {
        if self.connection.is_none() {
            if let Some(at) = self.doubt.may_ask_at() {
                time::sleep_until(at).await;
            }
        } else if !self.doubt.is_due(Instant::now()) {
            return Ok(());
        }
        let found = self.register().await;
        let retry_after = match &found {
            Err(LinkError::Registration { source, .. }) => source.retry_after(),
            Ok(_) | Err(_) => None,
        };
        let now = Instant::now();
        self.doubt.on_asked(now, retry_after, &mut rand::rng());
        match (found, &self.connection) {
            (Ok(found), known) => {
                if known.as_deref() != Some(&found) {
                    tracing::info!(hub = %found.host, device = %found.device, "the device has a hub");
                    self.move_to(found);
                }
                Ok(())
            }
            (Err(error), Some(known)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    hub = %known.host,
                    "could not ask for the device's hub, going on with the one that is known"
                );
                Ok(())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// What another hub asked is not answered to this one.
    fn move_to(&mut self, connection: DeviceConnection) {
        self.unsent.clear();
        self.moves += 1;
        self.connection = Some(Arc::new(connection));
    }

    async fn register(&mut self) -> Result<DeviceConnection, LinkError> {
        let service = self.dialer.provisioning().ok_or(LinkError::Homeless)?;
        let (host, scope) = (service.host.clone(), service.id_scope.clone());
        let (registration, auth) = self.home.registers_as().ok_or(LinkError::Homeless)?;
        let registration = registration.clone();
        let password = match auth {
            DeviceAuth::Key(key) => {
                let expiry = self.after(REGISTRATION_LIFE);
                provisioning::token(&scope, &registration, key, expiry).to_string()
            }
            DeviceAuth::Token(_) | DeviceAuth::X509 => String::new(),
        };
        let version = PROVISIONING_API_VERSION;
        let user = RegistrationUser::new(scope.clone(), registration.clone(), version);
        let login = Login {
            client_id: registration.to_string(),
            user: user.to_string(),
            password,
            keep_alive: self.keep_alive(),
            clean: true,
            will: None,
            max_packet: super::packets::MAX_PACKET,
        };
        let (connect, request) = (self.timing.connect_limit, self.timing.request_limit);
        let turnstile = Arc::clone(&self.turnstile);
        let registering = async {
            let turn = turnstile.pass().await;
            let opening = async { sign_in(self.dial_to(&host).await?, login).await };
            let slow = |_| Err(LinkError::Slow("connecting", connect));
            let packets = time::timeout(connect, opening).await.unwrap_or_else(slow)?;
            // The service may take an hour to decide, and others have to connect meanwhile.
            drop(turn);
            registration::register(packets, &registration, request).await
        };
        match registering.await {
            Ok(assignment) => {
                let moved = self.home.moved(scope.as_str(), assignment).await;
                moved.ok_or(LinkError::Homeless)
            }
            Err(error) => {
                if let RegistrationError::Link(error) = &error {
                    let way = matches!(**error, LinkError::Dial { .. } | LinkError::Slow(..));
                    self.way = if way {
                        self.dialer.way_after(self.way)
                    } else {
                        self.way
                    };
                }
                Err(LinkError::Registration {
                    host: host.to_string(),
                    source: Box::new(error),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hub_emulator::{
        Emulator, EmulatorConfig, Enrollee, Enrollment, ProvisioningSetup, SetupCredentials,
    };

    use super::*;
    use crate::{
        config::Config,
        hub_link::{Turnstile, clock_tests::link_of},
    };

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    /// Nobody waits longer on a machine that is busy.
    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_service_that_takes_its_time_keeps_no_other_device_waiting() {
        let slow = EmulatorConfig {
            provisioning: ProvisioningSetup {
                retry_after: Duration::from_secs(3_600),
                ..ProvisioningSetup::default()
            },
            ..EmulatorConfig::default()
        };
        let service = Emulator::start(slow).await.unwrap();
        let key = SetupCredentials::Keys {
            primary: Some(KEY.parse().unwrap()),
            secondary: None,
        };
        service.enroll(Enrollment::new(
            Enrollee::Device("d1".parse().unwrap()),
            key,
        ));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), service.ca_pem()).unwrap();
        let text = format!(
            "state_dir = \"state\"\n[hub]\nca_file = \"ca.pem\"\n\
             [provisioning]\nhost = \"localhost:{}\"\nid_scope = \"{}\"\n\
             [[device]]\nid = \"d1\"\n[device.provisioning]\nkey = \"{KEY}\"\n[device.host]\n",
            service.mqtt_port(),
            service.id_scope(),
        );
        let (link, _handle) = link_of(&Config::parse(&text, folder.path()).unwrap());
        let turnstile = Arc::new(Turnstile::of_one_place());
        let link = Link {
            turnstile: Arc::clone(&turnstile),
            ..*link
        };
        let registering = tokio::spawn(link.try_once());
        let asked = service.counted(|counters| counters.registrations.total == 1);
        time::timeout(PATIENCE, asked).await.unwrap();
        let turn = time::timeout(PATIENCE, turnstile.pass()).await;
        assert!(turn.unwrap().is_some());
        registering.abort();
    }
}
