//! A running emulator, and what a test may ask of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iot_hub::error::HubError;
use iot_hub::identity::{
    ConnectionString, DeviceAuth, DeviceConnection, DeviceId, HubHost, ServiceConnection,
};
use iot_hub::provisioning::IdScope;
use iot_hub::sas::SharedKey;
use jiff::Timestamp;
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::bearer::BearerTokens;
use crate::certificate::DeviceAuthorities;
use crate::config::EmulatorConfig;
use crate::error::{FrontDoor, StartError};
use crate::faults::Faults;
use crate::files::{Readers, write_atomically};
use crate::hub::{
    Authentication, CloseReason, CloudToDeviceMessage, EntityId, Identity, IdentityRequest,
};
use crate::names::{accepted_names, certificate_names};
use crate::policies::Policies;
use crate::setup::{Enrollee, Enrollment};
use crate::switchboard::{State, Switchboard};
use crate::throttle::Kind;
use crate::tls::Authority;
use crate::{executor, mqtt, rest};

/// How long [`Emulator::shutdown`] lets connections end by themselves.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);

/// An IoT Hub on this machine. It ends when it is dropped, or better with [`Emulator::shutdown`].
pub struct Emulator {
    pub(crate) switchboard: Arc<Switchboard>,
    https_address: SocketAddr,
    mqtt_address: SocketAddr,
    admin_address: Option<SocketAddr>,
    ca_pem: String,
    tasks: TaskTracker,
    /// Ends the tasks when the emulator is dropped.
    shutdown: DropGuard,
}

impl Emulator {
    /// Starts an emulator. When this returns, both ports are bound and accept connections.
    pub async fn start(config: EmulatorConfig) -> Result<Self, StartError> {
        let now = Timestamp::now();
        let address = |port| SocketAddr::new(config.listen, port);
        let (https, https_address) = listen(address(config.https_port), FrontDoor::Https).await?;
        let (mqtt, mqtt_address) = listen(address(config.mqtt_port), FrontDoor::Mqtt).await?;
        let admin = match config.admin_port {
            None => None,
            Some(port) => Some(listen(admin::address(port), FrontDoor::Admin).await?),
        };
        let admin_address = admin.as_ref().map(|(_, address)| *address);

        let authority = match &config.ca_dir {
            None => Authority::in_memory(now)?,
            Some(directory) => Authority::in_directory(directory, now)?,
        };
        let ca_pem = authority.certificate_pem().to_owned();
        if let Some(path) = &config.ca_file {
            write_atomically(path, Readers::Usual, ca_pem.as_bytes()).map_err(|source| {
                StartError::CaFile {
                    path: path.clone(),
                    source,
                }
            })?;
        }
        let tls = Arc::new(authority.server_config(&certificate_names(&config), now)?);

        let names = accepted_names(&config, [https_address.port(), mqtt_address.port()]);
        let authorities = DeviceAuthorities::read(&config.device_ca_files)?;
        let mut policies = Policies::new(new_key);
        let mut state = State::default();
        if let Some(path) = &config.state_file {
            state.take_up(path, &mut policies)?;
        }
        for setup in &config.devices {
            let set_up = state.set_up(setup, now);
            set_up.map_err(|source| StartError::Device {
                id: EntityId::from(setup).to_string(),
                source,
            })?;
        }
        for enrollment in &config.provisioning.enrollments {
            state.provisioning.enroll(enrollment.clone(), new_key);
        }
        for (fault, times) in &config.faults {
            state.add_fault(fault.clone(), *times);
        }
        let switchboard = Switchboard::new(config, policies, authorities, names, state);
        let switchboard = Arc::new(switchboard);
        let shutdown = CancellationToken::new();
        let tasks = TaskTracker::new();
        let door = |listener| crate::door::Door {
            listener,
            tls: Arc::clone(&tls),
            switchboard: Arc::clone(&switchboard),
            tasks: tasks.clone(),
            shutdown: shutdown.clone(),
        };
        tasks.spawn(rest::serve(door(https)));
        tasks.spawn(mqtt::serve(door(mqtt)));
        tasks.spawn(executor::run(Arc::clone(&switchboard), shutdown.clone()));
        tasks.spawn(executor::look_at_inboxes(
            Arc::clone(&switchboard),
            shutdown.clone(),
        ));
        tasks.spawn(executor::configure(
            Arc::clone(&switchboard),
            shutdown.clone(),
        ));
        if let Some((listener, address)) = admin {
            let admin = Admin {
                switchboard: Arc::clone(&switchboard),
                https_port: https_address.port(),
                mqtt_port: mqtt_address.port(),
            };
            let serve = admin::serve(listener, admin, tasks.clone(), shutdown.clone());
            tasks.spawn(serve);
            tracing::info!(%address, "the admin API is open to everybody on this machine");
        }
        tracing::info!(https = %https_address, mqtt = %mqtt_address, "listening");

        Ok(Self {
            switchboard,
            https_address,
            mqtt_address,
            admin_address,
            ca_pem,
            tasks,
            shutdown: shutdown.drop_guard(),
        })
    }

