//! Telemetry on disk: each message of a device under its number.
//!
//! A message is on disk before the device is told that it was taken. What the hub has is removed
//! without a sync: after a power cut some of it is there again, and is sent again.

use iot_hub::identity::DeviceId;
use redb::{TableDefinition, WriteTransaction};

use super::{Storage, StorageError, read};

pub(super) const TELEMETRY: TableDefinition<'_, (&str, u64), &[u8]> =
    TableDefinition::new("telemetry");

/// A message to be written.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) device: DeviceId,
    pub(crate) number: u64,
    pub(crate) body: Vec<u8>,
    /// What is removed in the same transaction.
    pub(crate) remove: Vec<u64>,
}

impl Storage {
    /// Writes and syncs a message.
    pub(crate) async fn append(&self, append: Append) -> Result<(), StorageError> {
        let work = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(TELEMETRY)?;
            let device = append.device.as_str();
            table.insert((device, append.number), append.body.as_slice())?;
            for number in &append.remove {
                table.remove((device, *number))?;
            }
            Ok(())
        };
        self.write(true, Box::new(work)).await
    }

    /// Reads messages; what is not there is left out.
    pub(crate) async fn telemetry(
        &self,
        device: &DeviceId,
        numbers: Vec<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        let device = device.clone();
        self.reading(move |database| {
            read(database, |transaction| {
                let table = transaction.open_table(TELEMETRY)?;
                let mut found = Vec::new();
                for number in numbers {
                    if let Some(body) = table.get((device.as_str(), number))? {
                        found.push((number, body.value().to_vec()));
                    }
                }
                Ok(found)
            })
        })
        .await
    }

    /// Removes messages that the hub has.
    pub(crate) async fn forget(
        &self,
        device: &DeviceId,
        numbers: Vec<u64>,
    ) -> Result<(), StorageError> {
        let device = device.clone();
        let work = move |transaction: &WriteTransaction| {
            let mut table = transaction.open_table(TELEMETRY)?;
            for number in numbers {
                table.remove((device.as_str(), number))?;
            }
            Ok(())
        };
        self.write(false, Box::new(work)).await
    }
}

/// The numbers and sizes of a device's messages.
pub(super) fn sizes(
    transaction: &redb::ReadTransaction,
    device: &str,
) -> Result<Vec<(u64, usize)>, redb::Error> {
    transaction
        .open_table(TELEMETRY)?
        .range((device, 0)..=(device, u64::MAX))?
        .map(|entry| {
            let (key, body) = entry?;
            Ok((key.value().1, body.value().len()))
        })
        .collect()
}
