//! The daemon, put together: storage, the local endpoint, and a task and a link for each device.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use iot_hub::{identity::DeviceId, reboot::GatewayInfo};
use tokio::{sync::Semaphore, task::JoinSet, time};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    config::{Config, DeviceConfig, DriverConfig},
    device::{Device, Parts},
    driver::{
        Driver,
        command::CommandDriver,
        host::HostDriver,
        http::HttpDriver,
        mqtt::{DEFAULT_ACK_LIMIT, MqttDriver},
    },
    hub_link::{CONNECTING, Dialer, Link, TlsSetupError},
    local_mqtt::{LocalMqtt, LocalMqttError},
    pulse::{Heart, Watchdog},
    safety::{Family, Safety},
    storage::{Storage, StorageError},
};

/// How long a device waits before it writes or sends again what failed.
const RETRY: Duration = Duration::from_secs(5);

/// How long a stop waits for links to sign off.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A gateway that is set up: its endpoint is bound, its journals are read.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    storage: Storage,
    dialer: Dialer,
    local_mqtt: Option<LocalMqtt>,
    drivers: BTreeMap<DeviceId, Arc<dyn Driver>>,
    watchdog: Option<Watchdog>,
}

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The journal cannot be used.
    #[error("open the journal")]
    Storage(#[from] StorageError),
    /// No connection to a hub could ever be made.
    #[error("set up TLS")]
    Tls(#[from] TlsSetupError),
    /// The endpoint for local devices cannot be had.
    #[error("set up the local endpoint")]
    LocalMqtt(#[from] LocalMqttError),
    /// A device could never be reached.
    #[error("set up the driver of device {device}: {message}")]
    Driver {
        /// The device.
        device: DeviceId,
        /// What is missing.
        message: String,
    },
    /// A task ended that should not have.
    #[error("serve: a task ended early")]
    EndedEarly,
}

impl Gateway {
    /// Sets up everything that can fail, and serves nobody yet.
    pub async fn bind(config: Config) -> Result<Self, GatewayError> {
        let storage = Storage::open(&config.state_dir)?;
        let dialer = Dialer::new(&config.hub)?;
        let local_mqtt = match &config.local_mqtt {
            Some(local) => {
                let accounts = config.devices.iter().filter_map(|device| {
                    let password = device.driver.local_password()?;
                    Some((device.id.to_string(), password.clone()))
                });
                Some(LocalMqtt::bind(local.listen, accounts).await?)
            }
            None => None,
        };
        let mut drivers = BTreeMap::new();
        for device in &config.devices {
            let driver = driver_of(device, local_mqtt.as_ref());
            let driver = driver.map_err(|message| GatewayError::Driver {
                device: device.id.clone(),
                message,
            })?;
            drivers.extend(driver.map(|driver| (device.id.clone(), driver)));
        }
        Ok(Self {
            config,
            storage,
            dialer,
            local_mqtt,
            drivers,
            watchdog: None,
        })
    }

    /// Reaches a device in another way than configured.
    #[must_use]
    pub fn with_driver(mut self, device: DeviceId, driver: Arc<dyn Driver>) -> Self {
        self.drivers.insert(device, driver);
        self
    }

    /// Has a watchdog fed that often, as long as the loop of every device goes round.
    #[must_use]
    pub fn with_watchdog(mut self, interval: Duration, feed: impl Fn() + Send + 'static) -> Self {
        self.watchdog = Some(Watchdog {
            interval,
            feed: Box::new(feed),
        });
        self
    }

    /// The address of the endpoint for local devices.
    pub fn local_mqtt(&self) -> Option<SocketAddr> {
        self.local_mqtt.as_ref().map(LocalMqtt::local_addr)
    }

    /// Takes up every open attempt, and then serves until told to stop.
    ///
    /// `ready` is called once every journal is read and every open attempt is taken up; the hub is
    /// not waited for.
    pub async fn serve(
        self,
        ready: impl FnOnce(),
        shutdown: CancellationToken,
    ) -> Result<(), GatewayError> {
        let mut tasks = JoinSet::new();
        let connecting = Arc::new(Semaphore::new(CONNECTING));
        let gateway = GatewayInfo {
            id: self.config.gateway_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            going_down: None,
        };
        let mut heart = Heart::new();
        let family = Family::default();
        let mut starting = Vec::new();
        for config in self.config.devices {
            let Some(driver) = self.drivers.get(&config.id).cloned() else {
                continue;
            };
            let (link, handle) = Link::new(
                config.connection,
                self.config.link.clone(),
                self.dialer.clone(),
                connecting.clone(),
            );
            let span = tracing::info_span!("device", id = %config.id);
            let is_host = matches!(config.driver, DriverConfig::Host(_));
            let member = family.member(config.id.clone(), is_host);
            let parts = Parts {
                safety: Arc::new(Safety::new(member)),
                settings: config.settings,
                driver,
                kept: self.storage.load(&config.id).await?,
                storage: self.storage.clone(),
                link: handle,
                gateway: gateway.clone(),
                report_delay: self.config.link.report_delay,
                retry: RETRY,
                pulse: heart.pulse(config.id.to_string()),
                id: config.id,
            };
            let device = Device::start(parts).instrument(span.clone()).await?;
            starting.push((device, link, span));
        }
        if let Some(local_mqtt) = self.local_mqtt {
            tasks.spawn(local_mqtt.serve(shutdown.clone()));
        }
        for (device, link, span) in starting {
            tasks.spawn(device.run(shutdown.clone()).instrument(span.clone()));
            tasks.spawn(link.run(shutdown.clone()).instrument(span));
        }
        ready();
        if let Some(watchdog) = self.watchdog {
            tasks.spawn(watch(heart, watchdog, shutdown.clone()));
        }
        let mut ended_early = false;
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            Some(ended) = tasks.join_next() => {
                ended_early = true;
                tracing::error!(panicked = ended.is_err(), "a task ended early, stopping");
                shutdown.cancel();
            }
        }
        let drained = time::timeout(DRAIN_LIMIT, async {
            while tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!(left = tasks.len(), "stopped without waiting for every task");
        }
        if ended_early {
            Err(GatewayError::EndedEarly)
        } else {
            Ok(())
        }
    }
}

/// Feeds the watchdog until told to stop; from then on, stopping has limits of its own.
async fn watch(heart: Heart, watchdog: Watchdog, shutdown: CancellationToken) {
    tokio::select! {
        () = heart.beat(watchdog) => {}
        () = shutdown.cancelled() => {}
    }
}

/// Makes the driver of a device. The configuration makes sure that there is an endpoint for those
/// that need one.
fn driver_of(
    device: &DeviceConfig,
    local_mqtt: Option<&LocalMqtt>,
) -> Result<Option<Arc<dyn Driver>>, String> {
    Ok(Some(match &device.driver {
        DriverConfig::Mqtt(_) => {
            let local = local_mqtt.and_then(|endpoint| endpoint.device(device.id.as_str()));
            let Some(local) = local else { return Ok(None) };
            Arc::new(MqttDriver::start(local, DEFAULT_ACK_LIMIT))
        }
        DriverConfig::Command(command) => Arc::new(CommandDriver::new(command.clone())),
        DriverConfig::Host(host) => Arc::new(HostDriver::new(host.clone())),
        DriverConfig::Http(http) => {
            let driver = HttpDriver::new(http.endpoint.clone(), http.plan.clone());
            Arc::new(driver.map_err(|error| error.to_string())?)
        }
    }))
}
