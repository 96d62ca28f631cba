//! Random bytes for every parser that reads what somebody else wrote.
//!
//! A target is a function that takes any bytes and panics when one of its promises does not hold.
//! libFuzzer looks for such bytes, guided by coverage; the tests replay what is kept of its finds.
//!
//! ```text
//!  corpus/NAME/*  ──► replay (an ordinary test)
//!       │                      ╲
//!       └──► libFuzzer (main.rs) ──► Target::run ──► a panic: the input is kept
//! ```

mod targets;

/// Something to throw bytes at.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in `corpus`.
    pub name: &'static str,
    /// Panics when a promise does not hold.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    target("bodies", targets::bodies::run),
    target("calls", targets::calls::run),
    target("credentials", targets::credentials::run),
    target("gateway_config", targets::configs::gateway),
    target("gateway_devices", targets::devices::run),
    target("gateway_local_mqtt", targets::devices::local_mqtt),
    target("list_requests", targets::lists::run),
    target("mqtt_packets", targets::packets::run),
    target("queries", targets::queries::run),
    target("reboots", targets::reboots::run),
    target("service_config", targets::configs::service),
    target("topics", targets::topics::run),
    target("twins", targets::twins::run),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}
