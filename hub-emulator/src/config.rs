//! How an emulator is set up.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use iot_hub::identity::HubHost;
use secrecy::SecretString;

use crate::faults::{Fault, Times};
use crate::setup::{DeviceSetup, ProvisioningSetup};
use crate::throttle::{Shaping, Tier};

/// How an emulator is set up. The default suits tests: free ports on 127.0.0.1, name `localhost`.
#[derive(Clone, Debug)]
pub struct EmulatorConfig {
    /// The hub's name: in connection strings, in the certificate, and in the tokens that are
    /// accepted (beside `localhost` and the loopback addresses).
    pub host_name: HubHost,
    /// The address that both front doors listen on.
    pub listen: IpAddr,
    /// The port of the service's REST API; 0 takes a free one.
    pub https_port: u16,
    /// The port of MQTT over TLS; 0 takes a free one.
    pub mqtt_port: u16,
    /// The port of the admin API and page, on 127.0.0.1 whatever `listen` says; 0 takes a free one.
    /// Without it there is none.
    pub admin_port: Option<u16>,
    /// Where the certificate authority is kept, so that a client set up once keeps trusting it.
    /// Without it every start makes a new one in memory.
    pub ca_dir: Option<PathBuf>,
    /// Where to write the authority's certificate (PEM) for clients to read.
    pub ca_file: Option<PathBuf>,
    /// Files with the certificates (PEM) of authorities that may sign devices' certificates, as the
    /// real hub has them uploaded.
    pub device_ca_files: Vec<PathBuf>,
    /// Where identities, twins, subscriptions, waiting messages, jobs, configurations and the
    /// policies' keys are kept over restarts. Without it they are gone with the emulator.
    pub state_file: Option<PathBuf>,
    /// Devices and modules that are there from the start.
    pub devices: Vec<DeviceSetup>,
    /// The provisioning service beside the hub.
    pub provisioning: ProvisioningSetup,
    /// Faults that are there from the start.
    pub faults: Vec<(Fault, Times)>,
    /// Texts that open the REST API as `Authorization: Bearer`, each with the rights of a service.
    /// Without any, tokens of Microsoft Entra ID are refused. They are compared, not understood.
    pub bearer_tokens: Vec<SecretString>,
    /// How long clients may take.
    pub limits: ClientLimits,
    /// How long after a device's token expired its live connection is closed.
    pub token_grace: Duration,
    /// How long a device has to acknowledge a message before it is sent again.
    pub message_lock: Duration,
    /// An upper bound on every method call's response timeout, so that a test of a call without
    /// an answer need not wait for the 5 s that the API asks for at least. `None` is faithful.
    pub response_timeout_cap: Option<Duration>,
    /// The largest page of a query's answer, and the page size when none is asked for.
    pub query_page_size: usize,
    /// The hub's size, whose throttles are then enforced. Without it nothing is throttled.
    pub tier: Option<Tier>,
    /// What becomes of requests that are more than these throttles admit.
    pub shaping: Shaping,
    /// How many messages the hub takes in a day, if not as many as its tier.
    pub daily_messages: Option<u64>,
}

impl EmulatorConfig {
    /// The name a hub goes by when nothing else is said.
    pub const DEFAULT_HOST_NAME: &'static str = "localhost";
    /// What the real hub is reported to allow: 5 or 10 minutes.
    pub const DEFAULT_TOKEN_GRACE: Duration = Duration::from_secs(600);
    /// The real hub's.
    pub const DEFAULT_MESSAGE_LOCK: Duration = Duration::from_secs(60);
    /// The page size of newer documentation; older text says 1000.
    pub const DEFAULT_QUERY_PAGE_SIZE: usize = 100;
}

impl Default for EmulatorConfig {
    fn default() -> Self {
        Self {
            host_name: Self::DEFAULT_HOST_NAME
                .parse()
                .expect("the default host name is valid"),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            https_port: 0,
            mqtt_port: 0,
            admin_port: None,
            ca_dir: None,
            ca_file: None,
            device_ca_files: Vec::new(),
            state_file: None,
            devices: Vec::new(),
            provisioning: ProvisioningSetup::default(),
            faults: Vec::new(),
            bearer_tokens: Vec::new(),
            limits: ClientLimits::default(),
            token_grace: Self::DEFAULT_TOKEN_GRACE,
            message_lock: Self::DEFAULT_MESSAGE_LOCK,
            response_timeout_cap: None,
            query_page_size: Self::DEFAULT_QUERY_PAGE_SIZE,
            tier: None,
            shaping: Shaping::default(),
            daily_messages: None,
        }
    }
}

/// How long a client may take for what it has begun. One that takes longer is gone or means no
/// good, and its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// For the TLS handshake.
    pub handshake: Duration,
    /// From there to the end of the CONNECT packet.
    pub connect: Duration,
    /// From the end of one HTTP request to the end of the next one's header. It is also how long an
    /// idle connection is kept: closing one that a client pools makes the client's next call fail.
    pub http_header: Duration,
    /// For the body of an HTTP request.
    pub http_body: Duration,
    /// To take some of what it is sent.
    pub write: Duration,
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            connect: Duration::from_secs(30),
            http_header: Duration::from_secs(300),
            http_body: Duration::from_secs(60),
            write: Duration::from_secs(30),
        }
    }
}
