//! What is kept of jobs over a restart.
//!
//! A job that was running goes on with the devices that it had not begun with. What became of
//! those that it had is not known, and they have failed.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

use iot_hub::error::{ErrorCode, HubError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::device::DeviceRecord;
use super::{Job, JobId, JobRequest, JobStatus, Jobs};
use crate::hub::kept::Line;
use crate::hub::{EntityId, Hub, RecordError};

/// A job without its devices, of which there may be many.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobRecord {
    number: u64,
    /// As the service asked for it.
    request: Value,
    created: Timestamp,
    ended: Option<Timestamp>,
    status: JobStatus,
    failure: Option<String>,
}

/// Which jobs changed, and which devices of them.
#[derive(Debug, Default)]
pub(super) struct Changed {
    jobs: BTreeSet<JobId>,
    devices: BTreeSet<(JobId, EntityId)>,
}

impl Jobs {
    pub(in crate::hub) fn follow_changes(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// Notes that a job changed, or goes.
    pub(super) fn note(&mut self, id: &JobId) {
        if let Some(changed) = &mut self.changed
            && self.jobs.contains_key(id)
        {
            changed.jobs.insert(id.clone());
        }
    }

    /// Notes that a job and one of its devices changed.
    pub(super) fn note_device(&mut self, id: &JobId, device: &EntityId) {
        self.note(id);
        if let Some(changed) = &mut self.changed {
            changed.devices.insert((id.clone(), device.clone()));
        }
    }

    /// Notes that a job and all of its devices changed.
    pub(super) fn note_all(&mut self, id: &JobId) {
        self.note(id);
        if let (Some(changed), Some(job)) = (&mut self.changed, self.jobs.get(id)) {
            let devices = job.devices.keys();
            let devices = devices.map(|device| (id.clone(), device.clone()));
            changed.devices.extend(devices);
        }
    }

    pub(in crate::hub) fn take_changed(&mut self) -> Vec<Line> {
        let changed = self.changed.as_mut().map(mem::take).unwrap_or_default();
        let jobs = changed
            .jobs
            .iter()
            .map(|id| job_line(id, self.jobs.get(id)));
        let devices = changed.devices.iter().filter_map(|(id, device)| {
            let job = self.jobs.get(id)?;
            Some(device_line(
                id,
                device,
                job.devices.get(device)?.to_record(),
            ))
        });
        jobs.chain(devices).collect()
    }

    pub(in crate::hub) fn lines(&self) -> impl Iterator<Item = Line> {
        self.jobs.iter().flat_map(|(id, job)| {
            let devices = job.devices.iter();
            let devices = devices.map(|(device, state)| device_line(id, device, state.to_record()));
            std::iter::once(job_line(id, Some(job))).chain(devices)
        })
    }
}

impl Hub {
    /// Takes a job back as it was when the hub ended.
    pub(in crate::hub) fn restore_job(
        &mut self,
        id: JobId,
        record: JobRecord,
        devices: BTreeMap<EntityId, DeviceRecord>,
    ) -> Result<(), RecordError> {
        let request = JobRequest::read(&id, record.request.to_string().as_bytes());
        let lost = HubError::new(
            ErrorCode::ServerError,
            "the hub restarted while the job was at work on the device",
        );
        let devices = devices.into_iter();
        let job = Job {
            number: record.number,
            request: request.map_err(RecordError::Request)?,
            created: record.created,
            ended: record.ended,
            status: match record.status {
                JobStatus::Running => JobStatus::Queued,
                status @ (JobStatus::Queued
                | JobStatus::Completed
                | JobStatus::Failed
                | JobStatus::Cancelled) => status,
            },
            failure: record.failure,
            devices: devices
                .map(|(id, record)| (id, record.into_device(&lost)))
                .collect(),
        };
        self.jobs.last_number = self.jobs.last_number.max(job.number);
        self.jobs.jobs.insert(id, job);
        Ok(())
    }
}

fn job_line(id: &JobId, job: Option<&Job>) -> Line {
    Line::Job {
        id: id.as_str().to_owned(),
        state: job.map(|job| {
            Box::new(JobRecord {
                number: job.number,
                request: job.request.to_body(),
                created: job.created,
                ended: job.ended,
                status: job.status,
                failure: job.failure.clone(),
            })
        }),
    }
}

fn device_line(id: &JobId, device: &EntityId, state: DeviceRecord) -> Line {
    Line::JobDevice {
        job: id.as_str().to_owned(),
        device: device.device.clone(),
        module: device.module.clone(),
        state,
    }
}
