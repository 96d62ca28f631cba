//! The settings of a device's escalation: which commands may be given one after the other.

use daemon::settings::Section;
use iot_hub::reboot::Mode;

use super::timing::limit;
use crate::engine::Rung;

const EXPECTED: &str = "a list of graceful, forced, power-cycle: mildest first, each once";

/// A mode's name in the settings.
fn name(mode: Mode) -> &'static str {
    match mode {
        Mode::Graceful => "graceful",
        Mode::Forced => "forced",
        Mode::PowerCycle => "power-cycle",
    }
}

/// Reads `escalation`, and the limits of its steps below `steps`.
pub(super) fn read(device: &mut Section) -> Vec<Rung> {
    let listed = device.take("escalation", EXPECTED, |value| {
        let mode = |text: &str| Mode::ALL.into_iter().find(|mode| name(*mode) == text);
        let modes = value.as_array()?.iter();
        let modes: Option<Vec<_>> = modes.map(|value| mode(value.as_str()?)).collect();
        modes.filter(|modes| modes.windows(2).all(|pair| pair[0] < pair[1]))
    });
    let mut steps = device.section("steps");
    let listed = listed.optional().unwrap_or_default();
    let rung = |mode: Mode| {
        let mut step = steps.section(name(mode));
        Rung {
            mode,
            go_down_limit: limit(&mut step, "go_down_limit"),
            return_limit: limit(&mut step, "return_limit"),
        }
    };
    listed.into_iter().map(rung).collect()
}
