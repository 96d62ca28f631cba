//! The settings of `[timing]`.

use std::time::Duration;

use super::table::{Reader, count};
use crate::engine::Settings;

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
    /// The first wait before connecting again is up to this long.
    pub reconnect_min: Duration,
    /// Later waits are up to this long.
    pub reconnect_max: Duration,
    /// A link that stayed up this long was good, and the waits begin anew.
    pub link_good: Duration,
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
            reconnect_min: Duration::from_secs(1),
            reconnect_max: Duration::from_secs(60),
            link_good: Duration::from_secs(30),
            report_delay: Duration::from_secs(5),
        }
    }
}

pub(super) fn read_link(table: &mut Reader) -> LinkTiming {
    let default = LinkTiming::default();
    LinkTiming {
        token_life: table.positive_duration("token_life", default.token_life),
        keep_alive: table.positive_duration("keep_alive", default.keep_alive),
        connect_limit: table.positive_duration("connect_limit", default.connect_limit),
        request_limit: table.positive_duration("request_limit", default.request_limit),
        reconnect_min: table.positive_duration("reconnect_min", default.reconnect_min),
        reconnect_max: table.positive_duration("reconnect_max", default.reconnect_max),
        link_good: table.duration("link_good", default.link_good),
        report_delay: table.duration("report_delay", default.report_delay),
    }
}

/// What all devices share.
pub(super) fn read_engine(table: &mut Reader) -> Settings {
    let default = Settings::default();
    Settings {
        answer_grace: table.duration("answer_grace", default.answer_grace),
        ack_limit: table.duration("ack_limit", default.ack_limit),
        observe_interval: table.positive_duration("observe_interval", default.observe_interval),
        block_interval: table.positive_duration("block_interval", default.block_interval),
        probe_interval: table.positive_duration("probe_interval", default.probe_interval),
        survey_limit: table.positive_duration("survey_limit", default.survey_limit),
        ..default
    }
}

/// What each device has of its own.
pub(super) fn read_device(table: &mut Reader, shared: &Settings) -> Settings {
    let shared = shared.clone();
    Settings {
        settle: table.duration("settle", shared.settle),
        go_down_limit: table.positive_duration("go_down_limit", shared.go_down_limit),
        return_limit: table.positive_duration("return_limit", shared.return_limit),
        verify_limit: table.positive_duration("verify_limit", shared.verify_limit),
        prepare_limit: table.positive_duration("prepare_limit", shared.prepare_limit),
        cooldown: table.duration("cooldown", shared.cooldown),
        loop_boots: table.take("loop_boots", count).unwrap_or(shared.loop_boots),
        loop_window: table.duration("loop_window", shared.loop_window),
        ..shared
    }
}
