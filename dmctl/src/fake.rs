//! A management service that answers from a script, for this crate's tests.
//!
//! It does not check anything: not names, not tokens, not filters, not the order of calls. It
//! keeps no attempts, so two calls agree only as far as their scripts do. What it was asked is
//! kept for the test to look at.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard},
};

use iothubdm_client::is_terminal;
use iothubdm_proto::v1::{
    AttemptError, AttemptState, AuditEvent, CancelRebootRequest, Device, Evidence, EvidenceGrade,
    GetDeviceRequest, GetRebootRequest, ListAuditEventsRequest, ListAuditEventsResponse,
    ListDevicesRequest, ListDevicesResponse, ListRebootsRequest, ListRebootsResponse,
    RebootAttempt, RebootEvent, RebootMode, RebootProgress, RebootRequest, TimelineEntry,
    WatchRebootRequest,
    device_management_server::{DeviceManagement, DeviceManagementServer},
    reboot_event::Event,
};
use jiff::{SignedDuration, Timestamp};
use tokio::{net::TcpListener, sync::Notify};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, transport::Server};

use crate::words;

/// The id of every attempt here.
pub(crate) const ID: &str = "0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a";

/// The name of every attempt here.
pub(crate) const NAME: &str = "devices/pump-1/reboots/0b6c4a52-7d3e-4c11-9a55-1f2e3d4c5b6a";

/// What the service answers. A list is used up; what is empty is UNIMPLEMENTED.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// Answers to `Reboot`, `GetReboot` and `CancelReboot`.
    pub(crate) attempts: VecDeque<Result<RebootAttempt, Status>>,
    /// This many calls of `Reboot` are never answered.
    pub(crate) unanswered: u32,
    /// One list of messages for each `WatchReboot`; a stream ends with its list.
    pub(crate) streams: VecDeque<Vec<Result<RebootEvent, Status>>>,
    /// Keep the last stream open after its list.
    pub(crate) hang: bool,
    /// Pages of attempts.
    pub(crate) pages: VecDeque<ListRebootsResponse>,
    /// Devices.
    pub(crate) devices: Vec<Device>,
    /// The audit.
    pub(crate) audit: Vec<AuditEvent>,
}

/// What the service was asked.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) reboots: Vec<RebootRequest>,
    pub(crate) watches: Vec<WatchRebootRequest>,
    pub(crate) cancels: Vec<CancelRebootRequest>,
    pub(crate) lists: Vec<ListRebootsRequest>,
    /// What each `GetDevice` showed to say who calls.
    pub(crate) authorization: Vec<Option<String>>,
}

/// The service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fake {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Asked>>,
    /// Notified when a call has come that is not answered.
    pub(crate) unanswered: Arc<Notify>,
}

