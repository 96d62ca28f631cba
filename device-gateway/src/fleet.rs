//! The devices that the gateway holds, and how they change while it runs.
//!
//! ```text
//!   settings ─► changes ─► added:    begins
//!                          removed:  drains, ends
//!                          changed:  drains, ends, begins again
//!                          the rest: notices nothing
//! ```
//!
//! A device that drains goes on until no attempt of it is open, so that no attempt is cut short. One
//! whose task panics begins again as after a restart of the gateway: its journal decides what is done,
//! and the others notice nothing.

mod changes;
mod life;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use iot_hub::{identity::DeviceId, reboot::GatewayInfo};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

pub use self::changes::Changes;
use self::life::{Ended, Fallen, Settling, live};
use crate::{
    backlog::Bounds,
    config::{DeviceConfig, DriverConfig, Likeness, LinkTiming, MqttDialect},
    device::{Parts, Stop},
    driver::{
        Driver,
        command::CommandDriver,
        host::HostDriver,
        http::{ClientError, HttpDriver},
        mqtt::{
            DEFAULT_ACK_LIMIT, MqttDriver, tasmota::TasmotaDriver, zigbee2mqtt::Zigbee2MqttDriver,
        },
        onvif::OnvifDriver,
        power::Powered,
        redfish::RedfishDriver,
        snmp::{AgentDriver, OutletDriver, SnmpOutlet},
        ssh::SshDriver,
    },
    hub_link::{Dialer, Home, Link, Turnstile},
    instruments::Instruments,
    local_mqtt::{Accounts, LocalMqttError},
    pulse::Heart,
    safety::{Family, Safety},
    storage::Storage,
};

/// How long a device waits before it writes or sends again what failed.
const RETRY: Duration = Duration::from_secs(5);

/// How many devices read their journals at once.
const READERS: usize = 4;

/// What all devices stand on.
#[derive(Debug, Clone)]
pub(crate) struct Ground {
    pub(crate) storage: Storage,
    pub(crate) dialer: Dialer,
    pub(crate) link: Arc<LinkTiming>,
    pub(crate) gateway: GatewayInfo,
    pub(crate) turnstile: Arc<Turnstile>,
    pub(crate) heart: Heart,
    /// Who may sign in at the endpoint for local devices, if there is one.
    pub(crate) accounts: Option<Accounts>,
    pub(crate) family: Family,
    pub(crate) instruments: Instruments,
    /// How much is kept of the telemetry of each device there.
    pub(crate) telemetry: Bounds,
    /// Drivers other than configured.
    pub(crate) drivers: BTreeMap<DeviceId, Arc<dyn Driver>>,
}

/// The devices.
#[derive(Debug)]
pub(crate) struct Fleet {
    ground: Ground,
    members: BTreeMap<DeviceId, Member>,
    tasks: JoinSet<Ended>,
    fallen: Fallen,
    settling: Settling,
    settled: mpsc::Receiver<()>,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Member {
    wanted: Wanted,
    stop: Stop,
}

/// What a device is to be.
#[derive(Debug)]
enum Wanted {
    /// What it is.
    Same(Making),
    /// It drains, and begins again with these.
    Other(Box<DeviceConfig>),
    /// It drains, and that is the end of it.
    Gone,
}

/// What a device begins again from. No more is kept of its settings than what tells others from them;
/// the rest is shared with the device, and a panic leaves nothing in it that is half changed.
#[derive(Debug, Clone)]
struct Making {
    likeness: Likeness,
    home: Arc<Home>,
    driver: Arc<dyn Driver>,
    safety: Arc<Safety>,
}

/// A device's task ended though nobody told it to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EndedEarly;

impl Fleet {
    /// No device yet. Each ends at once when the shutdown comes.
    pub(crate) fn new(ground: Ground, shutdown: CancellationToken) -> Self {
        let (until, settled) = mpsc::channel(1);
        Self {
            ground,
            members: BTreeMap::new(),
            tasks: JoinSet::new(),
            fallen: Fallen::default(),
            settling: Settling {
                turns: Arc::new(Semaphore::new(READERS)),
                until,
            },
            settled,
            shutdown,
        }
    }

    /// Waits until every device that began by now has gone on where its journal ends, or has found
    /// that it cannot.
    pub(crate) async fn settled(&mut self) {
        let (until, settled) = mpsc::channel(1);
        self.settling.until = until;
        let mut former = std::mem::replace(&mut self.settled, settled);
        // Nothing is ever sent.
        let _ = former.recv().await;
    }

