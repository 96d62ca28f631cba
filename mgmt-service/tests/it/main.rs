//! The service as its callers see it, over the emulated hub and a device that each test scripts.

mod ambiguous;
mod bad_input;
mod cancel;
mod device;
mod devices;
mod idempotence;
mod native;
mod offline;
mod readiness;
mod restart;
mod tutorial;
mod watching;
mod world;
