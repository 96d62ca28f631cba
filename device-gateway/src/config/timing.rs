//! The settings of `[timing]`.

use std::time::Duration;

use daemon::settings::Section;

use crate::engine::Settings;

/// The longest time that can be set, more than anything here takes.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3_600);

/// The most boots that can be allowed before they are a loop.
const MOST_BOOTS: u32 = 30;

/// The shortest one where none at all makes no sense.
const SHORTEST: Duration = Duration::from_millis(1);

/// The pace of a hub session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkTiming {
    /// How long a token is good for. It is renewed after 85 % of that.
    pub token_life: Duration,
    /// How long the line may be silent before a ping.
    pub keep_alive: Duration,
    /// How long a connection may take, from the name to the hub's welcome.
    pub connect_limit: Duration,
    /// How long a request to the hub may take.
    pub request_limit: Duration,
    /// How many devices may connect in a second, all together.
    pub connects_per_second: u32,
    /// The first wait before connecting again is up to this long.
    pub reconnect_min: Duration,
    /// Later waits are up to this long.
    pub reconnect_max: Duration,
    /// A link that stayed up this long was good, and the waits begin anew.
    pub link_good: Duration,
    /// A hub that was out of reach this long may have been replaced: a device that knows the
    /// provisioning service asks it again.
    pub failover_after: Duration,
    /// How long a report that nobody waits for is held back.
    pub report_delay: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            // The hub's own tools use an hour; every renewal is a new connection.
            token_life: Duration::from_secs(3_600),
            keep_alive: Duration::from_secs(60),
            connect_limit: Duration::from_secs(30),
            request_limit: Duration::from_secs(30),
            // The smallest hub takes 100, of all its clients.
            connects_per_second: 90,
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(60),
            link_good: Duration::from_secs(30),
            failover_after: Duration::from_secs(300),
            report_delay: Duration::from_secs(5),
        }
    }
}

pub(super) fn read_link(section: &mut Section) -> LinkTiming {
    let default = LinkTiming::default();
    LinkTiming {
        token_life: positive(section, "token_life", default.token_life),
        keep_alive: positive(section, "keep_alive", default.keep_alive),
        connect_limit: positive(section, "connect_limit", default.connect_limit),
        request_limit: positive(section, "request_limit", default.request_limit),
        connects_per_second: section
            .count("connects_per_second", 1, 100_000)
            .or(default.connects_per_second),
        reconnect_min: positive(section, "reconnect_min", default.reconnect_min),
        reconnect_max: positive(section, "reconnect_max", default.reconnect_max),
        link_good: any(section, "link_good", default.link_good),
        failover_after: any(section, "failover_after", default.failover_after),
        report_delay: any(section, "report_delay", default.report_delay),
    }
}

/// What all devices share.
pub(super) fn read_engine(section: &mut Section) -> Settings {
    let default = Settings::default();
    Settings {
        answer_grace: any(section, "answer_grace", default.answer_grace),
        ack_limit: any(section, "ack_limit", default.ack_limit),
        observe_interval: positive(section, "observe_interval", default.observe_interval),
        block_interval: positive(section, "block_interval", default.block_interval),
        probe_interval: positive(section, "probe_interval", default.probe_interval),
        survey_limit: positive(section, "survey_limit", default.survey_limit),
        ..default
    }
}

/// What each device has of its own.
pub(super) fn read_device(section: &mut Section, shared: &Settings) -> Settings {
    let shared = shared.clone();
    let boots = u32::try_from(shared.loop_boots).unwrap_or(MOST_BOOTS);
    let boots = section.count("loop_boots", 1, MOST_BOOTS).or(boots);
    Settings {
        settle: any(section, "settle", shared.settle),
        go_down_limit: positive(section, "go_down_limit", shared.go_down_limit),
        return_limit: positive(section, "return_limit", shared.return_limit),
        verify_limit: positive(section, "verify_limit", shared.verify_limit),
        prepare_limit: positive(section, "prepare_limit", shared.prepare_limit),
        cooldown: any(section, "cooldown", shared.cooldown),
        loop_boots: boots as usize,
        loop_window: any(section, "loop_window", shared.loop_window),
        ..shared
    }
}

/// Takes a time, which may be none at all.
fn any(section: &mut Section, key: &str, default: Duration) -> Duration {
    section.duration(key, Duration::ZERO, LONGEST).or(default)
}

/// Takes a time that must not be nothing, and may be left out.
pub(super) fn limit(section: &mut Section, key: &str) -> Option<Duration> {
    section.duration(key, SHORTEST, LONGEST).optional()
}

/// Takes a time that must not be nothing.
pub(super) fn positive(section: &mut Section, key: &str, default: Duration) -> Duration {
    section.duration(key, SHORTEST, LONGEST).or(default)
}
