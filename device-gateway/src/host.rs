//! The machine that the gateway runs on.
//!
//! - [`boot`]: which boot it is in, and for how long.
//! - [`logind`]: systemd-logind, which reboots it; [`last_resort`]: what does where it is not there.
//! - [`shutdowns`]: the reboots that somebody else asks for.

pub(crate) mod boot;
pub(crate) mod last_resort;
pub(crate) mod logind;
pub(crate) mod shutdowns;

#[cfg(test)]
pub(crate) mod test_bus;
#[cfg(test)]
pub(crate) mod test_logind;
