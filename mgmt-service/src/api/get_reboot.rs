//! `GetReboot`.

use iothubdm_proto::v1::{GetRebootRequest, RebootAttempt};

use super::{convert, parse};
use crate::{error::Error, service::Service};

pub(super) async fn get(
    service: &Service,
    request: &GetRebootRequest,
) -> Result<RebootAttempt, Error> {
    let (device, id) = parse::reboot_in_name(&request.name)?;
    let log = service.log(&device, id).await?;
    Ok(convert::attempt(&log.now().attempt.view))
}