    /// Takes other settings into force. What all devices stand on may be another, too; then every
    /// one of them begins anew.
    pub(crate) fn change(&mut self, ground: Option<Ground>, wanted: Vec<DeviceConfig>) -> Changes {
        let moved = ground.is_some();
        if let Some(ground) = ground {
            self.ground = ground;
        }
        let present = self
            .members
            .iter()
            .filter_map(|(id, member)| Some((id, member.wanted.likeness()?)))
            .collect();
        let mut changes = Changes::between(present, &wanted, moved);
        for id in changes.removed.iter().chain(&changes.changed) {
            if let Some(member) = self.members.get_mut(id) {
                member.wanted = Wanted::Gone;
                member.stop.drained.cancel();
            }
        }
        for config in wanted {
            match self.members.get_mut(&config.id) {
                None => {
                    let id = config.id.clone();
                    if let Err(error) = self.begin(config, Duration::ZERO) {
                        changes.refused.push((id, error.to_string()));
                    }
                }
                Some(member) if member.is_draining() => {
                    member.wanted = Wanted::Other(Box::new(config));
                }
                Some(_) => {}
            }
        }
        changes
    }

    /// Waits until a device's task ends, and begins what comes after it.
    pub(crate) async fn next_end(&mut self) -> Result<(), EndedEarly> {
        let Some(ended) = self.tasks.join_next().await else {
            // No device, and so none that ends.
            return std::future::pending().await;
        };
        let Ok((id, lived)) = ended else {
            return Err(EndedEarly);
        };
        let Some(member) = self.members.remove(&id) else {
            return Err(EndedEarly);
        };
        let pause = match lived {
            Ok(()) if member.is_draining() => Duration::ZERO,
            Ok(()) => return Err(EndedEarly),
            Err(panicked) => {
                let pause = self.fallen.pause_of(&id, Instant::now());
                tracing::error!(device = %id, ?pause, "the device's task {panicked}");
                pause
            }
        };
        match member.wanted {
            Wanted::Same(making) => {
                tracing::info!(device = %id, "begins anew, where its journal ends");
                self.raise(id, making, pause);
            }
            Wanted::Other(config) => {
                tracing::info!(device = %id, "begins anew, by other settings");
                if let Err(error) = self.begin(*config, pause) {
                    tracing::error!(device = %id, %error, "cannot hold the device");
                }
            }
            Wanted::Gone => {
                self.fallen.forget(&id);
                if let Some(accounts) = &self.ground.accounts {
                    accounts.dismiss(id.as_str());
                }
                tracing::info!(device = %id, "is no device of this gateway any more");
            }
        }
        Ok(())
    }

    /// Waits until every task has ended.
    pub(crate) async fn all_ended(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Begins a device after a pause. A driver that cannot be made leaves it out.
    fn begin(&mut self, config: DeviceConfig, pause: Duration) -> Result<(), NoDriver> {
        let likeness = config.likeness();
        let driver = self.ground.powered_driver_of(&config)?;
        let is_host = config.driver.is_host();
        let member = self.ground.family.member(config.id.clone(), is_host);
        let accounts = self.ground.accounts.as_ref();
        let making = Making {
            likeness,
            driver,
            safety: Arc::new(Safety::new(config.safety, accounts, member)),
            home: Home::new(
                config.id.clone(),
                config.identity,
                self.ground.storage.clone(),
            ),
        };
        self.raise(config.id, making, pause);
        Ok(())
    }

    /// Begins a device after a pause, for the first time or as it was before.
    fn raise(&mut self, id: DeviceId, making: Making, pause: Duration) {
        let span = tracing::info_span!("device", %id);
        let (link, handle) = Link::new(
            making.home.clone(),
            self.ground.link.clone(),
            self.ground.dialer.clone(),
            self.ground.turnstile.clone(),
        );
        let accounts = self.ground.accounts.as_ref();
        let local = accounts.and_then(|accounts| accounts.device(id.as_str()));
        if let Some(local) = &local
            && !pause.is_zero()
        {
            local.bar(true);
        }
        let parts = Parts {
            bridged: local.map(|local| (local, self.ground.telemetry)),
            settings: making.likeness.settings().clone(),
            driver: making.driver.clone(),
            safety: making.safety.clone(),
            storage: self.ground.storage.clone(),
            link: handle,
            gateway: self.ground.gateway.clone(),
            report_delay: self.ground.link.report_delay,
            retry: RETRY,
            pulse: self.ground.heart.pulse(id.to_string()),
            desk: self.ground.instruments.desk(&id),
            began: Instant::now(),
            id: id.clone(),
        };
        let stop = Stop {
            now: self.shutdown.clone(),
            drained: CancellationToken::new(),
        };
        let settling = self.settling.clone();
        let living = live(Box::new(parts), link, stop.clone(), settling, pause);
        self.tasks.spawn(living.instrument(span));
        let wanted = Wanted::Same(making);
        self.members.insert(id, Member { wanted, stop });
    }
}

impl Member {
    fn is_draining(&self) -> bool {
        self.stop.drained.is_cancelled()
    }
}

impl Wanted {
    /// Tells it from others; nothing, where there is to be no device.
    fn likeness(&self) -> Option<Likeness> {
        match self {
            Self::Same(making) => Some(making.likeness.clone()),
            Self::Other(config) => Some(config.likeness()),
            Self::Gone => None,
        }
    }
}

impl Ground {
    /// Makes the driver of a device, with the outlet that its power goes through.
    fn powered_driver_of(&self, device: &DeviceConfig) -> Result<Arc<dyn Driver>, NoDriver> {
        Ok(powered(device, self.driver_of(device)?))
    }

