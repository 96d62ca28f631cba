//! What clients cost the hub, counted the way its quotas are.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::faults::Operation;

/// How often one thing happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Count {
    /// Since the emulator started, or since the counters were last reset.
    pub total: u64,
    /// The most within any one second, wherever that second begins: what a throttle would see.
    pub busiest_second: usize,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// A reading of every counter.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        #[serde(rename_all = "camelCase")]
        pub struct Counters {
            $($(#[$doc])* pub $name: Count,)*
        }

        /// The counters, while they count.
        #[derive(Debug, Default)]
        pub(crate) struct Meters {
            $(pub(crate) $name: Meter,)*
        }

        impl Meters {
            /// Reads every counter.
            pub(crate) fn read(&self) -> Counters {
                Counters { $($name: self.$name.count(),)* }
            }
        }
    };
}

counters! {
    /// Twins read over REST.
    service_twin_reads,
    /// Twins read by devices over MQTT.
    device_twin_reads,
    /// Twins changed over REST: PATCH and PUT.
    service_twin_updates,
    /// Reported properties changed by devices over MQTT.
    device_twin_updates,
    /// Direct methods asked for over REST, whatever became of them.
    method_calls,
    /// Queries over REST, each page counted.
    queries,
    /// Jobs made, read, listed and cancelled over REST.
    job_operations,
    /// Configurations made, read, listed, changed and deleted over REST.
    configuration_operations,
    /// Operations on the identity registry and its statistics over REST.
    registry_operations,
    /// Requests to the provisioning service: for a hub, and what became of that.
    registrations,
    /// MQTT CONNECT packets, refused ones too.
    connects,
    /// MQTT CONNECT packets that were accepted.
    connects_accepted,
    /// Requests that the tier's throttles made wait.
    delayed,
    /// Requests that the tier's throttles refused.
    throttled,
    /// Messages from devices to the cloud.
    telemetry,
    /// TCP connections to the REST front door.
    http_connections,
    /// TCP connections to the MQTT front door.
    mqtt_connections,
    /// TLS handshakes that ended well, at either front door.
    tls_handshakes,
    /// Those that resumed a session.
    tls_resumed,
}

impl Meters {
    /// The counter of an operation.
    pub(crate) fn of(&mut self, operation: Operation) -> &mut Meter {
        match operation {
            Operation::ServiceTwinRead => &mut self.service_twin_reads,
            Operation::ServiceTwinUpdate => &mut self.service_twin_updates,
            Operation::MethodCall => &mut self.method_calls,
            Operation::Query => &mut self.queries,
            Operation::Job => &mut self.job_operations,
            Operation::Configuration => &mut self.configuration_operations,
            Operation::Registry => &mut self.registry_operations,
            Operation::DeviceTwinRead => &mut self.device_twin_reads,
            Operation::DeviceTwinUpdate => &mut self.device_twin_updates,
            Operation::Registration => &mut self.registrations,
        }
    }
}

/// Counts one thing and remembers the busiest second so far.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    total: u64,
    /// When it happened within the last second, oldest first.
    recent: VecDeque<Instant>,
    busiest_second: usize,
}

impl Meter {
    /// Counts one more.
    pub(crate) fn count_one(&mut self, now: Instant) {
        self.total += 1;
        self.recent.push_back(now);
        while self
            .recent
            .front()
            .is_some_and(|first| now - *first >= Duration::from_secs(1))
        {
            self.recent.pop_front();
        }
        self.busiest_second = self.busiest_second.max(self.recent.len());
    }

    fn count(&self) -> Count {
        Count {
            total: self.total,
            busiest_second: self.busiest_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_second_may_begin_anywhere() {
        let start = Instant::now();
        let mut meter = Meter::default();
        // Two in the first calendar second, three in the next: four of them within one second.
        for millis in [0, 900, 1000, 1500, 1899, 5000] {
            meter.count_one(start + Duration::from_millis(millis));
        }
        assert_eq!(
            meter.count(),
            Count {
                total: 6,
                busiest_second: 4
            }
        );
    }
}
