//! The emulator from outside: TLS, MQTT and HTTPS over loopback.

#[cfg(test)]
mod admin;
#[cfg(test)]
mod browser;
#[cfg(test)]
mod bulk;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod cloud_to_device;
#[cfg(test)]
mod configurations;
#[cfg(test)]
mod device;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod methods;
#[cfg(test)]
mod modules;
#[cfg(test)]
mod mqtt;
#[cfg(test)]
mod page;
#[cfg(test)]
mod provisioning;
#[cfg(test)]
mod rest;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod service;
#[cfg(test)]
mod state;
#[cfg(test)]
mod throttle;
#[cfg(test)]
mod tool;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod websocket;