    fn driver_of(&self, device: &DeviceConfig) -> Result<Arc<dyn Driver>, NoDriver> {
        match self.drivers.get(&device.id) {
            Some(driver) => Ok(driver.clone()),
            None => driver_of(device, self.accounts.as_ref()),
        }
    }
}

/// Makes the driver of a device.
pub(crate) fn driver_of(
    device: &DeviceConfig,
    accounts: Option<&Accounts>,
) -> Result<Arc<dyn Driver>, NoDriver> {
    Ok(match &device.driver {
        DriverConfig::Mqtt(mqtt) => {
            let accounts = accounts.ok_or(NoDriver::NoEndpoint)?;
            let id = device.id.as_str();
            let local = accounts.admit(id, mqtt.password.clone(), mqtt.elsewhere())?;
            match &mqtt.dialect {
                MqttDialect::Native => Arc::new(MqttDriver::start(local, DEFAULT_ACK_LIMIT)),
                MqttDialect::Tasmota { topic } => {
                    Arc::new(TasmotaDriver::start(local, topic, DEFAULT_ACK_LIMIT))
                }
                MqttDialect::Zigbee2Mqtt { base_topic } => Arc::new(Zigbee2MqttDriver::start(
                    local,
                    base_topic,
                    DEFAULT_ACK_LIMIT,
                )),
            }
        }
        DriverConfig::Command(command) => Arc::new(CommandDriver::new(command.clone())),
        DriverConfig::Host(host) => Arc::new(HostDriver::new(host.clone())),
        DriverConfig::Http(http) => {
            Arc::new(HttpDriver::new(http.endpoint.clone(), http.plan.clone())?)
        }
        DriverConfig::Snmp(snmp) => match (&snmp.agent, &device.power_cycle) {
            (Some(agent), _) => Arc::new(AgentDriver::new(agent.clone())),
            (None, Some(outlet)) => Arc::new(OutletDriver::new(SnmpOutlet::new(outlet.clone()))),
            (None, None) => return Err(NoDriver::NoOutlet),
        },
        DriverConfig::Ssh(ssh) => Arc::new(SshDriver::new((**ssh).clone())),
        DriverConfig::Redfish(redfish) => Arc::new(RedfishDriver::new((**redfish).clone())?),
        DriverConfig::Onvif(onvif) => Arc::new(OnvifDriver::new((**onvif).clone())?),
    })
}

/// A driver together with the outlet that the power of its device goes through, if there is one.
pub(crate) fn powered(device: &DeviceConfig, driver: Arc<dyn Driver>) -> Arc<dyn Driver> {
    match &device.power_cycle {
        Some(outlet) => {
            let outlet = Arc::new(SnmpOutlet::new(outlet.clone()));
            Arc::new(Powered::new(driver, outlet))
        }
        None => driver,
    }
}

/// Why a device cannot be reached in the configured way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoDriver {
    #[error("there is no endpoint for local devices")]
    NoEndpoint,
    #[error("there is neither an agent nor an outlet")]
    NoOutlet,
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Account(#[from] LocalMqttError),
}

#[cfg(test)]
mod tests;
