//! A device that reboots as its fate has it, and tells so in its twin as a gateway does.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use iot_hub::reboot::{
    Acceptance, AttemptReport, Capabilities, Evidence, Failure, FailureCode, Grade, Mode,
    RebootCall, Refusal, RefusalCode, Report, RequestId, State, method,
};
use iot_hub::topic::{DeviceTopic, RequestId as Rid};
use iothubdm_proto::v1::AttemptState;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::Device;

/// For how long a device is away: as long as a small one may be, so that as many reboots are open at a
/// time as are asked for in a second.
const AWAY: Duration = Duration::from_secs(1);

/// How the reboots of a device go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It reboots, and its gateway can prove that it was because of the request.
    Proven,
    /// Its gateway says so, and has seen no more than that it came back.
    Unproven,
    /// It does not go down.
    Stuck,
}

impl Fate {
    /// Of ten devices eight reboot.
    pub(crate) fn of(number: usize) -> Self {
        match number % 10 {
            3 => Self::Unproven,
            7 => Self::Stuck,
            _ => Self::Proven,
        }
    }

    /// The right verdict about a reboot that has to be [`Grade::Caused`].
    pub(crate) fn verdict(self) -> AttemptState {
        match self {
            Self::Proven => AttemptState::Succeeded,
            Self::Unproven | Self::Stuck => AttemptState::Failed,
        }
    }
}

impl Device {
    /// Answers a reboot and goes through it. It is asked once: a gateway would clear what the one before
    /// has left in the twin.
    pub(crate) async fn reboot_when_told(mut self, fate: Fate) -> anyhow::Result<()> {
        let mut report = Report {
            seq: 1,
            boot_id: Some("boot-1".to_owned()),
            capabilities: Some(Capabilities {
                modes: BTreeMap::from([(Mode::Graceful.name().to_owned(), true)]),
                cancel: true,
                watch: false,
                best_grade: Grade::Caused,
                required_grade: Grade::Caused,
                typical_duration_sec: None,
            }),
            ..Report::default()
        };
        self.report(&report).await?;
        loop {
            let (name, rid, payload) = self.method().await?;
            if name.as_ref() != method::REBOOT {
                let refusal = Refusal::new(RefusalCode::UnknownMethod, "there is only reboot");
                let status = refusal.code.method_status();
                self.answer(rid, status, refusal.to_payload()).await?;
                continue;
            }
            let call = RebootCall::from_payload(&serde_json::from_slice(&payload)?)?;
            let request_id = call.request_id.context("a request without an id")?;
            let acceptance = Acceptance {
                request_id,
                state: State::Accepted,
                state_time: Timestamp::now(),
                expected_duration_sec: u32::try_from(AWAY.as_secs()).ok(),
                boot_id: report.boot_id.clone(),
                duplicate: false,
            };
            self.answer(rid, 202, acceptance.to_payload()).await?;
            report.attempt = Some(attempt(request_id, call.reason));
            self.enter(&mut report, State::Accepted).await?;
            self.enter(&mut report, State::Rebooting).await?;
            tokio::time::sleep(AWAY).await;
            let end = end(&mut report, fate);
            self.enter(&mut report, end).await?;
        }
    }

    /// Tells that the attempt has come so far.
    async fn enter(&mut self, report: &mut Report, state: State) -> anyhow::Result<()> {
        let now = Timestamp::now();
        report.seq += 1;
        if let Some(attempt) = &mut report.attempt {
            (attempt.state, attempt.state_time) = (state, now);
            attempt.timeline.insert(state, now);
        }
        self.report(report).await
    }

    async fn report(&mut self, report: &Report) -> anyhow::Result<()> {
        let patch = json!({ "iothubDM": { "reboot": report.to_value() } });
        let rid: Rid = report.seq.to_string().parse()?;
        let topic = DeviceTopic::TwinReported { rid, version: None };
        self.publish(&topic, patch.to_string().into()).await
    }

    async fn answer(&mut self, rid: Rid, status: i32, payload: Value) -> anyhow::Result<()> {
        let topic = DeviceTopic::MethodResponse { status, rid };
        self.publish(&topic, payload.to_string().into()).await
    }
}

fn attempt(request_id: RequestId, reason: String) -> AttemptReport {
    AttemptReport {
        reason,
        ..AttemptReport::begun(request_id, State::Accepted, Timestamp::now())
    }
}

/// Notes what came of a reboot, and says how it ended.
fn end(report: &mut Report, fate: Fate) -> State {
    let (state, grade) = match fate {
        Fate::Proven => (State::Succeeded, Grade::Caused),
        Fate::Unproven => (State::Succeeded, Grade::Returned),
        Fate::Stuck => (State::Failed, Grade::Claimed),
    };
    let before = report.boot_id.clone().unwrap_or_default();
    if fate == Fate::Proven {
        report.boot_id = Some(format!("boot-{}", report.seq));
        report.last_reboot = Some(Timestamp::now());
    }
    if let Some(attempt) = &mut report.attempt {
        attempt.evidence = Some(Evidence {
            grade,
            method: "bench".to_owned(),
            before,
            after: report.boot_id.clone().unwrap_or_default(),
        });
        attempt.error = (state == State::Failed).then(|| Failure {
            code: FailureCode::NoShutdown,
            message: "the boot identity is still the old one".to_owned(),
            retryable: true,
        });
    }
    state
}
