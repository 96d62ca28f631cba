//! The Rust client against a service that dies under it: nothing is missed, nothing is told twice,
//! nothing is rebooted twice.

use hub_emulator::{Fault, Operation, Times};
use iothubdm_client::{
    AttemptState, Client, Code, Error, Event, RebootEvent, Update, Watch, WatchOptions,
};
use iothubdm_tests::{Behavior, DeviceSetup, PATIENCE, World, request};
use std::time::Duration;

const DEVICE: &str = "pump-1";
const ID: &str = "7d3f0c52-1f5e-4b6b-9a53-0a4f3c1d2e5f";

async fn slow_to_boot() -> World {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved);
    World::with_device(setup.boot_time(Duration::from_secs(2))).await
}

async fn client(world: &World) -> Client {
    let address = format!("http://{}", world.service_address());
    Client::connect(&address).await.expect("connect")
}

/// What a watch told.
#[derive(Debug, Default)]
struct Told {
    events: Vec<RebootEvent>,
    interruptions: usize,
}

impl Told {
    /// Reads a watch until an event satisfies `enough`, or to its end. Returns whether it has ended.
    async fn read(&mut self, watch: &mut Watch, enough: impl Fn(&RebootEvent) -> bool) -> bool {
        let read = async {
            while let Some(update) = watch.next().await {
                match update.expect("the watch goes on") {
                    Update::Event(event) => {
                        let done = enough(&event);
                        self.events.push(*event);
                        if done {
                            return false;
                        }
                    }
                    Update::Interrupted { .. } => self.interruptions += 1,
                }
            }
            true
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("the watch goes on")
    }

    /// The revisions and states of the steps.
    fn steps(&self) -> Vec<(i64, AttemptState)> {
        self.events
            .iter()
            .filter_map(|event| match &event.event {
                Some(Event::Progress(step)) => Some((event.revision, step.state())),
                Some(Event::Snapshot(_) | Event::Bookmark(_)) | None => None,
            })
            .collect()
    }
}

fn is(state: AttemptState) -> impl Fn(&RebootEvent) -> bool {
    move |event| matches!(&event.event, Some(Event::Progress(step)) if step.state() == state)
}

#[tokio::test]
async fn a_watch_outlives_a_service_that_is_killed_under_it() {
    let mut world = slow_to_boot().await;
    let client = client(&world).await;
    let attempt = client.reboot(request(DEVICE)).await.expect("ask");
    let mut watch = client.watch(&attempt.name);
    let mut told = Told::default();
    told.read(&mut watch, is(AttemptState::Rebooting)).await;

    world.kill_service().await;
    world.start_service().await;
    assert!(told.read(&mut watch, |_| false).await);
    assert!(watch.next().await.is_none());

    assert!(told.interruptions > 0, "{told:?}");
    let steps = told.steps();
    let terminal =
        |event: &&RebootEvent| matches!(&event.event, Some(Event::Progress(step)) if step.terminal);
    assert_eq!(told.events.iter().filter(terminal).count(), 1);
    assert!(terminal(&told.events.last().expect("the end")));
    assert_eq!(
        steps.last().expect("the end").1,
        AttemptState::Succeeded,
        "{}",
        world.logs()
    );

    // The same as somebody sees who was never interrupted.
    let mut whole = Told::default();
    whole
        .read(&mut client.watch(&attempt.name), |_| false)
        .await;
    assert_eq!(whole.interruptions, 0);
    assert_eq!(whole.steps(), steps);
}

#[tokio::test]
async fn streams_that_end_because_they_are_old_are_not_felt() {
    let setup = DeviceSetup::new(DEVICE, Behavior::WellBehaved);
    let world = World::builder()
        .device(setup.boot_time(Duration::from_secs(4)))
        .service_settings("[limits]\nwatch_age = \"1s\"\n")
        .start()
        .await;
    let client = client(&world).await;
    let attempt = client.reboot(request(DEVICE)).await.expect("ask");
    let mut told = Told::default();
    told.read(&mut client.watch(&attempt.name), |_| false).await;
    let steps = told.steps();
    assert_eq!(steps.last().expect("the end").1, AttemptState::Succeeded);
    assert!(
        steps.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{steps:?}"
    );
    assert_eq!(told.interruptions, 0, "{told:?}");
    // Each stream says goodbye with a bookmark, long before an idle one would.
    let goodbye = |event: &&RebootEvent| matches!(event.event, Some(Event::Bookmark(_)));
    assert!(told.events.iter().filter(goodbye).count() > 1, "{told:?}");
}

#[tokio::test]
async fn another_process_goes_on_from_a_token() {
    let world = slow_to_boot().await;
    let client = client(&world).await;
    let attempt = client.reboot(request(DEVICE)).await.expect("ask");
    let mut first = Told::default();
    first
        .read(
            &mut client.watch(&attempt.name),
            is(AttemptState::Rebooting),
        )
        .await;
    let options = WatchOptions {
        resume_token: first.events.last().expect("an event").resume_token.clone(),
        ..WatchOptions::default()
    };
    let mut second = Told::default();
    let mut watch = client.watch_with(&attempt.name, options);
    assert!(second.read(&mut watch, |_| false).await);

    let mut whole = Told::default();
    whole
        .read(&mut client.watch(&attempt.name), |_| false)
        .await;
    assert_eq!([first.steps(), second.steps()].concat(), whole.steps());
}

#[tokio::test]
async fn a_request_whose_service_is_killed_is_asked_again_and_done_once() {
    let mut world = slow_to_boot().await;
    let client = client(&world).await;
    // The service is killed while it waits for the hub.
    let delay = Fault::Delay {
        operation: Some(Operation::MethodCall),
        device: None,
        by: Duration::from_secs(2),
    };
    let faults = world.emulator.faults();
    let delay = faults.inject(delay, Times::Next(1));
    let mut asked = request(DEVICE);
    asked.request_id = ID.to_owned();
    let call = tokio::spawn({
        let client = client.clone();
        async move { client.reboot(asked).await }
    });
    faults.fired(delay, 1).await;
    world.kill_service().await;
    world.start_service().await;

    let attempt = call.await.expect("join").expect("it is asked again");
    assert_eq!(attempt.request_id, ID);
    let verdict = client.watch(&attempt.name).verdict().await;
    let verdict = verdict.expect("follow it");
    assert_eq!(verdict.state(), AttemptState::Succeeded, "{verdict:?}");
    assert_eq!((world.boots(DEVICE), world.commands(DEVICE)), (2, 1));
}

#[tokio::test]
async fn what_the_service_refuses_is_told_by_its_details() {
    let world = slow_to_boot().await;
    let client = client(&world).await;
    let refused = async |device: &str| match client.reboot(request(device)).await {
        Err(Error::Refused(refusal)) => *refusal,
        other => panic!("not refused: {other:?}"),
    };

    let unknown = refused("nobody").await;
    assert_eq!(unknown.code, Code::NotFound);
    assert_eq!(unknown.reason, "DEVICE_NOT_FOUND");
    assert_eq!(unknown.resource.as_deref(), Some("devices/nobody"));

    let wrong = refused("a/b").await;
    assert_eq!(wrong.code, Code::InvalidArgument);
    assert_eq!(wrong.fields[0].name, "device");

    let attempt = client.reboot(request(DEVICE)).await.expect("ask");
    let busy = refused(DEVICE).await;
    assert_eq!(busy.reason, "DEVICE_BUSY");
    assert_eq!(busy.holder(), Some(attempt.name.as_str()));

    let missing = client
        .watch(format!("devices/{DEVICE}/reboots/{ID}"))
        .verdict()
        .await
        .expect_err("no such attempt");
    assert_eq!(missing.code(), Code::NotFound);
}
