//! `CancelReboot`.

use iot_hub::reboot::MAX_REASON_CHARS;
use iothubdm_proto::v1::{CancelRebootRequest, RebootAttempt};

use super::{convert, parse, parse::Fields, permit::Permit};
use crate::{access::policy, error::Error, service::Service};

pub(super) async fn cancel(
    service: &Service,
    request: &CancelRebootRequest,
    permit: &Permit,
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
    let why = request.reason.as_str();
    // Whose attempt it is is known to those alone who may cancel at all.
    let least = policy::to_cancel(true, request.abandon);
    permit.cancel(&device, id, least, why).await?;
    let log = service.log(&device, id).await?;
    let own = log.now().attempt.owner == permit.caller.who;
    if !own {
        let needed = policy::to_cancel(false, request.abandon);
        permit.cancel(&device, id, needed, why).await?;
    }
    let view = service
        .cancel(&device, id, why, request.abandon, &permit.caller)
        .await?;
    Ok(convert::attempt(&view))
}
