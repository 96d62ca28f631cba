//! `GetReboot`.

use iothubdm_proto::v1::{GetRebootRequest, RebootAttempt};

use super::{convert, parse, permit::Permit};
use crate::{error::Error, service::Service};

pub(super) async fn get(
    service: &Service,
    request: &GetRebootRequest,
    permit: &Permit,
) -> Result<RebootAttempt, Error> {
    let (device, id) = parse::reboot_in_name(&request.name)?;
    permit.see_attempt(&device, id).await?;
    let log = service.log(&device, id).await?;
    Ok(convert::attempt(&log.now().attempt.view))
}