impl Fake {
    /// Serves a script on a free port; returns the URL.
    pub(crate) async fn serve(script: Script) -> (Self, String) {
        let fake = Self {
            script: Arc::new(Mutex::new(script)),
            ..Self::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let service = DeviceManagementServer::new(fake.clone());
        tokio::spawn(
            Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        (fake, url)
    }

    /// Looks at what was asked.
    pub(crate) fn asked<T>(&self, look: impl FnOnce(&Asked) -> T) -> T {
        look(&self.asked.lock().unwrap())
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn asked_mut(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap()
    }

    fn next_attempt(&self) -> Result<Response<RebootAttempt>, Status> {
        let next = self.script().attempts.pop_front();
        next.unwrap_or_else(|| Err(Status::unimplemented("not in the script")))
            .map(Response::new)
    }
}

#[tonic::async_trait]
impl DeviceManagement for Fake {
    async fn reboot(
        &self,
        request: Request<RebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        self.asked_mut().reboots.push(request.into_inner());
        let is_answered = {
            let mut script = self.script();
            let left = script.unanswered.checked_sub(1);
            script.unanswered = left.unwrap_or_default();
            left.is_none()
        };
        if !is_answered {
            self.unanswered.notify_one();
            return std::future::pending().await;
        }
        self.next_attempt()
    }

    type WatchRebootStream = ReceiverStream<Result<RebootEvent, Status>>;

    async fn watch_reboot(
        &self,
        request: Request<WatchRebootRequest>,
    ) -> Result<Response<Self::WatchRebootStream>, Status> {
        self.asked_mut().watches.push(request.into_inner());
        let (messages, hang) = {
            let mut script = self.script();
            let messages = script.streams.pop_front();
            (messages, script.hang && script.streams.is_empty())
        };
        let messages = messages.ok_or_else(|| Status::not_found("no such attempt"))?;
        let (sender, receiver) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            for message in messages {
                if sender.send(message).await.is_err() {
                    return;
                }
            }
            if hang {
                sender.closed().await;
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn get_reboot(
        &self,
        _: Request<GetRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        self.next_attempt()
    }

    async fn list_reboots(
        &self,
        request: Request<ListRebootsRequest>,
    ) -> Result<Response<ListRebootsResponse>, Status> {
        self.asked_mut().lists.push(request.into_inner());
        let page = self.script().pages.pop_front();
        Ok(Response::new(page.unwrap_or_default()))
    }

    async fn cancel_reboot(
        &self,
        request: Request<CancelRebootRequest>,
    ) -> Result<Response<RebootAttempt>, Status> {
        self.asked_mut().cancels.push(request.into_inner());
        self.next_attempt()
    }

    async fn get_device(
        &self,
        request: Request<GetDeviceRequest>,
    ) -> Result<Response<Device>, Status> {
        let shown = request.metadata().get("authorization");
        let shown = shown.map(|value| value.to_str().unwrap().to_owned());
        self.asked_mut().authorization.push(shown);
        let name = request.into_inner().name;
        let script = self.script();
        let device = script.devices.iter().find(|device| device.name == name);
        device
            .cloned()
            .map(Response::new)
            .ok_or_else(|| Status::not_found("no such device"))
    }

    async fn list_audit_events(
        &self,
        _: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        Ok(Response::new(ListAuditEventsResponse {
            audit_events: self.script().audit.clone(),
            next_page_token: String::new(),
        }))
    }

    async fn list_devices(
        &self,
        _: Request<ListDevicesRequest>,
    ) -> Result<Response<ListDevicesResponse>, Status> {
        Ok(Response::new(ListDevicesResponse {
            devices: self.script().devices.clone(),
            next_page_token: String::new(),
        }))
    }
}

/// The moment at which every attempt here was asked for, and some milliseconds after it.
pub(crate) fn after(millis: i64) -> Timestamp {
    let begin: Timestamp = "2026-11-23T03:41:07Z".parse().unwrap();
    begin + SignedDuration::from_millis(millis)
}

fn moment(millis: i64) -> Option<prost_types::Timestamp> {
    Some(words::to_moment(after(millis)))
}

/// An attempt that went through states at these moments.
pub(crate) fn attempt(stages: &[(AttemptState, i64)]) -> RebootAttempt {
    let &(state, time) = stages.last().unwrap();
    RebootAttempt {
        name: NAME.into(),
        device: "devices/pump-1".into(),
        request_id: ID.into(),
        state: state.into(),
        state_time: moment(time),
        mode: RebootMode::Graceful.into(),
        create_time: moment(0),
        deadline: moment(1_800_000),
        end_time: is_terminal(state).then(|| moment(time)).flatten(),
        timeline: stages
            .iter()
            .map(|&(state, time)| TimelineEntry {
                state: state.into(),
                time: moment(time),
            })
            .collect(),
        revision: i64::try_from(stages.len()).unwrap(),
        ..RebootAttempt::default()
    }
}

/// The stages of a reboot that goes well.
pub(crate) const GOOD: [(AttemptState, i64); 6] = [
    (AttemptState::Dispatching, 10),
    (AttemptState::Accepted, 230),
    (AttemptState::Rebooting, 1_300),
    (AttemptState::Down, 1_450),
    (AttemptState::Verifying, 2_100),
    (AttemptState::Succeeded, 3_150),
];

/// A reboot that went well.
pub(crate) fn succeeded() -> RebootAttempt {
    RebootAttempt {
        evidence: Some(Evidence {
            grade: EvidenceGrade::Healthy.into(),
            method: "mqtt-birth".into(),
            before: "boot 5f0c, up 12.0 s".into(),
            after: "boot 9e2a, up 0.4 s, caused by this request".into(),
        }),
        ..attempt(&GOOD)
    }
}

/// A reboot that did not happen.
pub(crate) fn failed(code: &str) -> RebootAttempt {
    let stages = [GOOD[0], GOOD[1], GOOD[2], (AttemptState::Failed, 4_300)];
    RebootAttempt {
        error: Some(AttemptError {
            code: code.into(),
            message: "the device kept its boot identity for 3 s after the command".into(),
            retryable: true,
        }),
        ..attempt(&stages)
    }
}

/// The first message of a stream.
pub(crate) fn snapshot(attempt: RebootAttempt) -> Result<RebootEvent, Status> {
    Ok(RebootEvent {
        revision: attempt.revision,
        resume_token: format!("t{}", attempt.revision),
        event: Some(Event::Snapshot(attempt)),
    })
}

/// A later message of a stream.
pub(crate) fn progress(attempt: RebootAttempt, message: &str) -> Result<RebootEvent, Status> {
    Ok(RebootEvent {
        revision: attempt.revision,
        resume_token: format!("t{}", attempt.revision),
        event: Some(Event::Progress(RebootProgress {
            state: attempt.state,
            time: attempt.state_time,
            message: message.into(),
            terminal: is_terminal(attempt.state()),
            attempt: Some(attempt),
        })),
    })
}
