//! One device's share of a job.

use iot_hub::error::{ErrorCode, HubError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JobId, print};
use crate::hub::EntityId;

pub(super) const PENDING: &str = "pending";
pub(super) const RUNNING: &str = "running";
pub(super) const COMPLETED: &str = "completed";
pub(super) const FAILED: &str = "failed";
/// With one `l`, while a job's state has two.
const CANCELED: &str = "canceled";

/// What became of a device in a job: the `outcome` document, or why there is none.
pub(crate) type DeviceOutcome = Result<Value, HubError>;

#[derive(Debug)]
pub(super) struct DeviceJob {
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    status: Status,
}

/// What is kept of it over a restart.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DeviceRecord {
    created: Timestamp,
    started: Option<Timestamp>,
    ended: Option<Timestamp>,
    status: StatusRecord,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
enum StatusRecord {
    Pending,
    Running,
    Completed(Value),
    Failed {
        status: u16,
        /// The documented code, if it has one.
        code: Option<u32>,
        message: String,
    },
    Canceled,
}

#[derive(Debug)]
enum Status {
    Pending,
    Running,
    Completed(Value),
    Failed(HubError),
    Canceled,
}

impl DeviceRecord {
    /// The device as it is after a restart; one that was at work has failed for this reason.
    pub(super) fn into_device(self, lost: &HubError) -> DeviceJob {
        let status = match self.status {
            StatusRecord::Pending => Status::Pending,
            StatusRecord::Running => Status::Failed(lost.clone()),
            StatusRecord::Completed(outcome) => Status::Completed(outcome),
            StatusRecord::Failed {
                status,
                code,
                message,
            } => Status::Failed(HubError {
                status,
                code: code.and_then(ErrorCode::from_number),
                message,
                info: None,
            }),
            StatusRecord::Canceled => Status::Canceled,
        };
        DeviceJob {
            created: self.created,
            started: self.started,
            ended: self.ended,
            status,
        }
    }
}

impl DeviceJob {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            created: now,
            started: None,
            ended: None,
            status: Status::Pending,
        }
    }

    pub(super) fn to_record(&self) -> DeviceRecord {
        DeviceRecord {
            created: self.created,
            started: self.started,
            ended: self.ended,
            status: match &self.status {
                Status::Pending => StatusRecord::Pending,
                Status::Running => StatusRecord::Running,
                Status::Completed(outcome) => StatusRecord::Completed(outcome.clone()),
                Status::Failed(error) => StatusRecord::Failed {
                    status: error.status,
                    code: error.code.map(ErrorCode::number),
                    message: error.message.clone(),
                },
                Status::Canceled => StatusRecord::Canceled,
            },
        }
    }

    pub(super) fn begin(&mut self, now: Timestamp) {
        if !self.is_over() {
            self.started = Some(now);
            self.status = Status::Running;
        }
    }

    pub(super) fn end(&mut self, outcome: DeviceOutcome, now: Timestamp) {
        let status = match outcome {
            Ok(outcome) => Status::Completed(outcome),
            Err(error) => Status::Failed(error),
        };
        self.end_as(status, now);
    }

    pub(super) fn cancel(&mut self, now: Timestamp) {
        self.end_as(Status::Canceled, now);
    }

    pub(super) fn time_out(&mut self, now: Timestamp) {
        let error = HubError::new(ErrorCode::JobCancelled, "the job's time is over");
        self.end_as(Status::Failed(error), now);
    }

    fn end_as(&mut self, status: Status, now: Timestamp) {
        if !self.is_over() {
            self.ended = Some(now);
            self.status = status;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        match &self.status {
            Status::Pending | Status::Running => false,
            Status::Completed(_) | Status::Failed(_) | Status::Canceled => true,
        }
    }

    pub(super) fn status_name(&self) -> &'static str {
        match &self.status {
            Status::Pending => PENDING,
            Status::Running => RUNNING,
            Status::Completed(_) => COMPLETED,
            Status::Failed(_) => FAILED,
            Status::Canceled => CANCELED,
        }
    }

    pub(super) fn to_value(&self, id: &EntityId, job: &JobId, kind: &str) -> Value {
        let last = self.ended.or(self.started).unwrap_or(self.created);
        let mut value = json!({
            "deviceId": id.device,
            "jobId": job.as_str(),
            "jobType": kind,
            "status": self.status_name(),
            "startTimeUtc": self.started.map(print),
            "endTimeUtc": self.ended.map(print),
            "createdDateTimeUtc": print(self.created),
            "lastUpdatedDateTimeUtc": print(last),
        });
        if let Some(module) = &id.module {
            value["moduleId"] = json!(module);
        }
        match &self.status {
            Status::Pending | Status::Running | Status::Canceled => {}
            Status::Completed(outcome) => value["outcome"] = outcome.clone(),
            Status::Failed(error) => {
                let code = error.code.map(|code| code.number().to_string());
                value["error"] = json!({"code": code, "description": error.message});
            }
        }
        value
    }
}
