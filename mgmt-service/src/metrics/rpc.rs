//! Calls of the API.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// How a call ends whose caller does not wait for the end.
const GIVEN_UP: &str = "Cancelled";

/// What is counted of calls of the API.
#[derive(Debug, Clone)]
pub(crate) struct RpcMetrics {
    ended: Family<Ended, Counter>,
    open: Family<Named, Gauge>,
}

/// A call that is open until it is dropped, and is counted then by how it ended.
#[derive(Debug)]
pub(crate) struct OpenRpc {
    metrics: RpcMetrics,
    method: &'static str,
    /// How it ended, as soon as that is known.
    code: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ended {
    method: String,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Named {
    method: String,
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

    /// A call begins. `method` is one of a small set.
    pub(super) fn begin(&self, method: &'static str) -> OpenRpc {
        let open = OpenRpc {
            metrics: self.clone(),
            method,
            code: None,
        };
        open.gauge().inc();
        open
    }
}

impl OpenRpc {
    /// The call has this gRPC status code.
    pub(crate) fn ends(&mut self, code: String) {
        self.code = Some(code);
    }

    fn gauge(&self) -> Gauge {
        let method = self.method.to_owned();
        self.metrics.open.get_or_create_owned(&Named { method })
    }
}

impl Drop for OpenRpc {
    fn drop(&mut self) {
        self.gauge().dec();
        let ended = Ended {
            method: self.method.to_owned(),
            code: self.code.take().unwrap_or_else(|| GIVEN_UP.to_owned()),
        };
        self.metrics.ended.get_or_create(&ended).inc();
    }
}
