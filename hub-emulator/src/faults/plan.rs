//! Which faults are injected, and whose turn it is. A value: no lock, no waiting.

use std::time::Duration;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::DeviceId;
use jiff::SignedDuration;

use super::{ConnectRefusal, Fault, FaultId, Operation, Times};

/// The injected faults, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    last_id: u64,
    entries: Vec<InjectedFault>,
}

/// A fault that was injected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectedFault {
    /// Its name.
    pub id: FaultId,
    /// What goes wrong.
    pub fault: Fault,
    /// How often.
    pub times: Times,
    /// How often it did so far.
    pub fired: u64,
}

/// What an operation is answered with instead of being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InjectedAnswer {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
}

impl InjectedAnswer {
    /// The error that the hub has for this status.
    pub(crate) fn to_error(self) -> HubError {
        let code = match self.status {
            400 => Some(ErrorCode::GenericBadRequest),
            401 => Some(ErrorCode::IotHubUnauthorizedAccess),
            403 => Some(ErrorCode::IotHubQuotaExceeded),
            404 => Some(ErrorCode::DeviceNotFound),
            412 => Some(ErrorCode::PreconditionFailed),
            429 => Some(ErrorCode::ThrottlingException),
            500 => Some(ErrorCode::ServerError),
            503 => Some(ErrorCode::ServiceUnavailable),
            504 => Some(ErrorCode::GatewayTimeout),
            _ => None,
        };
        let message = format!("injected fault: status {}", self.status);
        HubError {
            status: self.status,
            code,
            message,
            info: None,
        }
    }
}

impl Plan {
    pub(crate) fn add(&mut self, fault: Fault, times: Times) -> FaultId {
        self.last_id += 1;
        let id = FaultId(self.last_id);
        self.entries.push(InjectedFault {
            id,
            fault,
            times,
            fired: 0,
        });
        id
    }

    /// Returns whether there was such a fault.
    pub(super) fn remove(&mut self, id: FaultId) -> bool {
        let known = self.contains(id);
        self.entries.retain(|entry| entry.id != id);
        known
    }

