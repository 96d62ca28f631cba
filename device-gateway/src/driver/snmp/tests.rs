//! The driver against agents and PDUs that misbehave.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use iot_hub::reboot::{Grade, Mode};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{
    family::Family,
    test_agent::{Asked, TestAgent, Told},
    *,
};
use crate::driver::{
    Driver, DriverError, STEP_LIMIT, Triggered,
    conformance::{FakeDevice, Shows, check_in},
    power::{Outlet as _, Powered},
    tests::{order, rehearsal},
};

const SYS_OBJECT_ID: &str = "1.3.6.1.2.1.1.2.0";
const SYS_UP_TIME: &str = "1.3.6.1.2.1.1.3.0";
const HR_SYSTEM_UPTIME: &str = "1.3.6.1.2.1.25.1.1.0";
const ENGINE_BOOTS: &str = "1.3.6.1.6.3.10.2.1.2.0";

/// How long the power is away at least; it also waits until somebody saw it off.
const OFF_TIME: Duration = Duration::from_millis(20);

/// The longest that a test waits for what has to come.
const DEADLINE: Duration = Duration::from_secs(30);

/// What a PDU does with the command to cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cycling {
    /// Switches off and on again.
    Cycles,
    /// The same, without an answer to the command.
    NoAnswer,
    /// Says yes and does nothing.
    Lies,
    /// Neither answers nor does anything.
    Deaf,
    /// Says no.
    Refuses,
    /// Switches off, and on when told to.
    StaysOff,
    /// The same, and does not tell its state meanwhile.
    Mute,
    /// The same, and tells its state once.
    FallsMute,
}

/// A PDU of APC's first generation, with one outlet.
struct Pdu {
    cycling: Cycling,
    told: Option<Instant>,
    seen_off: bool,
    switched_on: bool,
    /// Told of each command that is carried out.
    on_cycle: Box<dyn FnMut() -> bool + Send>,
}

impl Pdu {
    fn new(cycling: Cycling) -> Self {
        Self {
            cycling,
            told: None,
            seen_off: false,
            switched_on: false,
            on_cycle: Box::new(|| true),
        }
    }

    fn is_on(&self) -> bool {
        let away = self.told.map(|told| told.elapsed());
        match (self.cycling, away) {
            (Cycling::Cycles | Cycling::NoAnswer, Some(away)) => self.seen_off && away >= OFF_TIME,
            (Cycling::StaysOff | Cycling::Mute | Cycling::FallsMute, Some(_)) => self.switched_on,
            (_, None) | (Cycling::Lies | Cycling::Deaf | Cycling::Refuses, _) => true,
        }
    }

    fn is_mute(&self) -> bool {
        let mute = match self.cycling {
            Cycling::Mute => true,
            Cycling::FallsMute => self.seen_off,
            Cycling::Cycles
            | Cycling::NoAnswer
            | Cycling::Lies
            | Cycling::Deaf
            | Cycling::Refuses
            | Cycling::StaysOff => false,
        };
        mute && self.told.is_some() && !self.switched_on
    }

    fn tell(&mut self, asked: &Asked) -> Told {
        let family = Family::ApcRpdu;
        let (command, status) = (family.command(4).to_string(), family.status(4).to_string());
        match asked {
            Asked::Get(name) if name == SYS_OBJECT_ID => {
                Told::Name(vec![1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 5])
            }
            Asked::Get(name) if *name == status && self.is_mute() => Told::Silence,
            Asked::Get(name) if *name == status || *name == command => {
                let on = self.is_on();
                self.seen_off |= !on;
                Told::Number(if on { 1 } else { 2 })
            }
            Asked::Set(name, 3) if *name == command => match self.cycling {
                Cycling::Refuses => Told::Error(17),
                Cycling::Deaf => Told::Silence,
                Cycling::Cycles
                | Cycling::NoAnswer
                | Cycling::Lies
                | Cycling::StaysOff
                | Cycling::Mute
                | Cycling::FallsMute => {
                    self.told = Some(Instant::now());
                    let answers = (self.on_cycle)();
                    if answers && self.cycling != Cycling::NoAnswer {
                        Told::Number(3)
                    } else {
                        Told::Silence
                    }
                }
            },
            Asked::Set(name, 1) if *name == command => {
                self.switched_on = true;
                Told::Number(1)
            }
            Asked::Get(_) | Asked::Set(_, _) => Told::NoSuchObject,
        }
    }
}

