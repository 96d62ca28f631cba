//! A service that is told to stop: no new work, watches told, the store closed, and all that in time.

use std::time::Duration;

use hub_emulator::{Emulator, EmulatorConfig};
use mgmt_service::{Config, RunError};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::{
    device::Device,
    hostile::{framed, open, raw},
    world::{World, connect, details, request, settings, within},
};

#[tokio::test]
async fn new_work_is_refused_with_a_hint_and_watches_are_told() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    let reboot = world.ask_meanwhile(request("pump-1"));
    let call = device.called().await;
    device.accept(&call, iot_hub::reboot::State::Accepted).await;
    let attempt = reboot.await.unwrap().unwrap();
    let mut watch = world.watch(&attempt.name, "").await.unwrap();
    watch.next().await.unwrap().unwrap();

    // A call that is open and has not said yet what it wants.
    let (mut sender, _connection) = raw(&world, 65_535).await;
    let (answer, mut body) = open(&mut sender, "Reboot");
    // The service has seen it once it answers the next one.
    let (seen, mut other) = open(&mut sender, "GetReboot");
    other.send_data(framed(&attempt.name), true).unwrap();
    within(seen).await.unwrap();

    let asks = async {
        let status = loop {
            if let Err(status) = watch.next().await.expect("a status ends it") {
                break status;
            }
        };
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(details(&status).0, "STOPPING");
        let asked = request("pump-2").encode_to_vec();
        let length = u32::try_from(asked.len()).unwrap();
        let framed = [&[0][..], &length.to_be_bytes(), &asked].concat();
        body.send_data(framed.into(), true).unwrap();
        let answer = within(answer).await.unwrap();
        let status = Status::from_header_map(answer.headers()).expect("a status at once");
        assert_eq!(status.code(), Code::Unavailable);
        let (reason, details) = details(&status);
        assert_eq!(reason, "STOPPING");
        assert!(details.retry_info().unwrap().retry_delay.is_some());
        drop(sender);
    };
    let folder = world.folder.path().to_owned();
    tokio::join!(world.stop(), asks);
    let log = std::fs::metadata(folder.join("mgmt-service.db-wal"));
    assert!(
        log.is_err() || log.is_ok_and(|log| log.len() == 0),
        "what was written is in the database itself"
    );
}

#[tokio::test]
async fn a_call_that_never_ends_does_not_hold_up_the_stop() {
    let mut world = World::with("[limits]\npatience = \"1day\"").await;
    let (mut sender, _connection) = raw(&world, 65_535).await;
    let (_answer, _body) = open(&mut sender, "Reboot");
    world.stop().await;
}

#[tokio::test]
async fn a_poller_that_dies_ends_the_service_with_an_error() {
    let emulator = Emulator::start(EmulatorConfig::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(&emulator, folder.path(), "");
    let mut config = Config::parse(&settings, folder.path(), None).unwrap();
    // No settings can say that, and the poller cannot count with it.
    config.cadence.max = Duration::MAX;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = connect(listener.local_addr().unwrap()).await;
    let service = mgmt_service::serve(listener, config, CancellationToken::new());
    // Whoever asks is answered, by an error or in time before it.
    let (ended, _) =
        within(async { tokio::join!(service, client.reboot(request("pump-1"))) }).await;
    assert!(matches!(ended, Err(RunError::Died("poller"))), "{ended:?}");
}
