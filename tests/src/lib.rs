//! What the end-to-end tests stand on.
//!
//! A [`World`] is the whole main path on loopback: the emulator in this process, where a test can
//! script its faults and read its counters, and the management service, the gateway and the local
//! devices as real processes that can be killed and really restart.
//!
//! ```text
//!  test ── gRPC ──► mgmt-service ── HTTPS ──► Emulator ◄── MQTT/TLS ── device-gateway ◄── MQTT ── local-device
//!  (this process)   (process)                 (this process)           (process)                  (processes)
//! ```

mod back_end;
mod devices;
mod mosquitto;
mod process;
mod pump;
mod script_process;
mod sdk;
pub mod soak;
mod token_endpoint;
mod tutorial;
mod watch;
mod world;

pub use iothubdm_packages::Language;

pub use back_end::BackEnd;
pub use devices::Behavior;
pub use mosquitto::Mosquitto;
pub use process::{Daemon, binary, eventually};
pub use pump::Pump;
pub use script_process::ScriptProcess;
pub use sdk::{run_script, run_script_over_restarts};
pub use token_endpoint::{Asked, TokenEndpoint};
pub use tutorial::{Script, TutorialDevice};
pub use watch::Watched;
pub use world::{DeviceSetup, LOCAL_PASSWORD, PATIENCE, World, WorldBuilder, device_id, request};