fn outlet_of(agent: &TestAgent) -> SnmpOutlet {
    SnmpOutlet::new(SnmpOutletSettings {
        agent: agent.settings(),
        outlet: 4,
        off_limit: Duration::from_millis(300),
    })
    .watched_faster()
}

async fn cycle(cycling: Cycling) -> (Result<Triggered, DriverError>, Vec<i64>) {
    let mut pdu = Pdu::new(cycling);
    let agent = TestAgent::start(move |asked| pdu.tell(asked)).await;
    (outlet_of(&agent).cycle().await, agent.sets())
}

#[tokio::test]
async fn an_outlet_is_seen_off_and_on_again_by_one_command() {
    for cycling in [Cycling::Cycles, Cycling::NoAnswer] {
        let (result, sets) = cycle(cycling).await;
        let Ok(Triggered::Seen(seen)) = result else {
            panic!("{cycling:?}: {result:?}");
        };
        assert!(seen.starts_with("outlet 4: off after"), "{seen}");
        assert_eq!(sets, [3], "{cycling:?}");
    }
}

#[tokio::test]
async fn an_outlet_that_was_left_off_is_switched_on_and_no_other_is_told_anything() {
    for (cycling, sets) in [
        (Cycling::StaysOff, &[1][..]),
        (Cycling::FallsMute, &[1]),
        (Cycling::Cycles, &[]),
        (Cycling::Lies, &[]),
    ] {
        let mut pdu = Pdu::new(cycling);
        // By a gateway that died.
        pdu.told = Some(Instant::now());
        let agent = TestAgent::start(move |asked| pdu.tell(asked)).await;
        assert_eq!(outlet_of(&agent).restore().await, Ok(()), "{cycling:?}");
        assert_eq!(agent.sets(), sets, "{cycling:?}");
    }
}

#[tokio::test]
async fn an_outlet_that_does_nothing_is_no_power_cycle_and_is_told_once() {
    let (result, sets) = cycle(Cycling::Lies).await;
    assert!(
        matches!(&result, Err(DriverError::Failed { message, .. })
        if message == "the outlet was not seen off"),
        "{result:?}"
    );
    assert_eq!(sets, [3]);
    let (result, sets) = cycle(Cycling::Deaf).await;
    assert_eq!((result, sets), (Ok(Triggered::Unacknowledged), vec![3]));
    let (result, sets) = cycle(Cycling::Refuses).await;
    let refused = Err(DriverError::Refused("notWritable".into()));
    assert_eq!((result, sets), (refused, vec![3]));
}

#[tokio::test]
async fn an_outlet_that_stays_off_is_switched_on() {
    let (result, sets) = cycle(Cycling::StaysOff).await;
    let seen = "outlet 4: went off, stayed off, and was switched on".to_owned();
    assert_eq!(result, Ok(Triggered::Seen(seen)));
    assert_eq!(
        (sets[0], sets.iter().filter(|set| **set == 3).count()),
        (3, 1)
    );
    assert!(sets[1..].iter().all(|set| *set == 1), "{sets:?}");
}

#[tokio::test]
async fn an_outlet_that_may_be_off_is_switched_on_however_slowly_its_pdu_answers() {
    for (cycling, expected) in [
        (Cycling::Mute, "could not be seen"),
        (Cycling::FallsMute, "went off, stayed off"),
    ] {
        let mut pdu = Pdu::new(cycling);
        let agent = TestAgent::start(move |asked| pdu.tell(asked)).await;
        let mut outlet = outlet_of(&agent);
        // One answer may take longer than the whole command.
        outlet.allow_for_an_answer(2 * STEP_LIMIT);
        let result = timeout(DEADLINE, outlet.cycle()).await;
        let seen = format!("outlet 4: {expected}, and was switched on");
        assert_eq!(result, Ok(Ok(Triggered::Seen(seen))), "{cycling:?}");
        assert_eq!(agent.sets(), [3, 1], "{cycling:?}");
    }
}

#[tokio::test]
async fn an_outlet_is_switched_on_although_nobody_waits_for_the_end_of_its_cycle() {
    let (told, mut commands) = mpsc::unbounded_channel();
    let mut pdu = Pdu::new(Cycling::StaysOff);
    let agent = TestAgent::start(move |asked| {
        if let Asked::Set(_, number) = asked {
            // Nobody listens once the test has ended.
            let _ = told.send(*number);
        }
        pdu.tell(asked)
    })
    .await;
    let outlet = outlet_of(&agent);
    tokio::select! {
        result = outlet.cycle() => panic!("{result:?}"),
        first = commands.recv() => assert_eq!(first, Some(3)),
    }
    drop(outlet);
    assert_eq!(timeout(DEADLINE, commands.recv()).await, Ok(Some(1)));
}

