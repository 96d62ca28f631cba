//! Calls of the API.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::Instruments;

/// The names of gRPC's status codes, by their numbers.
const CODES: [&str; 17] = [
    "Ok",
    "Cancelled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// How a call ends whose caller does not wait for the end.
const GIVEN_UP: i32 = 1;

/// What is counted of calls of the API.
#[derive(Debug)]
pub(crate) struct RpcMetrics {
    ended: Family<Ended, Counter>,
    open: Family<Named, Gauge>,
}

/// A call that is open until it is dropped, and is counted then by how it ended.
#[derive(Debug)]
pub(crate) struct OpenRpc {
    instruments: Instruments,
    method: &'static str,
    /// How it ended, as soon as that is known.
    code: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    method: &'static str,
}

impl RpcMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            open: Family::default(),
        };
        registry.register(
            "rpcs",
            "Calls of the API by method and gRPC status code",
            metrics.ended.clone(),
        );
        registry.register(
            "rpcs_open",
            "Calls of the API that are not over, by method",
            metrics.open.clone(),
        );
        metrics
    }

    fn open(&self, method: &'static str) -> Gauge {
        self.open.get_or_create_owned(&Named { method })
    }
}

impl OpenRpc {
    /// A call begins. `method` is one of a small set.
    pub(super) fn begin(instruments: Instruments, method: &'static str) -> Self {
        instruments.inner.rpcs.open(method).inc();
        Self {
            instruments,
            method,
            code: None,
        }
    }

    /// The call has the gRPC status code of this number.
    pub(crate) fn ends(&mut self, code: i32) {
        self.code = Some(code);
    }
}

impl Drop for OpenRpc {
    fn drop(&mut self) {
        let rpcs = &self.instruments.inner.rpcs;
        rpcs.open(self.method).dec();
        let ended = Ended {
            method: self.method,
            code: name(self.code.unwrap_or(GIVEN_UP)),
        };
        rpcs.ended.get_or_create(&ended).inc();
    }
}

fn name(code: i32) -> &'static str {
    let known = usize::try_from(code).ok().and_then(|code| CODES.get(code));
    known.copied().unwrap_or("Unknown")
}
