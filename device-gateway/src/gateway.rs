//! The daemon, put together: storage, the local endpoint, and a task and a link for each device.

use std::{collections::BTreeMap, mem, net::SocketAddr, sync::Arc, time::Duration};

use iot_hub::{identity::DeviceId, reboot::GatewayInfo};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, MqttPlace},
    driver::Driver,
    fleet::{Changes, Fleet, Ground},
    hub_link::{Dialer, TlsSetupError, Turnstile},
    instruments::Instruments,
    local_mqtt::{Accounts, BrokerClient, BrokerSettings, LocalMqtt, LocalMqttError},
    pulse::{Heart, Watchdog},
    safety::Family,
    storage::{Storage, StorageError},
};

/// How long a stop waits for links to sign off.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A gateway that is set up: its endpoint is bound, its journals are read.
#[derive(Debug)]
pub struct Gateway {
    config: Config,
    storage: Storage,
    dialer: Dialer,
    local_mqtt: Option<LocalSide>,
    drivers: BTreeMap<DeviceId, Arc<dyn Driver>>,
    watchdog: Option<Watchdog>,
    instruments: Instruments,
    reload: (Reload, mpsc::Receiver<Asked>),
}

/// Where local devices that speak MQTT are met.
#[derive(Debug)]
enum LocalSide {
    Endpoint(LocalMqtt),
    Broker(BrokerClient),
}

impl LocalSide {
    async fn of(place: &MqttPlace) -> Result<Self, GatewayError> {
        Ok(match place {
            MqttPlace::Listen(address) => Self::Endpoint(LocalMqtt::bind(*address, []).await?),
            MqttPlace::Broker(broker) => {
                Self::Broker(BrokerClient::new(BrokerSettings::new(broker)?))
            }
        })
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Endpoint(endpoint) => Some(endpoint.local_addr()),
            Self::Broker(_) => None,
        }
    }

    fn accounts(&self) -> Accounts {
        match self {
            Self::Endpoint(endpoint) => endpoint.accounts(),
            Self::Broker(broker) => broker.accounts(),
        }
    }

    async fn serve(self, shutdown: CancellationToken) {
        match self {
            Self::Endpoint(endpoint) => endpoint.serve(shutdown).await,
            Self::Broker(broker) => broker.serve(shutdown).await,
        }
    }
}

/// Gives a gateway that serves other settings. Clones give them to the same.
#[derive(Debug, Clone)]
pub struct Reload(mpsc::Sender<Asked>);

type Asked = (Config, oneshot::Sender<Result<Changes, ReloadError>>);

/// Why other settings are not taken into force; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// They are of a kind that does not change while the gateway serves.
    #[error("{0} changes only when the gateway is started again")]
    NeedsRestart(&'static str),
    /// No connection to a hub could be made with them.
    #[error("set up TLS")]
    Tls(#[from] TlsSetupError),
    /// The gateway has stopped.
    #[error("the gateway does not serve any more")]
    Stopped,
}

impl Reload {
    /// Takes other settings into force, and says what they change.
    pub async fn to(&self, config: Config) -> Result<Changes, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let asked = self.0.send((config, answer)).await;
        asked.map_err(|_| ReloadError::Stopped)?;
        answered.await.unwrap_or(Err(ReloadError::Stopped))
    }
}

