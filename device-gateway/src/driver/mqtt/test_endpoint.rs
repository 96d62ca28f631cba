//! An endpoint for one device of known firmware, and the dark of a fake of that.

use std::{net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time};
use tokio_util::sync::CancellationToken;

use crate::{
    driver::conformance::FakeDevice,
    local_mqtt::{Elsewhere, LocalDevice, LocalMqtt, test_device::DEVICE},
};

/// An endpoint for one device that has those topics.
pub(super) async fn endpoint(
    tasks: &mut JoinSet<()>,
    topics: Elsewhere,
) -> (SocketAddr, LocalDevice) {
    let loopback = ([127, 0, 0, 1], 0).into();
    let endpoint = LocalMqtt::bind(loopback, []).await.unwrap();
    let accounts = endpoint.accounts();
    let (id, password) = DEVICE;
    let device = accounts.admit(id, Some(password.into()), topics).unwrap();
    let address = endpoint.local_addr();
    tasks.spawn(endpoint.serve(CancellationToken::new()));
    (address, device)
}

/// Waits until a device that went dark is back.
pub(super) async fn until_back(fake: &FakeDevice) {
    while fake.look().is_none() {
        time::sleep(Duration::from_millis(20)).await;
    }
}
