//! `Reboot`.

use std::time::Duration;

use iot_hub::{
    identity::DeviceId,
    reboot::{Grade, MAX_DELAY, MAX_REASON_CHARS, Mode, Preconditions, RequestId},
};
use iothubdm_proto::v1::{self as proto, RebootAttempt, RebootRequest, reboot_request};
use jiff::Timestamp;
use uuid::Uuid;

use super::{convert, parse, parse::Fields, permit::Permit};
use crate::{
    access::policy,
    attempt::{Asked, BlockedPolicy, OfflinePolicy, Start},
    error::{Error, Violation},
    service::Service,
};

/// The farthest deadline.
const MAX_DEADLINE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The shortest time between start and deadline.
const MIN_DURATION: Duration = Duration::from_secs(1);

/// The longest boot identity: every known kind is shorter, and it has to fit a method's payload.
const MAX_BOOT_ID_CHARS: usize = 256;

pub(super) async fn reboot(
    service: &Service,
    request: RebootRequest,
    permit: &Permit,
) -> Result<RebootAttempt, Error> {
    let (id, device, asked) = read(&request)?;
    let needed = policy::to_reboot(asked.mode, asked.most());
    permit.reboot(&device, id, needed, &asked.reason).await?;
    if let Err(violation) = check_times(&asked, Timestamp::now()) {
        // A repeated request may be older than its own deadline.
        let known = service.log(&device, id).await;
        if !known.is_ok_and(|log| log.now().attempt.asked == asked) {
            return Err(violation.into());
        }
    }
    let view = if request.validate_only {
        service.validate(id, device, &asked, &permit.caller).await?
    } else {
        service.reboot(id, device, asked, &permit.caller).await?
    };
    Ok(convert::attempt(&view))
}

/// Reads a request, but for what depends on the present time.
fn read(request: &RebootRequest) -> Result<(RequestId, DeviceId, Asked), Error> {
    let mut fields = Fields::default();
    let device = fields.take("device", parse::device_name(&request.device));
    let id = fields.take("request_id", request_id(&request.request_id));
    let mode = fields.take("mode", mode(request.mode)).unwrap_or_default();
    let most = escalate_to(request.escalate_to, mode);
    let escalate_to = fields.take("escalate_to", most).flatten();
    let most = escalate_to.unwrap_or(mode);
    let reason = fields.take("reason", reason(&request.reason, most));
    let start = match &request.start {
        None => Some(Start::Now),
        Some(reboot_request::Start::Delay(delay)) => fields
            .take("delay", delay_within_limit(delay))
            .map(Start::After),
        Some(reboot_request::Start::NotBefore(at)) => fields
            .take("not_before", parse::timestamp(at))
            .map(Start::At),
    };
    let deadline = request.deadline.as_ref().map(parse::timestamp).transpose();
    let deadline = fields.take("deadline", deadline);
    let preconditions = preconditions(&mut fields, request.preconditions.as_ref());
    let required = fields.take("required_evidence", grade(request.required_evidence));
    let offline = fields.take("offline_policy", offline_policy(request.offline_policy));
    let blocked = fields.take("blocked_policy", blocked_policy(request.blocked_policy));
    fields.check()?;
    let asked = Asked {
        mode,
        escalate_to,
        reason: reason.unwrap_or_default(),
        start: start.unwrap_or_default(),
        deadline: deadline.flatten(),
        preconditions,
        required_grade: required.flatten(),
        offline: offline.unwrap_or_default(),
        blocked: blocked.unwrap_or_default(),
    };
    match (id, device) {
        (Some(id), Some(device)) => Ok((id, device, asked)),
        (None, _) | (_, None) => Err(Error::Invalid(Vec::new())),
    }
}

/// Checks what depends on the present time.
fn check_times(asked: &Asked, now: Timestamp) -> Result<(), Violation> {
    let after = |at: Timestamp, span| at.checked_add(span).unwrap_or(Timestamp::MAX);
    let start = match asked.start {
        Start::Now => now,
        Start::After(delay) => after(now, delay),
        Start::At(at) if at > after(now, MAX_DELAY) => {
            return Err(Violation::new("not_before", "must be at most 24 h ahead"));
        }
        Start::At(at) => at.max(now),
    };
    match asked.deadline {
        Some(deadline) if deadline < after(start, MIN_DURATION) => {
            let rule = "must be at least 1 s after the start";
            Err(Violation::new("deadline", rule))
        }
        Some(deadline) if deadline > after(now, MAX_DEADLINE) => {
            Err(Violation::new("deadline", "must be at most 7 days ahead"))
        }
        Some(_) | None => Ok(()),
    }
}

