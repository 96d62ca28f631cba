//! Cameras that tell the time of their last boot, and that do not.

use std::sync::{
    Mutex,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use super::*;

const HOUR: i64 = 3_600;

/// What the camera calls the places of its events: it is behind a router, and knows nothing of that.
const INSIDE: &str = "http://192.168.1.2:8080";

/// How a camera tells the time of its boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Habit {
    Keeps,
    Reckons,
    /// Sets its clock between the question for its boot and the next look at its clock.
    SetsWhileAsked,
    /// Has no event service.
    WithoutEvents,
    /// Knows no such event.
    WithoutTopic,
    /// Has nothing to say about it.
    Silent,
    /// Tells the time when its clock was set.
    OfItsClock,
    /// Has a clock that nobody set.
    Unset,
}

/// A camera's clock and boot, all in seconds; verifies who asks, and keeps count of its subscriptions.
#[derive(Debug)]
struct Camera {
    habit: Habit,
    /// By how much its clock is ahead.
    ahead: AtomicI64,
    /// Which boot of the device it noted, and when.
    booted: Mutex<(u32, i64)>,
    subscriptions: AtomicUsize,
    /// Answers that were asked for since the subscription.
    pulls: AtomicUsize,
    asked: AtomicUsize,
}

impl Camera {
    fn new(habit: Habit) -> Self {
        let now = Timestamp::now().as_second() + AHEAD;
        Self {
            habit,
            ahead: AtomicI64::new(AHEAD),
            booted: Mutex::new((0, now - 24 * HOUR)),
            subscriptions: AtomicUsize::new(0),
            pulls: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
        }
    }

    /// Sets its clock.
    fn set(&self, by: i64) {
        self.ahead.fetch_add(by, Ordering::Relaxed);
        if self.habit == Habit::Reckons {
            self.booted.lock().unwrap().1 += by;
        }
    }

    fn now(&self) -> Timestamp {
        let ahead = self.ahead.load(Ordering::Relaxed);
        Timestamp::from_second(Timestamp::now().as_second() + ahead).unwrap()
    }

    /// Notes the boot that it is in.
    fn boots(&self, boots: u32) {
        let mut booted = self.booted.lock().unwrap();
        if booted.0 != boots {
            *booted = (boots, self.now().as_second());
        }
    }

    fn answer(&self, asked: &Asked) -> Option<Reply> {
        let action = event_action(asked);
        // Signed by the clock of before.
        let set = self.habit == Habit::SetsWhileAsked;
        assert!(set || is_signed_at(&asked.body, self.now()), "{asked:?}");
        self.asked.fetch_add(1, Ordering::Relaxed);
        let said = match (action, &*asked.path) {
            ("GetCapabilities", SERVICE) if self.habit != Habit::WithoutEvents => format!(
                "<x:R xmlns:x=\"urn:x\"><x:Capabilities><x:Events>\
                 <x:XAddr>{INSIDE}/onvif/events?a=1</x:XAddr></x:Events></x:Capabilities></x:R>"
            ),
            ("CreatePullPointSubscriptionRequest", "/onvif/events?a=1")
                if self.habit != Habit::WithoutTopic =>
            {
                assert!(asked.body.contains(">tns1:Monitoring/OperatingTime//.<"));
                self.subscriptions.fetch_add(1, Ordering::Relaxed);
                self.pulls.store(0, Ordering::Relaxed);
                format!(
                    "<x:R xmlns:x=\"urn:x\"><x:SubscriptionReference><x:Address>{INSIDE}/pull</x:Address>\
                     <x:ReferenceParameters><v:Id xmlns:v=\"urn:v\" x:y=\"z\">7 &amp; 8</v:Id>\
                     </x:ReferenceParameters></x:SubscriptionReference></x:R>"
                )
            }
            ("PullMessagesRequest", "/pull") => self.properties(asked),
            ("UnsubscribeRequest", "/pull") => {
                self.subscriptions.fetch_sub(1, Ordering::Relaxed);
                String::new()
            }
            (_, _) => {
                let unknown = FAULT.replace("NotAuthorized", "ActionNotSupported");
                return Some(Reply::new(400, envelope(&unknown)));
            }
        };
        Some(super::said(&said))
    }

