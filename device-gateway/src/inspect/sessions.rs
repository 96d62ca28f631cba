//! Whether each device's hub lets it in: by signing in once, or by asking the gateway that is signed in.
//!
//! A hub has one session for each device. Signing in a second time ends the first, so nobody signs in
//! while a gateway runs, or may run.

use std::{collections::BTreeSet, sync::Arc};

use futures_util::{StreamExt as _, stream};
use tokio::time;

use super::{Finding, LIMIT, running::Running, said};
use crate::{
    causes::chain,
    config::{Config, DeviceConfig},
    hub_link::{Dialer, Home, Link, Turnstile},
    storage::Storage,
};

/// How many devices sign in at once.
const AT_ONCE: usize = 8;

/// Looks at the session of each device; those of `unreachable` have a hub that cannot be reached.
pub(super) async fn check(
    config: &Config,
    dialer: &Dialer,
    running: &Running,
    unreachable: &BTreeSet<String>,
) -> Vec<Finding> {
    let turnstile = Arc::new(Turnstile::new(config.link.connects_per_second));
    let each = config.devices.iter().map(|device| {
        let turnstile = turnstile.clone();
        async move {
            let hub = super::host_of(config, device).map(ToString::to_string);
            let found = match running {
                _ if hub.is_some_and(|hub| unreachable.contains(&hub)) => {
                    Err("cannot sign in: its hub cannot be reached".to_owned())
                }
                Running::Nobody => sign_in(config, device, dialer.clone(), turnstile).await,
                Running::Tells(status) => match status.devices.get(device.id.as_str()) {
                    Some(told) if told.connected => {
                        Ok("is signed in by the gateway that runs".to_owned())
                    }
                    Some(_) => {
                        Err("is not signed in, though a gateway runs: its log says why".into())
                    }
                    None => Err("the gateway that runs does not hold it: reload that one".into()),
                },
                Running::IsSilent => certificate(device, dialer).await.map(|()| {
                    "not signed in: a gateway runs, and its session would end".to_owned()
                }),
                Running::Unknown(why) => certificate(device, dialer).await.map(|()| {
                    format!("not signed in: a gateway may run, which cannot be seen ({why})")
                }),
            };
            Finding::of(&device.id, found)
        }
    });
    stream::iter(each).buffered(AT_ONCE).collect().await
}

/// Signs in once, and hangs up. What the provisioning service says is not kept.
async fn sign_in(
    config: &Config,
    device: &DeviceConfig,
    dialer: Dialer,
    turnstile: Arc<Turnstile>,
) -> Result<String, String> {
    let home = Home::new(
        device.id.clone(),
        device.identity.clone(),
        Storage::in_memory(),
    );
    let (link, _handle) = Link::new(home, Arc::new(config.link.clone()), dialer, turnstile);
    match time::timeout(LIMIT, link.try_once()).await {
        Ok(Ok(hub)) => Ok(format!("signs in at {hub}")),
        Ok(Err(error)) => Err(format!("cannot sign in: {}", said(&error))),
        Err(_) => Err(format!("cannot sign in within {LIMIT:?}")),
    }
}

/// Looks at the device's certificate and key as a connection would.
async fn certificate(device: &DeviceConfig, dialer: &Dialer) -> Result<(), String> {
    match &device.identity.certificate {
        Some(files) => dialer
            .try_certificate(files)
            .await
            .map_err(|error| format!("cannot show a certificate: {}", chain(&error))),
        None => Ok(()),
    }
}