fn request_id(text: &str) -> Result<RequestId, &'static str> {
    if text.is_empty() {
        return Ok(RequestId(Uuid::new_v4()));
    }
    text.parse()
        .map_err(|_| "must be a UUID of 36 characters, or empty")
}

fn mode(value: i32) -> Result<Mode, &'static str> {
    match proto::RebootMode::try_from(value) {
        Ok(proto::RebootMode::Unspecified | proto::RebootMode::Graceful) => Ok(Mode::Graceful),
        Ok(proto::RebootMode::Forced) => Ok(Mode::Forced),
        Ok(proto::RebootMode::PowerCycle) => Ok(Mode::PowerCycle),
        Err(_) => Err("must be GRACEFUL, FORCED or POWER_CYCLE"),
    }
}

fn escalate_to(value: i32, from: Mode) -> Result<Option<Mode>, &'static str> {
    if value == i32::from(proto::RebootMode::Unspecified) {
        return Ok(None);
    }
    let most = mode(value)?;
    if most < from {
        Err("must not be milder than mode")
    } else {
        Ok(Some(most))
    }
}

fn reason(text: &str, most: Mode) -> Result<String, &'static str> {
    if text.chars().count() > MAX_REASON_CHARS {
        Err("must have at most 256 characters")
    } else if text.trim().is_empty() && most != Mode::Graceful {
        Err("is required for FORCED and POWER_CYCLE")
    } else {
        Ok(text.to_owned())
    }
}

fn delay_within_limit(value: &prost_types::Duration) -> Result<Duration, &'static str> {
    let delay = parse::duration(value)?;
    if delay <= MAX_DELAY {
        Ok(delay)
    } else {
        Err("must be at most 24 h")
    }
}

fn preconditions(fields: &mut Fields, message: Option<&proto::Preconditions>) -> Preconditions {
    let Some(message) = message else {
        return Preconditions::default();
    };
    let boot_id = if message.boot_id.chars().count() > MAX_BOOT_ID_CHARS {
        Err("must have at most 256 characters")
    } else {
        Ok((!message.boot_id.is_empty()).then(|| message.boot_id.clone()))
    };
    let min_uptime = message.min_uptime.as_ref().map(whole_seconds).transpose();
    Preconditions {
        boot_id: fields.take("preconditions.boot_id", boot_id).flatten(),
        min_uptime: fields
            .take("preconditions.min_uptime", min_uptime)
            .flatten(),
    }
}

/// The device is asked in whole seconds; a part of one counts as one, so that no less is asked.
fn whole_seconds(value: &prost_types::Duration) -> Result<Duration, &'static str> {
    let uptime = parse::duration(value)?;
    let seconds = uptime.as_secs() + u64::from(uptime.subsec_nanos() > 0);
    if seconds <= u64::from(u32::MAX) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("must be at most 136 years")
    }
}

fn grade(value: i32) -> Result<Option<Grade>, &'static str> {
    match proto::EvidenceGrade::try_from(value) {
        Ok(proto::EvidenceGrade::Unspecified) => Ok(None),
        Ok(proto::EvidenceGrade::Claimed) => Ok(Some(Grade::Claimed)),
        Ok(proto::EvidenceGrade::Returned) => Ok(Some(Grade::Returned)),
        Ok(proto::EvidenceGrade::UptimeReset) => Ok(Some(Grade::UptimeReset)),
        Ok(proto::EvidenceGrade::BootChanged) => Ok(Some(Grade::BootChanged)),
        Ok(proto::EvidenceGrade::Caused) => Ok(Some(Grade::Caused)),
        Ok(proto::EvidenceGrade::Healthy) => Ok(Some(Grade::Healthy)),
        Err(_) => Err("must be a grade from CLAIMED to HEALTHY"),
    }
}

fn offline_policy(value: i32) -> Result<OfflinePolicy, &'static str> {
    match proto::OfflinePolicy::try_from(value) {
        Ok(proto::OfflinePolicy::Unspecified | proto::OfflinePolicy::Fail) => {
            Ok(OfflinePolicy::Fail)
        }
        Ok(proto::OfflinePolicy::Queue) => Ok(OfflinePolicy::Queue),
        Err(_) => Err("must be FAIL or QUEUE"),
    }
}

