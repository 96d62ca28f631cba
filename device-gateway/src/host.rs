//! The machine that the gateway runs on.
//!
//! - [`boot`]: which boot it is in, and for how long.
//! - [`logind`]: systemd-logind, which reboots it.

pub(crate) mod boot;
pub(crate) mod logind;

#[cfg(test)]
pub(crate) mod test_bus;
