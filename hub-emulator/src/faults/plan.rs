//! Which faults are injected, and whose turn it is. A value: no lock, no waiting.

use std::time::Duration;

use iot_hub::error::{ErrorCode, HubError};
use iot_hub::identity::DeviceId;

use super::{ConnectRefusal, Fault, FaultId, Operation, Times};

/// The injected faults, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    last_id: u64,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    id: FaultId,
    fault: Fault,
    times: Times,
    fired: u64,
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
    pub(super) fn add(&mut self, fault: Fault, times: Times) -> FaultId {
        self.last_id += 1;
        let id = FaultId(self.last_id);
        self.entries.push(Entry {
            id,
            fault,
            times,
            fired: 0,
        });
        id
    }

    pub(super) fn remove(&mut self, id: FaultId) {
        self.entries.retain(|entry| entry.id != id);
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
    pub(crate) fn answer(&mut self, operation: Operation) -> Option<InjectedAnswer> {
        self.fire(|fault| {
            let Fault::Answer {
                operation: wanted,
                status,
                retry_after,
            } = fault
            else {
                return None;
            };
            let answer = InjectedAnswer {
                status: *status,
                retry_after: *retry_after,
            };
            wanted
                .is_none_or(|wanted| wanted == operation)
                .then_some(answer)
        })
        .map(|(_, answer)| answer)
    }

    /// How long `operation` is held up.
    pub(crate) fn delay(&mut self, operation: Operation) -> Duration {
        self.fire(|fault| {
            let Fault::Delay {
                operation: wanted,
                by,
            } = fault
            else {
                return None;
            };
            wanted
                .is_none_or(|wanted| wanted == operation)
                .then_some(*by)
        })
        .map_or(Duration::ZERO, |(_, by)| by)
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
            fits(wanted.as_ref(), device).then_some(*refusal)
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
            |fault| matches!(fault, Fault::LoseMethodAnswer { device: d } if fits(d.as_ref(), device)),
        )
        .is_some()
    }

    /// Whether `device` gets a method twice.
    pub(crate) fn redeliver_method(&mut self, device: &DeviceId) -> bool {
        self.fire_if(
            |fault| matches!(fault, Fault::RedeliverMethod { device: d } if fits(d.as_ref(), device)),
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

impl Entry {
    fn is_used_up(&self) -> bool {
        match self.times {
            Times::Always => false,
            Times::Next(times) => self.fired >= times,
        }
    }
}

fn fits(wanted: Option<&DeviceId>, device: &DeviceId) -> bool {
    wanted.is_none_or(|wanted| wanted == device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(operation: Option<Operation>) -> Fault {
        Fault::Answer {
            operation,
            status: 429,
            retry_after: None,
        }
    }

    #[test]
    fn a_fault_takes_effect_as_often_as_it_says_and_only_where_it_fits() {
        let mut plan = Plan::default();
        let id = plan.add(throttle(Some(Operation::Query)), Times::Next(2));

        assert_eq!(plan.answer(Operation::MethodCall), None);
        assert!(plan.answer(Operation::Query).is_some());
        assert!(plan.answer(Operation::Query).is_some());
        assert_eq!(plan.answer(Operation::Query), None);
        assert_eq!(plan.fired(id), 2);
    }

    #[test]
    fn the_oldest_fault_goes_first_and_a_removed_one_never() {
        let mut plan = Plan::default();
        let first = plan.add(throttle(None), Times::Always);
        plan.add(
            Fault::Answer {
                operation: None,
                status: 503,
                retry_after: None,
            },
            Times::Always,
        );
        assert_eq!(
            plan.answer(Operation::Query).map(|answer| answer.status),
            Some(429)
        );
        plan.remove(first);
        assert_eq!(
            plan.answer(Operation::Query).map(|answer| answer.status),
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
        assert!(plan.lose_method_answer(&a) && !plan.lose_method_answer(&b));
        assert!(plan.redeliver_method(&a) && plan.redeliver_method(&b));
    }
}