    /// The hub's name, as connection strings have it.
    #[must_use]
    pub fn host_name(&self) -> &HubHost {
        &self.switchboard.config.host_name
    }

    /// The port of the service's REST API.
    #[must_use]
    pub fn https_port(&self) -> u16 {
        self.https_address.port()
    }

    /// The port of MQTT over TLS.
    #[must_use]
    pub fn mqtt_port(&self) -> u16 {
        self.mqtt_address.port()
    }

    /// The port of the admin API and page, if it was asked for.
    #[must_use]
    pub fn admin_port(&self) -> Option<u16> {
        self.admin_address.map(|address| address.port())
    }

    /// Where the admin page is, if it was asked for. The API is below `api`.
    #[must_use]
    pub fn admin_url(&self) -> Option<String> {
        self.admin_address
            .map(|address| format!("http://{address}/"))
    }

    /// The certificate that clients must trust, as PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// The connection string of the policy that may do everything.
    #[must_use]
    pub fn owner_connection_string(&self) -> String {
        self.policy_connection_string(Policies::OWNER)
            .expect("every hub has an owner policy")
    }

    /// The connection string of the policy that a back-end service uses.
    #[must_use]
    pub fn service_connection_string(&self) -> String {
        self.policy_connection_string(Policies::SERVICE)
            .expect("every hub has a service policy")
    }

    /// The connection string of a policy by name: one of `iothubowner`, `service`, `device`,
    /// `registryRead`, `registryReadWrite`.
    #[must_use]
    pub fn policy_connection_string(&self, name: &str) -> Option<String> {
        let policy = self.switchboard.policies.find(name)?;
        let connection = ServiceConnection {
            host: self.host_name().clone(),
            policy: name.to_owned(),
            key: policy.keys.primary.clone(),
        };
        Some(ConnectionString::Service(connection).to_string())
    }

    /// The connection string of a device, which is registered now if it was not.
    ///
    /// # Panics
    ///
    /// When `device` is no device id, or is registered with a certificate instead of keys. Use
    /// [`Emulator::register`] for an id that is not under your control.
    #[must_use]
    pub fn device(&self, device: &str) -> String {
        let device = device.parse().expect("a device id");
        self.register(&device).expect("a device that signs tokens")
    }

    /// As [`Emulator::device`]; `None` when the device is registered and signs no tokens.
    pub fn register(&self, device: &DeviceId) -> Option<String> {
        let id = EntityId::from(device.clone());
        self.switchboard.change(|state, now| {
            if state.hub.identity(&id).is_none() {
                let identity = Identity::new(IdentityRequest::default(), new_key);
                state
                    .hub
                    .create(id.clone(), identity, now.wall)
                    .expect("it did not exist");
            }
            state.hub.identity(&id).and_then(Identity::keys)?;
            self.connection_string(state, &id)
        })
    }

