//! The gateway with a real hub emulator, over TLS on loopback, and a device that is scripted.

#![expect(clippy::unwrap_used, reason = "a test's helper may fail the test")]

mod ask;
mod away;
mod device;
mod fallen;
mod family;
mod hub;
mod identities;
mod link;
mod outlet;
mod proxy;
mod reboot;
mod reload;
mod restored;
mod scale;
mod systemd;
mod transports;
mod trouble;
mod world;
