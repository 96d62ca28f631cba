//! The settings of `[device.command]`.

use std::time::Duration;

use daemon::settings::{Given, Section};

use crate::config::timing::positive;

/// How long a configured command may run.
pub const DEFAULT_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

pub(in crate::config) const EXPECTED: &str =
    "a program and its arguments, as [\"program\", \"argument\"]";

/// A device that is reached by running commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandConfig {
    /// Prints what the device looks like before the reboot.
    pub baseline: CommandLine,
    /// Gives the reboot command.
    pub trigger: CommandLine,
    /// Prints what the device looks like now.
    pub observe: CommandLine,
    /// Says by its exit status whether the device does its work.
    pub health: Option<CommandLine>,
    /// How long each of them may run.
    pub timeout: Duration,
}

/// A program and its arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// The program: a path, or a name to look up.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

impl CommandConfig {
    pub(super) fn read(mut section: Section) -> Option<Self> {
        let baseline = command_line(&mut section, "baseline").required(EXPECTED);
        let trigger = command_line(&mut section, "trigger").required(EXPECTED);
        let observe = command_line(&mut section, "observe").required(EXPECTED);
        let health = command_line(&mut section, "health").optional();
        let timeout = positive(&mut section, "timeout", DEFAULT_COMMAND_TIMEOUT);
        Some(Self {
            baseline: baseline?,
            trigger: trigger?,
            observe: observe?,
            health,
            timeout,
        })
    }
}

pub(in crate::config) fn command_line(section: &mut Section, key: &str) -> Given<CommandLine> {
    section.take(key, EXPECTED, |value| {
        let words = value.as_array()?.iter();
        let words: Option<Vec<_>> = words.map(|word| word.as_str().map(str::to_owned)).collect();
        let mut words = words?.into_iter();
        Some(CommandLine {
            program: words.next().filter(|program| !program.is_empty())?,
            arguments: words.collect(),
        })
    })
}
