//! Telemetry on disk: each message of a device under its number.
//!
//! A message is on disk before the device is told that it was taken. Devices that wait at the same
//! moment share one synced transaction, for a sync is what takes the time. What the hub has is removed
//! without one: after a power cut some of it is there again, and is sent again.

use std::sync::{Arc, PoisonError};

use iot_hub::identity::DeviceId;
use redb::{Durability, TableDefinition};
use tokio::{sync::oneshot, task};

use super::{Storage, StorageError, read, transact};

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

/// A message that waits for its transaction.
#[derive(Debug)]
pub(super) struct Pending {
    append: Append,
    done: oneshot::Sender<Result<(), Arc<StorageError>>>,
}

impl Storage {
    /// Writes and syncs a message.
    pub(crate) async fn append(&self, append: Append) -> Result<(), Arc<StorageError>> {
        let (done, told) = oneshot::channel();
        self.pending().push(Pending { append, done });
        let storage = self.clone();
        task::spawn_blocking(move || storage.write_pending());
        told.await
            .unwrap_or_else(|_| Err(Arc::new(StorageError::Panicked)))
    }

    /// Reads messages; what is not there is left out.
    pub(crate) async fn telemetry(
        &self,
        device: &DeviceId,
        numbers: Vec<u64>,
    ) -> Result<Vec<(u64, Vec<u8>)>, StorageError> {
        let device = device.clone();
        self.blocking(false, move |database| {
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
        self.blocking(false, move |database| {
            transact(
                database,
                |transaction| {
                    let mut table = transaction.open_table(TELEMETRY)?;
                    for number in numbers {
                        table.remove((device.as_str(), number))?;
                    }
                    Ok(())
                },
                Durability::None,
            )
        })
        .await
    }

    /// Writes all that waits. Whoever comes first does it for the others, who then find nothing left.
    fn write_pending(&self) {
        let mut batch = Vec::new();
        let written = self.with_database(|database| {
            batch = std::mem::take(&mut *self.pending());
            if batch.is_empty() {
                return Ok(());
            }
            transact(
                database,
                |transaction| {
                    let mut table = transaction.open_table(TELEMETRY)?;
                    for Pending { append, .. } in &batch {
                        let device = append.device.as_str();
                        table.insert((device, append.number), append.body.as_slice())?;
                        for number in &append.remove {
                            table.remove((device, *number))?;
                        }
                    }
                    Ok(())
                },
                Durability::Immediate,
            )
        });
        let written = written.map_err(Arc::new);
        if written.is_err() {
            // The file may not even be open.
            batch.append(&mut self.pending());
        }
        for Pending { done, .. } in batch {
            // Who does not wait any more is gone with its device.
            let _ = done.send(written.clone());
        }
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Vec<Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
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
