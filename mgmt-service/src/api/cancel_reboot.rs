//! `CancelReboot`.

use iot_hub::reboot::MAX_REASON_CHARS;
use iothubdm_proto::v1::{CancelRebootRequest, RebootAttempt};

use super::{convert, parse, parse::Fields};
use crate::{
    error::Error,
    service::{Caller, Service},
};

pub(super) async fn cancel(
    service: &Service,
    request: &CancelRebootRequest,
    caller: &Caller,
) -> Result<RebootAttempt, Error> {
    let mut fields = Fields::default();
    let reason = if request.reason.chars().count() > MAX_REASON_CHARS {
        Err("must have at most 256 characters")
    } else {
        Ok(request.reason.as_str())
    };
    fields.take("reason", reason);
    fields.check()?;
    let (device, id) = parse::reboot_in_name(&request.name)?;
    let view = service
        .cancel(&device, id, &request.reason, request.abandon, caller)
        .await?;
    Ok(convert::attempt(&view))
}
