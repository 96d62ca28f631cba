//! What a caller of the service does.

use iothubdm_proto::v1::{
    CancelRebootRequest, GetRebootRequest, RebootAttempt, RebootEvent, RebootRequest,
    WatchRebootRequest, device_management_client::DeviceManagementClient,
};
use tonic::{Status, Streaming, transport::Channel};

use super::{PATIENCE, World};
use crate::{process::eventually, watch::Watched};

impl World {
    /// A client of the service.
    pub fn client(&self) -> DeviceManagementClient<Channel> {
        self.client.clone().expect("the service runs")
    }

    /// Asks for a reboot of a device, with the defaults.
    pub async fn reboot(&self, device: &str) -> Result<RebootAttempt, Status> {
        self.request(request(device)).await
    }

    /// Asks for a reboot.
    pub async fn request(&self, request: RebootRequest) -> Result<RebootAttempt, Status> {
        self.client()
            .reboot(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Begins to watch an attempt, after a token where one is given.
    pub async fn watch(&self, name: &str, token: &str) -> Result<Streaming<RebootEvent>, Status> {
        let request = WatchRebootRequest {
            name: name.to_owned(),
            resume_token: token.to_owned(),
        };
        self.client()
            .watch_reboot(request)
            .await
            .map(tonic::Response::into_inner)
    }

    /// Watches an attempt to its end.
    pub async fn watch_to_end(&self, name: &str) -> Watched {
        let stream = self.watch(name, "").await.unwrap_or_else(|status| {
            panic!("watch {name}: {status:?}; logs:\n{}", self.logs());
        });
        tokio::time::timeout(PATIENCE, Watched::to_end(stream))
            .await
            .unwrap_or_else(|_| {
                panic!("{name} did not end; logs:\n{}", self.logs());
            })
    }

    /// Reboots a device and watches the attempt to its end.
    pub async fn reboot_to_end(&self, device: &str) -> RebootAttempt {
        let attempt = self.reboot(device).await.expect("ask for a reboot");
        self.watch_to_end(&attempt.name).await.verdict().clone()
    }

    /// Reads an attempt.
    pub async fn get(&self, name: &str) -> RebootAttempt {
        let request = GetRebootRequest {
            name: name.to_owned(),
        };
        self.client()
            .get_reboot(request)
            .await
            .expect("read an attempt")
            .into_inner()
    }

    /// Waits until an attempt satisfies a condition.
    pub async fn until(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&RebootAttempt) -> bool,
    ) -> RebootAttempt {
        eventually(what, PATIENCE, async || {
            Some(self.get(name).await).filter(&holds)
        })
        .await
    }

    /// Asks to cancel an attempt.
    pub async fn cancel(&self, name: &str) -> Result<RebootAttempt, Status> {
        let request = CancelRebootRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        self.client()
            .cancel_reboot(request)
            .await
            .map(tonic::Response::into_inner)
    }
}

/// A request for a reboot of a device, with the defaults.
pub fn request(device: &str) -> RebootRequest {
    RebootRequest {
        device: format!("devices/{device}"),
        ..Default::default()
    }
}