#[tokio::test]
async fn a_command_whose_answer_makes_no_sense_may_have_taken_the_power_away() {
    let mut pdu = Pdu::new(Cycling::StaysOff);
    let agent = TestAgent::start(move |asked| match (pdu.tell(asked), asked) {
        (_, Asked::Set(_, 3)) => Told::Garbage(vec![0x30, 0]),
        (told, _) => told,
    })
    .await;
    let seen = "outlet 4: went off, stayed off, and was switched on".to_owned();
    assert_eq!(outlet_of(&agent).cycle().await, Ok(Triggered::Seen(seen)));
}

#[tokio::test]
async fn nothing_is_sent_to_a_pdu_of_another_kind() {
    let cases: [(Told, &str); 3] = [
        (
            Told::Name(vec![1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 9]),
            "318.1.3.4.9",
        ),
        (Told::NoSuchObject, "does not say what it is"),
        // The right family, and only metered.
        (
            Told::Name(vec![1, 3, 6, 1, 4, 1, 13742, 6]),
            "no switched outlet 4",
        ),
    ];
    for (object_id, expected) in cases {
        let agent = TestAgent::start(move |asked| match asked {
            Asked::Get(name) if name == SYS_OBJECT_ID => object_id.clone(),
            Asked::Get(_) | Asked::Set(_, _) => Told::NoSuchObject,
        })
        .await;
        let result = outlet_of(&agent).cycle().await;
        assert!(
            matches!(&result, Err(DriverError::Unsupported(why)) if why.contains(expected)),
            "{result:?}"
        );
        assert!(agent.sets().is_empty());
    }
}

#[tokio::test]
async fn an_outlet_that_is_off_already_is_left_alone() {
    let agent = TestAgent::start(|asked| match asked {
        Asked::Get(name) if name == SYS_OBJECT_ID => {
            Told::Name(vec![1, 3, 6, 1, 4, 1, 3808, 1, 1, 3])
        }
        Asked::Get(_) | Asked::Set(_, _) => Told::Number(2),
    })
    .await;
    let result = outlet_of(&agent).cycle().await;
    assert!(matches!(result, Err(DriverError::Refused(_))), "{result:?}");
    assert!(agent.sets().is_empty());
}

/// The counters of a device's own agent, as it shows them.
fn counters(device: &FakeDevice, host: bool, asked: &Asked) -> Told {
    let name = match asked {
        Asked::Get(name) => name.as_str(),
        Asked::Set(_, _) => return Told::Error(17),
    };
    // The first value of a question is the look; the others belong to it.
    let look = if name == HR_SYSTEM_UPTIME {
        device.look()
    } else {
        device.peek()
    };
    let Some(look) = look else {
        return Told::Silence;
    };
    let ticks = u32::try_from(look.uptime.as_millis() / 10).expect("a short uptime");
    match name {
        HR_SYSTEM_UPTIME if host => Told::Ticks(ticks),
        SYS_UP_TIME => Told::Ticks(ticks),
        ENGINE_BOOTS => Told::Number(i64::from(look.boots) + 40),
        _ => Told::NoSuchObject,
    }
}

async fn every_behavior(host: bool, proof: Grade) {
    let shows = Shows {
        proof,
        each_boot: false,
        health: false,
    };
    check_in(Mode::PowerCycle, shows, async |device| {
        let shown = Arc::clone(&device);
        let own = TestAgent::start(move |asked| counters(&shown, host, asked)).await;
        let mut pdu = Pdu::new(Cycling::Cycles);
        pdu.on_cycle = Box::new(move || device.command(None));
        let pdu = TestAgent::start(move |asked| pdu.tell(asked)).await;
        let agent = Arc::new(AgentDriver::new(own.settings()));
        let driver = Powered::new(agent, Arc::new(outlet_of(&pdu)));
        (Arc::new(driver) as Arc<dyn Driver>, (own, pdu))
    })
    .await;
}

#[tokio::test]
async fn every_behavior_of_a_device_behind_an_outlet_is_told_by_its_agents_boots() {
    every_behavior(false, Grade::BootChanged).await;
}

#[tokio::test]
async fn every_behavior_of_a_computer_behind_an_outlet_is_told_by_its_uptime() {
    every_behavior(true, Grade::UptimeReset).await;
}

