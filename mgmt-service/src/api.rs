//! The gRPC API: messages to domain types and back. Nothing outside this module knows protobuf.
//!
//! Each call has a file of its own; what they share is in `parse` (messages in), `convert`
//! (messages out), `status` (errors), `token` (the opaque texts), `page` (lists) and `words` (filters). Who calls is found out in
//! `authenticate`, what it may do is asked of `permit`, and of `sight` for as long as it watches. `web` lets browsers call.

mod audit_filter;
mod authenticate;
mod cancel_reboot;
mod convert;
mod door;
mod filter;
pub mod fuzzing;
mod get_device;
mod get_reboot;
mod list_audit_events;
mod list_devices;
mod list_reboots;
mod page;
mod parse;
mod permit;
mod reboot;
mod serve;
mod sight;
mod status;
mod token;
mod watch_reboot;
mod web;
mod words;

use std::sync::Arc;

use iothubdm_proto::v1::{
    CancelRebootRequest, Device, GetDeviceRequest, GetRebootRequest, ListAuditEventsRequest,
    ListAuditEventsResponse, ListDevicesRequest, ListDevicesResponse, ListRebootsRequest,
    ListRebootsResponse, RebootAttempt, RebootEvent, RebootRequest, WatchRebootRequest,
    device_management_server::DeviceManagement,
};
use tonic::{Request, Response, Status};

use self::permit::Permit;
pub use self::serve::{ServeError, Served, serve};
use crate::{access::Access, audit::Auditor, error::Error, metrics::Instruments, service::Service};

/// The API over a service.
#[derive(Debug)]
struct Api {
    means: Arc<Means>,
}

/// What calls are answered with.
#[derive(Debug)]
struct Means {
    service: Service,
    instruments: Instruments,
    access: Access,
    auditor: Auditor,
    pace: watch_reboot::Pace,
}

#[tonic::async_trait]
impl DeviceManagement for Api {
    type WatchRebootStream = watch_reboot::NoStream<Result<RebootEvent, Status>>;

    async fn reboot(
        &self,
        request: Request<RebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let permit = self.permit(&request, "Reboot")?;
        let attempt = reboot::reboot(&self.means.service, request.into_inner(), &permit).await?;
        Ok(Response::new(attempt))
    }

    async fn watch_reboot(
        &self,
        request: Request<WatchRebootRequest>,
    ) -> Result<Response<Self::WatchRebootStream>, Status> {
        let permit = self.permit(&request, watch_reboot::CALL)?;
        let request = request.into_inner();
        let (device, id) = parse::reboot_in_name(&request.name)?;
        permit.see_attempt(&device, id).await?;
        let log = self.means.service.log(&device, id).await?;
        Ok(watch_reboot::watch(log, &request.resume_token, permit)?)
    }

    async fn get_reboot(
        &self,
        request: Request<GetRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let permit = self.permit(&request, "GetReboot")?;
        let attempt = get_reboot::get(&self.means.service, &request.into_inner(), &permit).await?;
        Ok(Response::new(attempt))
    }

    async fn list_reboots(
        &self,
        request: Request<ListRebootsRequest>,
    ) -> Result<Response<ListRebootsResponse>, Status> {
        let permit = self.permit(&request, "ListReboots")?;
        let page = list_reboots::list(&self.means.service, &request.into_inner(), &permit).await?;
        Ok(Response::new(page))
    }

    async fn cancel_reboot(
        &self,
        request: Request<CancelRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        let permit = self.permit(&request, "CancelReboot")?;
        let attempt =
            cancel_reboot::cancel(&self.means.service, &request.into_inner(), &permit).await?;
        Ok(Response::new(attempt))
    }

    async fn get_device(
        &self,
        request: Request<GetDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let permit = self.permit(&request, "GetDevice")?;
        let device = get_device::get(&self.means.service, &request.into_inner(), &permit).await?;
        Ok(Response::new(device))
    }

    async fn list_devices(
        &self,
        request: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        let permit = self.permit(&request, "ListDevices")?;
        let page = list_devices::list(&self.means.service, &request.into_inner(), &permit).await?;
        Ok(Response::new(page))
    }

    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let permit = self.permit(&request, "ListAuditEvents")?;
        let request = request.into_inner();
        let page = list_audit_events::list(&self.means.service, &request, &permit).await?;
        Ok(Response::new(page))
    }
}

impl Api {
    /// What the caller of a call may do.
    fn permit<T>(&self, request: &Request<T>, call: &'static str) -> Result<Permit, Error> {
        Permit::new(request, call, &self.means)
    }
}