/// Why a gateway cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The journal is another gateway's.
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
        if let Some(trouble) = storage.writes().trouble() {
            tracing::error!(
                "the journal cannot be used, and nothing is begun until it can be: {trouble}"
            );
        }
        let dialer = Dialer::new(&config.hub)?;
        let local_mqtt = match &config.local_mqtt {
            Some(local) => Some(LocalSide::of(&local.place).await?),
            None => None,
        };
        let accounts = local_mqtt.as_ref().map(LocalSide::accounts);
        let instruments = Instruments::new(storage.writes(), accounts);
        let (ask, asked) = mpsc::channel(1);
        Ok(Self {
            config,
            storage,
            dialer,
            local_mqtt,
            drivers: BTreeMap::new(),
            watchdog: None,
            instruments,
            reload: (Reload(ask), asked),
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
        self.local_mqtt.as_ref()?.local_addr()
    }

    /// What those who run this gateway see of it.
    pub fn instruments(&self) -> Instruments {
        self.instruments.clone()
    }

    /// Gives this gateway other settings, once it serves.
    pub fn reload(&self) -> Reload {
        self.reload.0.clone()
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
        let mut config = self.config;
        let (own, mut asked) = self.reload;
        drop(own);
        let heart = Heart::new();
        let mut ground = Ground {
            storage: self.storage,
            dialer: self.dialer,
            link: Arc::new(config.link.clone()),
            gateway: gateway_info(&config),
            turnstile: Arc::new(Turnstile::new(config.link.connects_per_second)),
            heart: heart.clone(),
            accounts: self.local_mqtt.as_ref().map(LocalSide::accounts),
            drivers: self.drivers,
            family: Family::default(),
            instruments: self.instruments,
            telemetry: config
                .local_mqtt
                .as_ref()
                .map(|local| local.telemetry)
                .unwrap_or_default(),
        };
        let mut fleet = Fleet::new(ground.clone(), shutdown.clone());
        // The fleet knows them from here on.
        let changes = fleet.change(None, mem::take(&mut config.devices));
        if let Some((device, message)) = changes.refused.into_iter().next() {
            return Err(GatewayError::Driver { device, message });
        }
        fleet.settled().await;
        let mut tasks = JoinSet::new();
        if let Some(local_mqtt) = self.local_mqtt {
            tasks.spawn(local_mqtt.serve(shutdown.clone()));
        }
        ready();
        if let Some(watchdog) = self.watchdog {
            tasks.spawn(watch(heart, watchdog, shutdown.clone()));
        }
        let mut ended_early = false;
        while !ended_early {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(_) = tasks.join_next() => ended_early = true,
                ended = fleet.next_end() => ended_early = ended.is_err(),
                Some((wanted, answer)) = asked.recv() => {
                    let changed = reload(&mut fleet, &mut ground, &mut config, wanted);
                    // Whoever asked may have gone.
                    let _ = answer.send(changed);
                }
            }
        }
        if ended_early {
            tracing::error!("a task ended early, stopping");
            shutdown.cancel();
        }
        let drained = time::timeout(DRAIN_LIMIT, async {
            fleet.all_ended().await;
            while tasks.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            tracing::warn!("stopped without waiting for every task");
        }
        if ended_early {
            Err(GatewayError::EndedEarly)
        } else {
            Ok(())
        }
    }
}

/// Takes other settings into force, all of them or none.
fn reload(
    fleet: &mut Fleet,
    ground: &mut Ground,
    config: &mut Config,
    mut wanted: Config,
) -> Result<Changes, ReloadError> {
    if wanted.state_dir != config.state_dir {
        return Err(ReloadError::NeedsRestart("state_dir"));
    }
    let print = |config: &Config| config.local_mqtt.as_ref().map(|local| local.print);
    if print(&wanted) != print(config) {
        return Err(ReloadError::NeedsRestart("local_mqtt"));
    }
    if wanted.metrics_listen != config.metrics_listen {
        return Err(ReloadError::NeedsRestart("metrics.listen"));
    }
    if wanted.log.format != config.log.format {
        return Err(ReloadError::NeedsRestart("log.format"));
    }
    let dialer = Dialer::new(&wanted.hub)?;
    let moved = wanted.hub != config.hub
        || !dialer.trusts_as(&ground.dialer)
        || wanted.link != config.link
        || wanted.gateway_id != config.gateway_id;
    let other = moved.then(|| Ground {
        dialer,
        link: Arc::new(wanted.link.clone()),
        turnstile: Arc::new(Turnstile::new(wanted.link.connects_per_second)),
        gateway: gateway_info(&wanted),
        ..ground.clone()
    });
    if let Some(other) = &other {
        *ground = other.clone();
    }
    let changes = fleet.change(other, mem::take(&mut wanted.devices));
    *config = wanted;
    Ok(changes)
}

fn gateway_info(config: &Config) -> GatewayInfo {
    GatewayInfo {
        id: config.gateway_id.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        going_down: None,
        trouble: None,
    }
}

/// Feeds the watchdog until told to stop; from then on, stopping has limits of its own.
async fn watch(heart: Heart, watchdog: Watchdog, shutdown: CancellationToken) {
    tokio::select! {
        () = heart.beat(watchdog) => {}
        () = shutdown.cancelled() => {}
    }
}
