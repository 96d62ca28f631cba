//! One trace shows both halves of a reboot: the service's spans at a collector, and the gateway's log.

use std::{
    collections::BTreeSet,
    fs,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
    time::Duration,
};

use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{Behavior, DeviceSetup, World, request};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use tokio::net::TcpListener;
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

const DEVICE: &str = "pump-1";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A collector that keeps what it is sent.
#[derive(Debug, Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let scopes = request.into_inner().resource_spans.into_iter();
        let spans = scopes
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.0.lock().expect("keep spans").extend(spans);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Serves, and returns where.
    async fn start(&self) -> String {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("listen");
        let address = listener.local_addr().expect("an address");
        let server = Server::builder().add_service(TraceServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        format!("http://{address}")
    }

    /// The spans of one trace.
    fn of(&self, trace: &str) -> Vec<Span> {
        let spans = self.0.lock().expect("read spans");
        let wanted = spans.iter().filter(|span| hex(&span.trace_id) == trace);
        wanted.cloned().collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn one_trace_goes_from_the_caller_through_the_service_to_the_gateways_log() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let device = DeviceSetup::new(DEVICE, Behavior::WellBehaved).boot_time(Duration::from_secs(1));
    let mut world = World::builder()
        .service_settings(&format!("[traces]\nendpoint = \"{endpoint}\"\n"))
        .device(device)
        .start()
        .await;
    let mut call = Request::new(request(DEVICE));
    let header = format!("00-{TRACE}-{PARENT}-01");
    let header = header.parse().expect("a header");
    call.metadata_mut().insert("traceparent", header);
    let attempt = world.client().reboot(call).await.expect("a reboot");
    let attempt = attempt.into_inner();

    // The gateway's journal keeps the trace while the gateway is gone.
    world.commanded(DEVICE).await;
    world.kill_gateway().await;
    world.start_gateway().await;
    let watched = world.watch_to_end(&attempt.name).await;
    assert_eq!(watched.verdict().state(), AttemptState::Succeeded);
    let log = fs::read_to_string(world.folder().join("device-gateway.log")).expect("a log");
    for part in [
        "state=ACCEPTED",
        "going on with an attempt",
        "state=SUCCEEDED",
    ] {
        let line = log.lines().find(|line| line.contains(part));
        let line = line.unwrap_or_else(|| panic!("{part} not in\n{log}"));
        assert!(line.contains(TRACE), "{line}");
    }

    assert_eq!(world.stop_service().await, Some(0));
    let spans = collector.of(TRACE);
    let names: BTreeSet<_> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["attempt", "hub", "rpc", "store"]));
    let parent_of = |name: &str| {
        let span = spans.iter().find(|span| span.name == name);
        let span = span.unwrap_or_else(|| panic!("no span {name}"));
        (hex(&span.parent_span_id), hex(&span.span_id))
    };
    let (caller, rpc) = parent_of("rpc");
    assert_eq!(caller, PARENT, "the call is below its caller");
    let (above, own) = parent_of("attempt");
    assert_eq!(above, rpc, "the attempt is below the call");
    let calls = spans.iter().filter(|span| span.name == "hub");
    for call in calls {
        assert_eq!(hex(&call.parent_span_id), own, "{call:?}");
    }
}