fn blocked_policy(value: i32) -> Result<BlockedPolicy, &'static str> {
    match proto::BlockedPolicy::try_from(value) {
        Ok(proto::BlockedPolicy::Unspecified | proto::BlockedPolicy::Wait) => {
            Ok(BlockedPolicy::Wait)
        }
        Ok(proto::BlockedPolicy::Fail) => Ok(BlockedPolicy::Fail),
        Err(_) => Err("must be WAIT or FAIL"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_broken_rule_is_told_with_its_field() {
        let request = RebootRequest {
            device: "pump-1".into(),
            request_id: "x".into(),
            mode: 9,
            reason: "é".repeat(257),
            start: Some(reboot_request::Start::Delay(prost_types::Duration {
                seconds: -1,
                nanos: 0,
            })),
            deadline: Some(prost_types::Timestamp {
                seconds: i64::MAX,
                nanos: 0,
            }),
            preconditions: Some(proto::Preconditions {
                boot_id: "b".repeat(257),
                min_uptime: Some(prost_types::Duration {
                    seconds: i64::MAX,
                    nanos: 0,
                }),
            }),
            required_evidence: 7,
            offline_policy: 3,
            validate_only: false,
            blocked_policy: -1,
            escalate_to: 9,
        };
        let Err(Error::Invalid(violations)) = read(&request) else {
            panic!("accepted");
        };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field).collect();
        assert_eq!(
            fields,
            [
                "device",
                "request_id",
                "mode",
                "escalate_to",
                "reason",
                "delay",
                "deadline",
                "preconditions.boot_id",
                "preconditions.min_uptime",
                "required_evidence",
                "offline_policy",
                "blocked_policy",
            ]
        );
    }

    #[test]
    fn an_id_is_made_when_there_is_none() {
        let request = RebootRequest {
            device: "devices/pump-1".into(),
            ..RebootRequest::default()
        };
        let (one, device, asked) = read(&request).unwrap();
        let (other, ..) = read(&request).unwrap();
        assert_ne!(one, other);
        assert_eq!(device.as_str(), "pump-1");
        assert_eq!(asked, Asked::default());
    }

    #[test]
    fn consent_to_escalate_is_never_milder_than_the_mode_and_needs_a_reason_for_the_strongest() {
        let asked = |mode: Mode, most: Mode, reason: &str| {
            let request = RebootRequest {
                device: "devices/pump-1".into(),
                mode: convert::mode(mode).into(),
                escalate_to: convert::mode(most).into(),
                reason: reason.into(),
                ..RebootRequest::default()
            };
            match read(&request) {
                Ok((_, _, asked)) => Ok(asked.most()),
                Err(Error::Invalid(violations)) => Err(violations[0].field),
                Err(error) => panic!("{error}"),
            }
        };
        let (graceful, forced, power) = (Mode::Graceful, Mode::Forced, Mode::PowerCycle);
        assert_eq!(asked(graceful, graceful, ""), Ok(graceful));
        assert_eq!(asked(graceful, forced, "stuck"), Ok(forced));
        assert_eq!(asked(graceful, power, " "), Err("reason"));
        assert_eq!(asked(forced, graceful, "stuck"), Err("escalate_to"));
        assert_eq!(asked(forced, power, "stuck"), Ok(power));
    }

    #[test]
    fn force_needs_a_reason() {
        for (mode, text, ok) in [
            (Mode::Graceful, "", true),
            (Mode::Forced, " ", false),
            (Mode::PowerCycle, "", false),
            (Mode::Forced, "stuck", true),
        ] {
            assert_eq!(reason(text, mode).is_ok(), ok, "{mode} {text}");
        }
    }

    #[test]
    fn times_have_limits() {
        let now = Timestamp::from_second(1_000_000).unwrap();
        let at = |seconds: i64| Timestamp::from_second(1_000_000 + seconds).unwrap();
        let check = |start, deadline| {
            let asked = Asked {
                start,
                deadline,
                ..Asked::default()
            };
            check_times(&asked, now).map_err(|violation| violation.field)
        };
        let day = 24 * 3600;
        assert_eq!(check(Start::Now, None), Ok(()));
        assert_eq!(check(Start::Now, Some(at(-1))), Err("deadline"));
        assert_eq!(check(Start::Now, Some(at(0))), Err("deadline"));
        assert_eq!(check(Start::Now, Some(at(1))), Ok(()));
        assert_eq!(check(Start::Now, Some(at(7 * day + 1))), Err("deadline"));
        let minute = Start::After(Duration::from_secs(60));
        assert_eq!(check(minute, Some(at(60))), Err("deadline"));
        assert_eq!(check(minute, Some(at(61))), Ok(()));
        assert_eq!(check(Start::At(at(day)), None), Ok(()));
        assert_eq!(check(Start::At(at(day + 1)), None), Err("not_before"));
        assert_eq!(check(Start::At(at(-5)), Some(at(1))), Ok(()));
    }

    #[test]
    fn an_uptime_is_rounded_up_to_seconds() {
        let uptime = prost_types::Duration {
            seconds: 1,
            nanos: 1,
        };
        assert_eq!(whole_seconds(&uptime), Ok(Duration::from_secs(2)));
    }
}
