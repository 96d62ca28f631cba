//! Jobs: one method call or twin update for many devices, now or at a later time.
//!
//! ```text
//!            start time                   every device done
//!   queued ─────────────► running ─────────────────────────────► completed
//!      │                     │  ├── condition is no query, time is up ──► failed
//!      └────── cancelled ────┘  └── cancel ──► cancelled
//! ```
//!
//! What runs them is [`crate::executor`]; here is what is known about them.

use std::collections::BTreeMap;
use std::time::Duration;

use iot_hub::error::{ErrorCode, HubError};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::device::DeviceJob;
pub(crate) use self::device::{DeviceOutcome, DeviceRecord};
use self::record::Changed;
pub(crate) use self::record::JobRecord;
pub(crate) use self::request::{JobId, JobRequest, Work};
use super::{EntityId, Hub};

mod device;
mod record;
mod request;
#[cfg(test)]
mod tests;

/// How long an ended job is remembered.
const HISTORY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The jobs that the hub knows.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    jobs: BTreeMap<JobId, Job>,
    last_number: u64,
    /// What changed; `None` while nobody wants to know.
    changed: Option<Changed>,
}

#[derive(Debug)]
struct Job {
    /// Orders jobs by their making.
    number: u64,
    request: JobRequest,
    created: Timestamp,
    ended: Option<Timestamp>,
    status: JobStatus,
    failure: Option<String>,
    devices: BTreeMap<EntityId, DeviceJob>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum JobStatus {
    Queued,
    Running,
    Completed,
    Failed,
    Cancelled,
}

/// What is to be done for a job that starts.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    pub(crate) work: Work,
    pub(crate) devices: Vec<EntityId>,
    pub(crate) time_limit: Duration,
}

impl Hub {
    /// Takes a job. With `max_active`, fails when so many wait for no start time and have not
    /// ended.
    pub(crate) fn create_job(
        &mut self,
        id: JobId,
        request: JobRequest,
        max_active: Option<usize>,
        now: Timestamp,
    ) -> Result<Value, HubError> {
        self.jobs.forget_old(now);
        let Jobs {
            jobs, last_number, ..
        } = &mut self.jobs;
        if jobs.contains_key(&id) {
            return Err(HubError::new(
                ErrorCode::JobAlreadyExists,
                format!("A job with ID '{id}' already exists."),
            ));
        }
        let active = jobs.values().filter(|job| job.is_active(now)).count();
        if request.start <= now && max_active.is_some_and(|max| active >= max) {
            return Err(HubError::new(
                ErrorCode::ThrottlingMaxActiveJobCountExceeded,
                format!("{active} jobs are active, which is all that the tier allows"),
            ));
        }
        *last_number += 1;
        let job = Job {
            number: *last_number,
            request,
            created: now,
            ended: None,
            status: JobStatus::Queued,
            failure: None,
            devices: BTreeMap::new(),
        };
        let value = job.to_value(&id);
        self.jobs.jobs.insert(id.clone(), job);
        self.jobs.note(&id);
        Ok(value)
    }

    /// A job, as the API prints it.
    pub(crate) fn job(&self, id: &JobId) -> Result<Value, HubError> {
        let job = self.jobs.jobs.get(id).ok_or_else(|| not_found(id))?;
        Ok(job.to_value(id))
    }

    /// The jobs of a type and in a state, oldest first.
    pub(crate) fn list_jobs(&self, kind: Option<&str>, status: Option<&str>) -> Vec<Value> {
        let fits = |wanted: Option<&str>, name: &str| {
            wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
        };
        let mut found: Vec<(&JobId, &Job)> = self
            .jobs
            .jobs
            .iter()
            .filter(|(_, job)| {
                fits(kind, job.request.work.name()) && fits(status, job.status.name())
            })
            .collect();
        found.sort_unstable_by_key(|(_, job)| job.number);
        found
            .into_iter()
            .map(|(id, job)| job.to_value(id))
            .collect()
    }