    /// One property in each answer.
    fn properties(&self, asked: &Asked) -> String {
        assert!(
            asked
                .body
                .contains("<p:Id xmlns:p=\"urn:v\">7 &amp; 8</p:Id>")
        );
        assert!(asked.body.contains(&format!(">{INSIDE}/pull<")));
        let noted = Timestamp::from_second(self.booted.lock().unwrap().1).unwrap();
        let (name, time) = match (self.pulls.fetch_add(1, Ordering::Relaxed), self.habit) {
            (_, Habit::Silent) => return "<x:R xmlns:x=\"urn:x\"/>".to_owned(),
            (0, Habit::OfItsClock) => ("LastClockSynchronization", noted),
            (0, _) => ("LastReset", self.now()),
            (_, Habit::Unset) => ("LastReboot", "1970-01-01T00:00:40Z".parse().unwrap()),
            (_, _) => ("LastReboot", noted),
        };
        if self.habit == Habit::SetsWhileAsked {
            self.set(10 * HOUR);
        }
        format!(
            "<x:R xmlns:x=\"urn:x\"><x:NotificationMessage>\
             <x:Topic>\n tns1:Monitoring/OperatingTime/{name}</x:Topic><x:Message>\
             <x:Message PropertyOperation=\"Initialized\"><x:Data>\
             <x:SimpleItem Name=\"Status\" Value=\"{time}\"/></x:Data></x:Message></x:Message>\
             </x:NotificationMessage></x:R>"
        )
    }
}

fn event_action(asked: &Asked) -> &str {
    assert_eq!(asked.method, "POST");
    // What is sent is an envelope.
    soap::read(asked.body.as_bytes()).unwrap().unwrap();
    let (_, action) = asked.headers["content-type"].rsplit_once('/').unwrap();
    let action = action.trim_end_matches('"');
    if action != "GetCapabilities" {
        assert!(asked.body.contains(&format!("/{action}</a:Action>")));
    }
    action
}

/// A camera on its own, that answers everything else.
async fn camera_of(habit: Habit) -> (Arc<Camera>, TestServer) {
    let camera = Arc::new(Camera::new(habit));
    let serving = camera.clone();
    let server = TestServer::start(move |asked| {
        if asked.body.contains("<GetSystemDateAndTime ") {
            return Some(clock_at(serving.now()));
        }
        if asked.body.contains("<GetDeviceInformation ") {
            return Some(said("<r/>"));
        }
        serving.answer(asked)
    })
    .await;
    (camera, server)
}

#[tokio::test]
async fn no_behavior_of_a_camera_that_tells_its_last_boot_gets_a_false_verdict() {
    let shows = Shows {
        proof: Grade::BootChanged,
        // Two boots within seconds are one.
        each_boot: false,
        health: true,
    };
    conformance::check(shows, async |device| {
        let camera = Camera::new(Habit::Keeps);
        let server = TestServer::start(move |asked| {
            let (_, action) = asked.headers["content-type"].rsplit_once('/').unwrap();
            if let "GetSystemDateAndTime\"" | "GetDeviceInformation\"" | "SystemReboot\"" = action {
                return answer_camera(&device, action.trim_end_matches('"'));
            }
            camera.boots(device.peek()?.boots);
            camera.answer(asked)
        })
        .await;
        (Arc::new(driver(&server)) as Arc<dyn Driver>, server)
    })
    .await;
}