    /// The connection strings of the devices and modules that the configuration names, by their
    /// ids; a module has its own after its device's and a slash.
    #[must_use]
    pub fn configured_devices(&self) -> BTreeMap<String, String> {
        let setups = self.switchboard.config.devices.iter();
        self.switchboard.read(|state| {
            let connection = |setup| {
                let id = EntityId::from(setup);
                let connection = self.connection_string(state, &id)?;
                Some((id.to_string(), connection))
            };
            setups.filter_map(connection).collect()
        })
    }

    fn connection_string(&self, state: &State, id: &EntityId) -> Option<String> {
        let auth = match &state.hub.identity(id)?.authentication {
            Authentication::Sas(keys) => DeviceAuth::Key(keys.primary.clone()),
            Authentication::SelfSigned(_) | Authentication::CertificateAuthority => {
                DeviceAuth::X509
            }
            Authentication::Nothing => return None,
        };
        let connection = DeviceConnection {
            host: self.host_name().clone(),
            device: id.device.clone(),
            module: id.module.clone(),
            auth,
            gateway: None,
        };
        Some(ConnectionString::Device(connection).to_string())
    }

    /// Lets a device, or a group of them, register with the provisioning service. One that may
    /// already is told of the change when it registers again.
    pub fn enroll(&self, enrollment: Enrollment) {
        self.switchboard
            .change(|state, _| state.provisioning.enroll(enrollment, new_key));
    }

    /// Lets a device, or a group, register no longer. Returns whether it could.
    pub fn unenroll(&self, enrollee: &Enrollee) -> bool {
        self.switchboard
            .change(|state, _| state.provisioning.unenroll(enrollee))
    }

    /// What the provisioning service is called by.
    #[must_use]
    pub fn id_scope(&self) -> &IdScope {
        &self.switchboard.config.provisioning.id_scope
    }

    /// Sends a message to a device. It waits for the device to connect and subscribe, and is gone
    /// when the device has acknowledged it; meanwhile it counts in the twin's
    /// `cloudToDeviceMessageCount`.
    pub fn send_to_device(
        &self,
        device: &DeviceId,
        message: CloudToDeviceMessage,
    ) -> Result<(), HubError> {
        let id = EntityId::from(device.clone());
        self.switchboard.change(|state, now| {
            state.admit(Kind::CloudToDevice, 1, now.instant)?;
            state.spend(message.payload.len(), now.wall)?;
            let effects = state.hub.send_to_device(&id, message, now.wall)?;
            state.carry_out(effects);
            Ok(())
        })
    }

    /// From now on these bearer tokens open the REST API, and no others.
    pub fn accept_bearer_tokens(&self, tokens: &[&str]) {
        let tokens = tokens.iter().map(|token| (*token).into()).collect();
        self.switchboard
            .change(|state, _| state.bearer_tokens = BearerTokens::new(tokens));
    }

    /// Faults on demand.
    #[must_use]
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.switchboard))
    }

    /// Ends every connection and waits until the ports are free.
    pub async fn shutdown(self) {
        drop(self.shutdown);
        self.switchboard.close_all(CloseReason::ShuttingDown);
        self.tasks.close();
        if tokio::time::timeout(DRAIN_LIMIT, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(left = self.tasks.len(), "connections did not end in time");
        }
        self.switchboard.close_state_file();
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("https_address", &self.https_address)
            .field("mqtt_address", &self.mqtt_address)
            .finish_non_exhaustive()
    }
}

/// Makes a key as the hub does: 32 random bytes.
pub(crate) fn new_key() -> SharedKey {
    let bytes: [u8; 32] = rand::random();
    SharedKey::from_bytes(bytes.to_vec()).expect("32 bytes are a key")
}

/// Binds a port, and says which one it is.
async fn listen(
    address: SocketAddr,
    what: FrontDoor,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound.await.map_err(|source| StartError::Listen {
        address,
        what,
        source,
    })
}