    /// Ends a job before its time; one that has ended stays as it is.
    pub(crate) fn cancel_job(&mut self, id: &JobId, now: Timestamp) -> Result<Value, HubError> {
        self.jobs.note_all(id);
        let job = self.jobs.jobs.get_mut(id).ok_or_else(|| not_found(id))?;
        if job.ended.is_none() {
            for device in job.devices.values_mut() {
                device.cancel(now);
            }
            job.end(JobStatus::Cancelled, None, now);
        }
        Ok(job.to_value(id))
    }

    /// The time of the next start, if a job waits for one.
    pub(crate) fn next_job_start(&self) -> Option<Timestamp> {
        let waiting = self.jobs.jobs.values();
        waiting
            .filter(|job| job.status == JobStatus::Queued)
            .map(|job| job.request.start)
            .min()
    }

    /// The first of the jobs whose start time has come.
    pub(crate) fn due_job(&self, now: Timestamp) -> Option<JobId> {
        self.jobs
            .jobs
            .iter()
            .filter(|(_, job)| job.status == JobStatus::Queued && job.request.start <= now)
            .min_by_key(|(_, job)| (job.request.start, job.number))
            .map(|(id, _)| id.clone())
    }

    /// Starts a job: finds out which devices it is for, unless it was running when the hub ended
    /// and knows them. `None` when there is nothing to do.
    pub(crate) fn start_job(&mut self, id: &JobId, now: Timestamp) -> Option<Started> {
        let job = self.jobs.jobs.get(id)?;
        if job.status != JobStatus::Queued {
            return None;
        }
        let target = job.request.target();
        let found = target.map(|query| query.evaluate(&mut self.rows(query.source()).into_iter()));
        self.jobs.note(id);
        let job = self.jobs.jobs.get_mut(id)?;
        let rows = match found {
            Ok(rows) => rows,
            Err(error) => {
                job.end(JobStatus::Failed, Some(error.message), now);
                return None;
            }
        };
        job.status = JobStatus::Running;
        if job.devices.is_empty() {
            job.devices = rows
                .iter()
                .filter_map(entity_of)
                .map(|id| (id, DeviceJob::new(now)))
                .collect();
        }
        job.complete_if_done(now);
        let to_do = job.devices.iter().filter(|(_, device)| !device.is_over());
        let started = Started {
            work: job.request.work.clone(),
            devices: to_do.map(|(id, _)| id.clone()).collect(),
            time_limit: job.request.max_execution,
        };
        self.jobs.note_all(id);
        Some(started)
    }

    /// Whether a job still has something to do.
    pub(crate) fn job_is_running(&self, id: &JobId) -> bool {
        let job = self.jobs.jobs.get(id);
        job.is_some_and(|job| job.status == JobStatus::Running)
    }

    /// Notes that a job begins with a device.
    pub(crate) fn job_begins(&mut self, id: &JobId, device: &EntityId, now: Timestamp) {
        if let Some(device) = self.running_device(id, device) {
            device.begin(now);
        }
    }

    /// Notes what became of a device; the last one completes the job.
    pub(crate) fn job_ends(
        &mut self,
        id: &JobId,
        device: &EntityId,
        outcome: DeviceOutcome,
        now: Timestamp,
    ) {
        if let Some(device) = self.running_device(id, device) {
            device.end(outcome, now);
        }
        self.jobs.note(id);
        if let Some(job) = self.jobs.jobs.get_mut(id) {
            job.complete_if_done(now);
        }
    }

    /// Ends a job whose time is up.
    pub(crate) fn job_times_out(&mut self, id: &JobId, now: Timestamp) {
        self.jobs.note_all(id);
        let Some(job) = self.jobs.jobs.get_mut(id) else {
            return;
        };
        if job.status == JobStatus::Running {
            for device in job.devices.values_mut() {
                device.time_out(now);
            }
            let reason = "maxExecutionTimeInSeconds is over".to_owned();
            job.end(JobStatus::Failed, Some(reason), now);
        }
    }

