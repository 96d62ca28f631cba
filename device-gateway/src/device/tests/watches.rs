//! Calls of `rebootWatch`.

use super::*;

/// Far longer than any of these tests.
const LONG: u64 = 300;

impl World {
    /// Connects; the hub has a first report, whose number is returned.
    async fn reported(&mut self) -> u64 {
        let patch = self.connect().await;
        self.hears(LinkEvent::PatchApplied).await;
        seq(&patch)
    }

    async fn watch(&mut self, after: u64, seconds: u64) {
        let payload = json!({ "v": 1, "afterSeq": after, "timeoutSec": seconds });
        self.link.deliver("rebootWatch", payload).await;
    }

    /// Gives the device something to report, and returns the patch that says so. What was delivered
    /// before has been taken in then.
    async fn schedule(&mut self) -> Map<String, Value> {
        let later = json!({ "requestId": Uuid::new_v4().to_string(), "delaySec": 60 });
        self.link.deliver("reboot", later).await;
        self.link.patch().await
    }
}

fn seq(patch: &Map<String, Value>) -> u64 {
    patch["iothubDM"]["reboot"]["seq"].as_u64().unwrap()
}

#[tokio::test]
async fn two_watchers_are_answered_as_soon_as_the_hub_has_the_next_report() {
    let mut world = World::start();
    let first = world.reported().await;
    world.watch(first, LONG).await;
    world.watch(first, LONG).await;
    let patch = world.schedule().await;
    let (status, _) = world.link.answer().await;
    assert_eq!(status, 202, "the reboot's own answer");
    assert!(
        !world.link.is_answered(),
        "the twin does not hold the report yet"
    );
    world.hears(LinkEvent::PatchApplied).await;
    for _ in 0..2 {
        let answer = world.link.answer().await;
        assert_eq!(answer, (200, json!({ "seq": seq(&patch) })));
    }
    assert!(world.orders.try_recv().is_err(), "a watch begins nothing");
}

#[tokio::test]
async fn a_watcher_who_missed_a_report_is_answered_at_once() {
    let mut world = World::start();
    let first = world.reported().await;
    for missed in [0, first + 100] {
        world.watch(missed, LONG).await;
        assert_eq!(world.link.answer().await, (200, json!({ "seq": first })));
    }
}

#[tokio::test]
async fn a_watch_ends_when_its_time_is_up() {
    let mut world = World::start();
    let first = world.reported().await;
    let began = Instant::now();
    world.watch(first, 1).await;
    assert_eq!(world.link.answer().await, (200, json!({ "seq": first })));
    assert!(began.elapsed() >= Duration::from_secs(1));
    assert!(world.orders.try_recv().is_err());
}

#[tokio::test]
async fn watches_leave_room_for_other_methods() {
    let mut world = World::start();
    let first = world.reported().await;
    for number in 0..40 {
        world.watch(first, LONG).await;
        if number >= 8 {
            // The oldest ends early.
            assert_eq!(world.link.answer().await, (200, json!({ "seq": first })));
        }
    }
    let (status, body) = world.link.call("rebootStatus", json!(null)).await;
    assert_eq!(
        (status, &body["error"]["code"]),
        (404, &json!("UNKNOWN_ATTEMPT"))
    );
}

#[tokio::test]
async fn a_watch_ends_with_its_connection() {
    let mut world = World::start();
    let first = world.reported().await;
    world.watch(first, LONG).await;
    world.hears(LinkEvent::Renewing).await;
    assert_eq!(world.link.answer().await, (200, json!({ "seq": first })));

    world.watch(first, LONG).await;
    world.hears(LinkEvent::Down).await;
    world.hears(LinkEvent::Up(2)).await;
    let (status, _) = world.link.call("rebootStatus", json!(null)).await;
    assert_eq!(status, 404, "what was held is not answered to a new hub");
    assert!(world.link.is_quiet());
}

#[tokio::test]
async fn a_malformed_watch_is_refused_and_one_that_cannot_be_journalled_is_held() {
    let mut world = World::start();
    let first = world.reported().await;
    let malformed = json!({ "timeoutSec": 0 });
    let (status, body) = world.link.call("rebootWatch", malformed).await;
    assert_eq!((status, &body["error"]["code"]), (400, &json!("INVALID")));
    world.full.store(true, Ordering::SeqCst);
    let (status, _) = world.link.call("reboot", json!(null)).await;
    assert_eq!(status, 500);
    world.watch(first, 1).await;
    assert_eq!(world.link.answer().await, (200, json!({ "seq": first })));
}
