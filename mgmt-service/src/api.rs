//! The gRPC API: messages to domain types and back. Nothing outside this module knows protobuf.
//!
//! Each call has a file of its own; what they share is in `parse` (messages in), `convert`
//! (messages out), `status` (errors) and `token` (the opaque texts). `web` lets browsers call.

mod cancel_reboot;
mod convert;
mod door;
mod filter;
pub mod fuzzing;
mod get_device;
mod get_reboot;
mod list_devices;
mod list_reboots;
mod parse;
mod reboot;
mod serve;
mod status;
mod token;
mod watch_reboot;
mod web;

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _};
use iothubdm_proto::v1::{
    CancelRebootRequest, Device, GetDeviceRequest, GetRebootRequest, ListDevicesRequest,
    ListDevicesResponse, ListRebootsRequest, ListRebootsResponse, RebootAttempt, RebootEvent,
    RebootRequest, WatchRebootRequest, device_management_server::DeviceManagement,
};
use tonic::{Request, Response, Status};

pub use self::serve::{ServeError, Served, serve};
use crate::{
    metrics::Instruments,
    service::{Caller, Service},
};

/// The API over a service.
#[derive(Debug)]
struct Api {
    service: Service,
    instruments: Instruments,
    bookmark_interval: Duration,
    watch_age: Duration,
}

#[tonic::async_trait]
impl DeviceManagement for Api {
    type WatchRebootStream = Pin<Box<dyn Stream<Item = Result<RebootEvent, Status>> + Send>>;

    async fn reboot(
        &self,
        request: Request<RebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let caller = caller(&request);
        let attempt = reboot::reboot(&self.service, request.into_inner(), &caller).await?;
        Ok(Response::new(attempt))
    }

    async fn watch_reboot(
        &self,
        request: Request<WatchRebootRequest>,
    ) -> Result<Response<Self::WatchRebootStream>, Status> {
        let pace = watch_reboot::Pace {
            bookmarks: self.bookmark_interval,
            age: self.watch_age,
        };
        let stream = watch_reboot::watch(&self.service, &request.into_inner(), pace).await?;
        let watching = self.instruments.watching();
        let stream = stream.inspect(move |_| {
            // It is counted for as long as the stream is there.
            let _ = &watching;
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_reboot(
        &self,
        request: Request<GetRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let attempt = get_reboot::get(&self.service, &request.into_inner()).await?;
        Ok(Response::new(attempt))
    }

    async fn list_reboots(
        &self,
        request: Request<ListRebootsRequest>,
    ) -> Result<Response<ListRebootsResponse>, Status> {
        let page = list_reboots::list(&self.service, &request.into_inner()).await?;
        Ok(Response::new(page))
    }

    async fn cancel_reboot(
        &self,
        request: Request<CancelRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let caller = caller(&request);
        let attempt = cancel_reboot::cancel(&self.service, &request.into_inner(), &caller).await?;
        Ok(Response::new(attempt))
    }

    async fn get_device(
        &self,
        request: Request<GetDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let caller = caller(&request);
        let device = get_device::get(&self.service, &request.into_inner(), &caller).await?;
        Ok(Response::new(device))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let caller = caller(&request);
        let page = list_devices::list(&self.service, &request.into_inner(), &caller).await?;
        Ok(Response::new(page))
    }
}

/// Who calls. There are no credentials to tell names from.
fn caller<T>(request: &Request<T>) -> Caller {
    Caller {
        who: "anonymous".to_owned(),
        from: request
            .remote_addr()
            .map(|address| address.to_string())
            .unwrap_or_default(),
    }
}
