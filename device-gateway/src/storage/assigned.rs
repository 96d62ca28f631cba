//! Which hub each device had last, so that a start does without the provisioning service.

use iot_hub::{
    identity::DeviceId,
    provisioning::{Assignment, RegistrationId},
};
use redb::TableDefinition;
use serde::{Deserialize, Serialize};

use super::{Storage, StorageError, from_bytes, read};

/// Device → its hub.
pub(super) const ASSIGNED: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("assigned");

/// What the provisioning service said, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assigned {
    /// The part of the service.
    pub scope: String,
    /// The device's name there.
    pub registration: RegistrationId,
    /// The device's hub.
    pub assignment: Assignment,
}

impl Storage {
    /// Reads which hub a device had.
    pub async fn load_assigned(&self, device: &DeviceId) -> Result<Option<Assigned>, StorageError> {
        let device = device.clone();
        self.reading(move |database| {
            let found = read(database, |transaction| {
                let table = transaction.open_table(ASSIGNED)?;
                let found = table.get(device.as_str())?;
                Ok(found.map(|value| value.value().to_vec()))
            })?;
            found
                .map(|bytes| from_bytes(&bytes, "hub", &device))
                .transpose()
        })
        .await
    }

    /// Writes and syncs which hub a device has.
    pub async fn write_assigned(
        &self,
        device: &DeviceId,
        assigned: Assigned,
    ) -> Result<(), StorageError> {
        self.write_document(ASSIGNED, device, &assigned).await
    }
}
