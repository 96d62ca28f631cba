//! The service as its callers see it, over the emulated hub and a device that each test scripts.

#[cfg(test)]
mod access;
#[cfg(test)]
mod ambiguous;
#[cfg(test)]
mod audit;
#[cfg(test)]
mod bad_input;
#[cfg(test)]
mod cancel;
#[cfg(test)]
mod device;
#[cfg(test)]
mod devices;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod hanging;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod hub;
#[cfg(test)]
mod idempotence;
#[cfg(test)]
mod keys;
#[cfg(test)]
mod metrics;
mod native;
#[cfg(test)]
mod offline;
#[cfg(test)]
mod process;
#[cfg(test)]
mod quota;
#[cfg(test)]
mod readiness;
#[cfg(test)]
mod restart;
#[cfg(test)]
mod secured;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod stopping;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod tutorial;
#[cfg(test)]
mod watching;
#[cfg(test)]
mod world;
