//! What the journal says while no gateway runs.

use crate::{
    causes::chain,
    config::Config,
    instruments::{DeviceStatus, Status, Trouble},
    storage::{Kept, Storage, StorageError},
};

/// Reads where everything stood when the gateway ended. The journal is left as it is, even if it would
/// have to be repaired.
pub async fn kept(config: &Config) -> Result<Status, StorageError> {
    let storage = Storage::snapshot(&config.state_dir)?;
    let mut status = Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trouble: Some("the gateway does not run".to_owned()),
        ..Status::default()
    };
    for device in &config.devices {
        let stood = match storage.load(&device.id).await {
            Ok(kept) => stood(&kept),
            Err(error @ StorageError::Damaged { .. }) => DeviceStatus {
                journal_error: Some(Box::new(Trouble::now(chain(&error)))),
                ..DeviceStatus::default()
            },
            Err(error) => return Err(error),
        };
        status.devices.insert(device.id.to_string(), stood);
    }
    Ok(status)
}

fn stood(kept: &Kept) -> DeviceStatus {
    let open = kept.journal.open.as_ref().map(|attempt| &attempt.report);
    let newest = kept.journal.newest.as_deref();
    DeviceStatus {
        undelivered: !kept.outbox.is_settled(),
        attempt: open
            .map(|report| Box::new((report.request_id.to_string(), report.state.to_string()))),
        ended: newest.map(|report| Box::new(Trouble::of_ended(report))),
        ..DeviceStatus::default()
    }
}
