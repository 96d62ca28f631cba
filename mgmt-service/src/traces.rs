//! Traces: where the service's work stands in its callers' traces, and telling a collector.
//!
//! A caller sends its place in a trace by the header `traceparent`. It goes on from there to the
//! attempt, which keeps it on disk, and to the device's gateway in the method's payload. That needs
//! no collector: with one, the service's own spans stand in between.
//!
//! The only file that knows OpenTelemetry.

mod layer;

use std::{num::NonZero, time::Duration};

use daemon::logs::{self, Receiver};
use iot_hub::reboot::TraceParent;
use opentelemetry::{
    Context,
    trace::{
        SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        TracerProvider as _,
    },
};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

pub use self::layer::{TraceLayer, Traced};
use crate::attempt::Attempt;

/// How long a batch of spans may take to be sent, and the last one when the service stops.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);

const NAME: &str = "mgmt-service";

/// Sends spans to a collector until it is shut down.
#[derive(Debug)]
pub struct Exporter(SdkTracerProvider);

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
#[error("set up the export of traces")]
pub struct ExporterError(#[from] ExporterBuildError);

impl Exporter {
    /// Sends to a collector that speaks OTLP over gRPC at `endpoint`. It need not be there: what
    /// cannot be sent is dropped.
    pub fn new(endpoint: &str) -> Result<Self, ExporterError> {
        let exporter = SpanExporter::builder()
            .with_tonic()
            .with_endpoint(endpoint)
            .with_timeout(EXPORT_LIMIT)
            .build()?;
        let resource = Resource::builder().with_service_name(NAME).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_batch_exporter(exporter)
            .build();
        Ok(Self(provider))
    }

    /// What sees the spans.
    pub fn receiver(&self) -> Receiver {
        let tracer = self.0.tracer(NAME);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        logs::receiver_of(layer, env!("CARGO_CRATE_NAME"))
    }

    /// Sends what is left.
    pub fn shutdown(self) {
        if let Err(error) = self.0.shutdown_with_timeout(EXPORT_LIMIT) {
            tracing::warn!(%error, "the last spans could not be sent");
        }
    }
}

/// Where the present work stands: in the service's own span when these are recorded, else where the
/// caller said.
pub(crate) fn current() -> Option<TraceParent> {
    let context = Span::current().context();
    let recorded = context.span().span_context().clone();
    let own = || {
        Some(TraceParent {
            trace_id: NonZero::new(u128::from_be_bytes(recorded.trace_id().to_bytes()))?,
            span_id: NonZero::new(u64::from_be_bytes(recorded.span_id().to_bytes()))?,
            flags: recorded.trace_flags().to_u8(),
        })
    };
    own().or_else(layer::callers)
}

/// The span of all the work on one attempt; after a restart, another one in the same trace.
pub(crate) fn attempt_span(attempt: &Attempt) -> Span {
    let trace_id = attempt.trace.map(|trace| trace.trace());
    let view = &attempt.view;
    let span = tracing::info_span!("attempt", id = %view.id, device = %view.device, trace_id);
    if let Some(trace) = attempt.trace {
        put_under(&span, trace);
    }
    span
}

/// A span below the present one, if there is one: what nobody's attempt and nobody's call needs is
/// not worth a trace of its own.
macro_rules! child_span {
    ($($span:tt)*) => {
        if tracing::Span::current().is_none() {
            tracing::Span::none()
        } else {
            tracing::info_span!($($span)*)
        }
    };
}
pub(crate) use child_span;

fn put_under(span: &Span, parent: TraceParent) {
    let remote = SpanContext::new(
        TraceId::from_bytes(parent.trace_id.get().to_be_bytes()),
        SpanId::from_bytes(parent.span_id.get().to_be_bytes()),
        TraceFlags::new(parent.flags),
        true,
        TraceState::default(),
    );
    // It fails where nobody records spans, and then nobody misses it.
    let _ = span.set_parent(Context::new().with_remote_span_context(remote));
}