#[tokio::test]
async fn an_agent_that_restarts_on_a_computer_that_runs_on_is_no_boot() {
    let shown = Arc::new(Mutex::new((Some(500_000_u32), 400_000_u32, 7_i64)));
    let told = Arc::clone(&shown);
    let agent = TestAgent::start(move |asked| {
        let (host, agent, boots) = *told.lock().unwrap();
        match asked {
            Asked::Get(name) if name == HR_SYSTEM_UPTIME => {
                host.map_or(Told::NoSuchObject, Told::Ticks)
            }
            Asked::Get(name) if name == SYS_UP_TIME => Told::Ticks(agent),
            Asked::Get(_) | Asked::Set(_, _) => Told::Number(boots),
        }
    })
    .await;
    let driver = AgentDriver::new(agent.settings());
    let baseline = driver.baseline().await.unwrap();
    *shown.lock().unwrap() = (Some(500_100), 100, 8);
    let seen = driver.observe(&baseline).await.unwrap();
    let uptime = Some(Duration::from_secs(5_001));
    assert_eq!((seen.boot_count, seen.uptime), (None, uptime));
    // For a moment it does not know its computer's uptime, and its own counts for nothing.
    *shown.lock().unwrap() = (None, 200, 8);
    let nothing = driver.observe(&baseline).await;
    assert!(
        matches!(nothing, Err(DriverError::Failed { .. })),
        "{nothing:?}"
    );
}

#[tokio::test]
async fn a_device_of_which_only_the_outlet_is_known_is_away_while_that_is_off() {
    let state = Arc::new(Mutex::new(1));
    let told = Arc::clone(&state);
    let agent = TestAgent::start(move |asked| match asked {
        Asked::Get(name) if name == SYS_OBJECT_ID => {
            Told::Name(vec![1, 3, 6, 1, 4, 1, 318, 1, 3, 4, 5])
        }
        Asked::Get(_) | Asked::Set(_, _) => Told::Number(*told.lock().unwrap()),
    })
    .await;
    let driver = OutletDriver::new(outlet_of(&agent));
    let baseline = driver.baseline().await.unwrap();
    assert!(driver.observe(&baseline).await.unwrap().present);
    *state.lock().unwrap() = 2;
    let gone = DriverError::Absent("the outlet is off".into());
    assert_eq!(driver.observe(&baseline).await, Err(gone));
    *state.lock().unwrap() = 1;
    assert!(driver.observe(&baseline).await.unwrap().present);
    let refused = driver.trigger(&order(Mode::Graceful)).await;
    assert!(matches!(refused, Err(DriverError::Unsupported(_))));
}

#[tokio::test]
async fn a_rehearsal_looks_and_commands_nothing() {
    let mut pdu = Pdu::new(Cycling::Cycles);
    let agent = TestAgent::start(move |asked| pdu.tell(asked)).await;
    let outlet = outlet_of(&agent);
    let driver = Powered::new(
        Arc::new(OutletDriver::new(outlet.clone())),
        Arc::new(outlet),
    );
    let rehearsed = driver.trigger(&rehearsal(Mode::PowerCycle)).await;
    assert_eq!(rehearsed, Ok(Triggered::Rehearsed));
    assert!(agent.sets().is_empty());
}

#[tokio::test]
async fn an_agents_bytes_never_end_more_than_its_own_question() {
    // An SNMPv3 report whose engine time is the largest number there is.
    let report = [
        &[0x30, 0x3c, 2, 1, 3][..],
        &[0x30, 0x0d, 2, 1, 1, 2, 2, 0x7f, 0xff, 4, 1, 0, 2, 1, 3],
        &[4, 0x17, 0x30, 0x15, 4, 5, 0x80, 0, 0, 0, 1, 2, 1, 1],
        &[
            2, 8, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 4, 0, 4, 0, 4, 0,
        ],
        &[
            0x30, 0x0f, 4, 0, 4, 0, 0xa8, 9, 2, 1, 0, 2, 1, 0, 2, 1, 0, 0x30, 0,
        ],
    ]
    .concat();
    for garbage in [report, vec![], vec![0x30], vec![0xff; 64]] {
        let agent = TestAgent::start(move |_| Told::Garbage(garbage.clone())).await;
        let mut settings = agent.settings();
        let driver = AgentDriver::new(settings.clone());
        assert!(driver.baseline().await.is_err());
        settings.access = SnmpAccess::V3 {
            user: "u".into(),
            auth: SnmpAuth::Sha256,
            auth_password: "password-1".into(),
            privacy: SnmpPrivacy::Aes128,
            privacy_password: "password-2".into(),
        };
        assert!(AgentDriver::new(settings).baseline().await.is_err());
    }
}