#[tokio::test]
async fn a_camera_that_tells_its_last_boot_proves_another_one() {
    let (camera, server) = camera_of(Habit::Keeps).await;
    let driver_of = driver(&server);
    let probe = driver_of.probe().await.unwrap();
    assert_eq!(
        (probe.best_grade, probe.required_grade, probe.boot_id),
        (Grade::BootChanged, Grade::BootChanged, None)
    );
    let baseline = driver_of.baseline().await.unwrap();
    let hours = baseline.uptime.map(|up| up.as_secs().div_ceil(3_600));
    assert!(matches!(hours, Some(24 | 25)), "{baseline:?}");
    let seen = driver_of.observe(&baseline).await.unwrap();
    assert_eq!(seen.boot_id, baseline.boot_id);
    assert!(seen.detail.contains(", booted "), "{}", seen.detail);

    camera.boots(1);
    let seen = driver_of.observe(&baseline).await.unwrap();
    assert!(
        seen.boot_id.is_some() && seen.boot_id != baseline.boot_id,
        "{seen:?}"
    );
    // The same to a gateway that began anew meanwhile.
    let after = driver(&server).observe(&baseline).await.unwrap();
    assert_eq!(after.boot_id, seen.boot_id);
    assert_eq!(camera.subscriptions.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_camera_whose_clock_is_set_has_not_booted() {
    for habit in [Habit::Keeps, Habit::Reckons] {
        for by in [-30 * HOUR, -HOUR, HOUR, 300_000 * HOUR] {
            let (camera, server) = camera_of(habit).await;
            let driver_of = driver(&server);
            let baseline = driver_of.baseline().await.unwrap();
            assert!(baseline.boot_id.is_some());
            camera.set(by);
            let seen = driver_of.observe(&baseline).await.unwrap();
            assert_eq!(seen.boot_id, baseline.boot_id, "{habit:?} {by}");
            // Nor to a gateway that began anew meanwhile, which may know nothing.
            let after = driver(&server).observe(&baseline).await.unwrap();
            let named = after.boot_id.is_none() || after.boot_id == baseline.boot_id;
            assert!(named, "{habit:?} {by}: {after:?}");
        }
    }
}

#[tokio::test]
async fn a_boot_that_is_told_while_the_clock_is_set_is_not_believed() {
    let (_camera, server) = camera_of(Habit::SetsWhileAsked).await;
    let driver = driver(&server);
    assert_eq!(driver.probe().await.unwrap().best_grade, Grade::Returned);
    assert_eq!(driver.baseline().await.unwrap().boot_id, None);
}

#[tokio::test]
async fn a_camera_that_tells_no_boot_shows_its_presence_as_ever() {
    for habit in [
        Habit::WithoutEvents,
        Habit::WithoutTopic,
        Habit::Silent,
        Habit::OfItsClock,
        Habit::Unset,
    ] {
        let (camera, server) = camera_of(habit).await;
        let driver = driver(&server);
        let probe = driver.probe().await.unwrap();
        let grades = (probe.best_grade, probe.required_grade);
        assert_eq!(grades, (Grade::Returned, Grade::Returned), "{habit:?}");
        let baseline = driver.baseline().await.unwrap();
        assert_eq!((&baseline.boot_id, baseline.uptime), (&None, None));
        let asked = camera.asked.load(Ordering::Relaxed);
        let seen = driver.observe(&baseline).await.unwrap();
        assert!(seen.present && seen.boot_id.is_none());
        assert_eq!(camera.asked.load(Ordering::Relaxed), asked, "{habit:?}");
        assert_eq!(camera.subscriptions.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test]
async fn a_camera_is_not_asked_for_its_last_boot_against_its_settings() {
    let (camera, server) = camera_of(Habit::Keeps).await;
    let driver = OnvifDriver::new(OnvifConfig {
        last_reboot: false,
        ..config(&server, None)
    })
    .unwrap();
    assert_eq!(driver.probe().await.unwrap().best_grade, Grade::Returned);
    assert_eq!(driver.baseline().await.unwrap().boot_id, None);
    assert_eq!(camera.asked.load(Ordering::Relaxed), 0);
}
