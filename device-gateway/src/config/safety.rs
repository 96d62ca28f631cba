//! The settings of `[[device.interlock]]` and `[device.prepare]`.

use std::{collections::BTreeSet, time::Duration};

use daemon::settings::Section;

use super::{
    driver::{
        CommandLine,
        command::{EXPECTED, command_line},
    },
    timing::positive,
};
use crate::safety::blocker_name;

/// How long an interlock's command may run. Somebody waits for an answer meanwhile.
const INTERLOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the preparation of a device may take. Less than an attempt may spend on it altogether.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(60);

/// What must say yes before a device is rebooted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SafetyConfig {
    /// All of these.
    pub interlocks: Vec<InterlockConfig>,
    /// And this, last.
    pub prepare: Option<HookConfig>,
}

/// Something that must say yes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterlockConfig {
    /// What it is called in reports.
    pub name: String,
    /// How it is asked.
    pub question: QuestionConfig,
    /// It holds up even a caller who insists.
    pub absolute: bool,
}

/// How an interlock is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QuestionConfig {
    /// It says yes by its exit status 0.
    Command {
        /// What is run.
        command: CommandLine,
        /// How long it may take.
        timeout: Duration,
    },
    /// A device on the local endpoint says yes by a message.
    Value {
        /// The device.
        device: String,
        /// The topic, below the device's own.
        topic: String,
        /// The message that is a yes.
        yes: String,
    },
}

/// A command that prepares a device for its reboot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HookConfig {
    /// What is run.
    pub command: CommandLine,
    /// How long it may take.
    pub timeout: Duration,
}

impl SafetyConfig {
    pub(super) fn read(device: &mut Section, survey_limit: Duration) -> Self {
        let interlocks: Vec<_> = device
            .sections("interlock")
            .into_iter()
            .filter_map(|section| InterlockConfig::read(section, survey_limit))
            .collect();
        let mut names = BTreeSet::new();
        for interlock in &interlocks {
            if !names.insert(blocker_name(&interlock.name)) {
                let expected = "a name that tells it from the others in a report";
                device.mistake("interlock", &interlock.name, expected);
            }
        }
        let prepare = device
            .has("prepare")
            .then(|| HookConfig::read(device.section("prepare")));
        Self {
            interlocks,
            prepare: prepare.flatten(),
        }
    }

    /// The blockers that nobody can insist against.
    pub(super) fn absolute(&self) -> BTreeSet<String> {
        let absolute = self
            .interlocks
            .iter()
            .filter(|interlock| interlock.absolute);
        absolute
            .map(|interlock| blocker_name(&interlock.name))
            .collect()
    }

    /// The devices that are asked.
    pub(super) fn devices(&self) -> impl Iterator<Item = &str> {
        self.interlocks
            .iter()
            .filter_map(|interlock| match &interlock.question {
                QuestionConfig::Value { device, .. } => Some(device.as_str()),
                QuestionConfig::Command { .. } => None,
            })
    }
}

impl InterlockConfig {
    fn read(mut section: Section, survey_limit: Duration) -> Option<Self> {
        let name = section.filled("name").required("a name for reports");
        let absolute = section.flag("absolute").or(false);
        if section.has("command") == section.has("device") {
            section.mistake_here("exactly one of command, device");
        }
        let question = if section.has("device") {
            let device = section.filled("device").required("a device id");
            let topic = section
                .filled("topic")
                .required("a topic below the device's own");
            let yes = section.filled("yes").required("the message that is a yes");
            device
                .zip(topic)
                .zip(yes)
                .map(|((device, topic), yes)| QuestionConfig::Value { device, topic, yes })
        } else {
            let command = command_line(&mut section, "command").required(EXPECTED);
            let timeout = positive(
                &mut section,
                "timeout",
                INTERLOCK_TIMEOUT.min(survey_limit / 2),
            );
            if timeout >= survey_limit {
                let expected = format!("less than timing.survey_limit, which is {survey_limit:?}");
                section.mistake("timeout", &format!("{timeout:?}"), &expected);
            }
            command.map(|command| QuestionConfig::Command { command, timeout })
        };
        Some(Self {
            name: name?,
            question: question?,
            absolute,
        })
    }
}

impl HookConfig {
    fn read(mut section: Section) -> Option<Self> {
        let command = command_line(&mut section, "command").required(EXPECTED);
        let timeout = positive(&mut section, "timeout", PREPARE_TIMEOUT);
        Some(Self {
            command: command?,
            timeout,
        })
    }
}