    /// What jobs did to devices, one document each.
    pub(super) fn job_rows(&self) -> Vec<Value> {
        let mut jobs: Vec<(&JobId, &Job)> = self.jobs.jobs.iter().collect();
        jobs.sort_unstable_by_key(|(_, job)| job.number);
        let rows = jobs.into_iter().flat_map(|(id, job)| {
            let kind = job.request.work.name();
            let devices = job.devices.iter();
            devices.map(move |(device, result)| result.to_value(device, id, kind))
        });
        rows.collect()
    }

    /// A device of a running job, to be changed.
    fn running_device(&mut self, id: &JobId, device: &EntityId) -> Option<&mut DeviceJob> {
        self.jobs.note_device(id, device);
        let job = self.jobs.jobs.get_mut(id)?;
        if job.status != JobStatus::Running {
            return None;
        }
        job.devices.get_mut(device)
    }
}

impl Jobs {
    fn forget_old(&mut self, now: Timestamp) {
        let is_old = |job: &Job| {
            job.ended
                .is_some_and(|ended| now.duration_since(ended) >= HISTORY)
        };
        let old = self.jobs.iter().filter(|(_, job)| is_old(job));
        let old: Vec<JobId> = old.map(|(id, _)| id.clone()).collect();
        for id in old {
            self.note(&id);
            self.jobs.remove(&id);
        }
    }
}

impl Job {
    fn is_active(&self, now: Timestamp) -> bool {
        self.ended.is_none() && self.request.start <= now
    }

    fn complete_if_done(&mut self, now: Timestamp) {
        let done = self.devices.values().all(DeviceJob::is_over);
        if self.status == JobStatus::Running && done {
            self.end(JobStatus::Completed, None, now);
        }
    }

    fn end(&mut self, status: JobStatus, failure: Option<String>, now: Timestamp) {
        self.status = status;
        self.failure = failure;
        self.ended = Some(now);
    }

    fn to_value(&self, id: &JobId) -> Value {
        let count = |name: &str| {
            let statuses = self.devices.values().map(DeviceJob::status_name);
            statuses.filter(|status| *status == name).count()
        };
        let mut value = json!({
            "jobId": id.as_str(),
            "createdTime": print(self.created),
            "startTime": print(self.request.start),
            "endTime": self.ended.map(print),
            "maxExecutionTimeInSeconds": self.request.max_execution.as_secs(),
            "queryCondition": self.request.condition,
            "type": self.request.work.name(),
            "cloudToDeviceMethod": null,
            "updateTwin": null,
            "status": self.status.name(),
            "failureReason": self.failure,
            "statusMessage": null,
            "deviceJobStatistics": {
                "deviceCount": self.devices.len(),
                "failedCount": count(device::FAILED),
                "succeededCount": count(device::COMPLETED),
                "runningCount": count(device::RUNNING),
                "pendingCount": count(device::PENDING),
            },
            "deviceId": null,
            "parentJobId": null,
        });
        let (field, body) = self.request.work.body();
        value[field] = body.clone();
        value
    }
}

impl JobStatus {
    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Which identity a twin belongs to.
pub(super) fn entity_of(twin: &Value) -> Option<EntityId> {
    let module = twin.get("moduleId").and_then(Value::as_str);
    Some(EntityId {
        device: twin.get("deviceId")?.as_str()?.parse().ok()?,
        module: module.map(str::parse).transpose().ok()?,
    })
}

/// A time as the API prints it, with the seven decimals of .NET.
pub(super) fn print(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.7fZ").to_string()
}

fn not_found(id: &JobId) -> HubError {
    HubError::new(ErrorCode::JobNotFound, format!("Job {id} not found"))
}