    pub(super) fn list(&self) -> Vec<InjectedFault> {
        self.entries.clone()
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn fired(&self, id: FaultId) -> u64 {
        self.entries
            .iter()
            .find(|entry| entry.id == id)
            .map_or(0, |entry| entry.fired)
    }

    /// Whether the fault is still injected, used up or not.
    pub(crate) fn contains(&self, id: FaultId) -> bool {
        self.entries.iter().any(|entry| entry.id == id)
    }

    /// What `operation` is answered with, if a fault says so.
    pub(crate) fn answer(
        &mut self,
        operation: Operation,
        device: Option<&DeviceId>,
    ) -> Option<InjectedAnswer> {
        self.fire(|fault| {
            let Fault::Answer {
                operation: wanted,
                device: whose,
                status,
                retry_after,
            } = fault
            else {
                return None;
            };
            let answer = InjectedAnswer {
                status: *status,
                retry_after: retry_after.map(whole_seconds),
            };
            let fits = wanted.is_none_or(|wanted| wanted == operation) && is_of(whose, device);
            fits.then_some(answer)
        })
        .map(|(_, answer)| answer)
    }

    /// How long `operation` is held up.
    pub(crate) fn delay(&mut self, operation: Operation, device: Option<&DeviceId>) -> Duration {
        self.fire(|fault| {
            let Fault::Delay {
                operation: wanted,
                device: whose,
                by,
            } = fault
            else {
                return None;
            };
            let fits = wanted.is_none_or(|wanted| wanted == operation) && is_of(whose, device);
            fits.then_some(*by)
        })
        .map_or(Duration::ZERO, |(_, by)| by)
    }

    /// How far the hub's clock is ahead when it looks at a token; a service's is no device's.
    pub(crate) fn clock_skew(&mut self, device: Option<&DeviceId>) -> SignedDuration {
        self.fire(|fault| {
            let Fault::SkewClock { device: whose, by } = fault else {
                return None;
            };
            is_of(whose, device).then_some(*by)
        })
        .map_or(SignedDuration::ZERO, |(_, by)| by)
    }

    /// How old the twins are that a query sees.
    pub(crate) fn query_delay(&mut self) -> Option<Duration> {
        self.fire(Fault::query_delay).map(|(_, by)| by)
    }

    /// How old the twins may be that a query can ask for.
    pub(crate) fn longest_query_delay(&self) -> Option<Duration> {
        let faults = self.entries.iter().map(|entry| &entry.fault);
        faults.filter_map(Fault::query_delay).max()
    }

    /// How `device`'s CONNECT is refused, if a fault says so.
    pub(crate) fn refuse_connect(&mut self, device: &DeviceId) -> Option<ConnectRefusal> {
        self.fire(|fault| {
            let Fault::RefuseConnect {
                device: wanted,
                refusal,
            } = fault
            else {
                return None;
            };
            is_of(wanted, Some(device)).then_some(*refusal)
        })
        .map(|(_, refusal)| refusal)
    }

    /// The fault that keeps back an acknowledgement to `device`.
    pub(crate) fn withhold_ack(&mut self, device: &DeviceId) -> Option<FaultId> {
        self.fire_if(|fault| matches!(fault, Fault::WithholdAcks { device: d } if d == device))
    }

    /// The fault that keeps back a twin answer to `device`.
    pub(crate) fn withhold_twin_answer(&mut self, device: &DeviceId) -> Option<FaultId> {
        self.fire_if(
            |fault| matches!(fault, Fault::WithholdTwinAnswers { device: d } if d == device),
        )
    }

    /// Whether `device`'s answer to a method is lost.
    pub(crate) fn lose_method_answer(&mut self, device: &DeviceId) -> bool {
        self.fire_if(
            |fault| matches!(fault, Fault::LoseMethodAnswer { device: d } if is_of(d, Some(device))),
        )
        .is_some()
    }

    /// Whether `device` gets a method twice.
    pub(crate) fn redeliver_method(&mut self, device: &DeviceId) -> bool {
        self.fire_if(
            |fault| matches!(fault, Fault::RedeliverMethod { device: d } if is_of(d, Some(device))),
        )
        .is_some()
    }

    fn fire_if(&mut self, fits: impl Fn(&Fault) -> bool) -> Option<FaultId> {
        self.fire(|fault| fits(fault).then_some(()))
            .map(|(id, ())| id)
    }

    /// Lets the oldest fault that fits and is not used up take effect.
    fn fire<T>(&mut self, fits: impl Fn(&Fault) -> Option<T>) -> Option<(FaultId, T)> {
        self.entries
            .iter_mut()
            .filter(|entry| !entry.is_used_up())
            .find_map(|entry| {
                let effect = fits(&entry.fault)?;
                entry.fired += 1;
                Some((entry.id, effect))
            })
    }
}

impl InjectedFault {
    fn is_used_up(&self) -> bool {
        match self.times {
            Times::Always => false,
            Times::Next(times) => self.fired >= times,
        }
    }
}

/// A wait as clients are told it, in seconds: none comes back too early.
fn whole_seconds(wait: Duration) -> Duration {
    let begun = u64::from(wait.subsec_nanos() > 0);
    Duration::from_secs(wait.as_secs().saturating_add(begun))
}

/// Whether something of `device`, or of no device, is of the one that is wanted, if there is one.
fn is_of(wanted: &Option<DeviceId>, device: Option<&DeviceId>) -> bool {
    wanted.is_none() || wanted.as_ref() == device
}

impl Fault {
    fn query_delay(&self) -> Option<Duration> {
        let Self::DelayQueries { by } = self else {
            return None;
        };
        Some(*by)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(operation: Option<Operation>) -> Fault {
        Fault::Answer {
            operation,
            device: None,
            status: 429,
            retry_after: None,
        }
    }

    #[test]
    fn a_fault_takes_effect_as_often_as_it_says_and_only_where_it_fits() {
        let mut plan = Plan::default();
        let id = plan.add(throttle(Some(Operation::Query)), Times::Next(2));

        assert_eq!(plan.answer(Operation::MethodCall, None), None);
        assert!(plan.answer(Operation::Query, None).is_some());
        assert!(plan.answer(Operation::Query, None).is_some());
        assert_eq!(plan.answer(Operation::Query, None), None);
        assert_eq!(plan.fired(id), 2);
    }

    #[test]
    fn a_client_is_not_told_to_come_back_too_early() {
        for (wait, told) in [(0, 0), (1, 1), (999, 1), (1_000, 1), (1_001, 2)] {
            let mut plan = Plan::default();
            let fault = Fault::Answer {
                operation: None,
                device: None,
                status: 429,
                retry_after: Some(Duration::from_millis(wait)),
            };
            plan.add(fault, Times::Always);
            let answer = plan.answer(Operation::Query, None).unwrap();
            assert_eq!(
                answer.retry_after,
                Some(Duration::from_secs(told)),
                "{wait}"
            );
        }
    }

    #[test]
    fn the_oldest_fault_goes_first_and_a_removed_one_never() {
        let mut plan = Plan::default();
        let first = plan.add(throttle(None), Times::Always);
        plan.add(
            Fault::Answer {
                operation: None,
                device: None,
                status: 503,
                retry_after: None,
            },
            Times::Always,
        );
        assert_eq!(
            plan.answer(Operation::Query, None)
                .map(|answer| answer.status),
            Some(429)
        );
        plan.remove(first);
        assert_eq!(
            plan.answer(Operation::Query, None)
                .map(|answer| answer.status),
            Some(503)
        );
        assert!(!plan.contains(first));
    }

    #[test]
    fn a_fault_of_one_device_spares_the_others() {
        let mut plan = Plan::default();
        let (a, b): (DeviceId, DeviceId) = ("a".parse().unwrap(), "b".parse().unwrap());
        plan.add(
            Fault::LoseMethodAnswer {
                device: Some(a.clone()),
            },
            Times::Always,
        );
        plan.add(Fault::RedeliverMethod { device: None }, Times::Always);
        let by = SignedDuration::from_mins(-10);
        plan.add(
            Fault::SkewClock {
                device: Some(a.clone()),
                by,
            },
            Times::Always,
        );
        let status = 500;
        plan.add(
            Fault::Answer {
                operation: None,
                device: Some(a.clone()),
                status,
                retry_after: None,
            },
            Times::Always,
        );
        assert!(plan.lose_method_answer(&a) && !plan.lose_method_answer(&b));
        assert!(plan.redeliver_method(&a) && plan.redeliver_method(&b));
        assert_eq!(plan.clock_skew(Some(&a)), by);
        let read = Operation::ServiceTwinRead;
        let answer = plan.answer(read, Some(&a));
        assert_eq!(answer.map(|answer| answer.status), Some(status));
        for other in [Some(&b), None] {
            assert_eq!(plan.clock_skew(other), SignedDuration::ZERO);
            assert_eq!(plan.answer(read, other), None);
        }
    }
}
