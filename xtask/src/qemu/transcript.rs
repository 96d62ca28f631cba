//! What was done and seen, for a person to read and for `docs` to keep.

use std::{fmt::Write as _, path::Path, process::Command, time::Instant};

use anyhow::Context as _;

use super::{image::Image, machine::Machine, outside::Attempt};
use crate::{
    steps::{output, root},
    tools,
};

/// The lines of a console that tell the story; the log of the gateway, of the seed, and the ends of boots.
const TELLING: [&str; 8] = [
    "device-gateway[",
    "rights:",
    "seed:",
    "Linux version",
    "systemd-logind[",
    "systemd-shutdown[",
    "reboot: Restarting system",
    "reboot.target",
];

/// What was done and seen so far.
#[derive(Debug)]
pub(crate) struct Transcript {
    text: String,
    began: Instant,
}

impl Transcript {
    pub(crate) fn begin(image: &Image, package: &Path) -> anyhow::Result<Self> {
        let mut transcript = Self {
            text: String::from(
                "# The proof on a machine that reboots\n\n\
                 Written by `cargo xtask qemu` when every verdict was right. It boots a small Debian in a\n\
                 virtual machine, emulated in software, installs the gateway's package in it, and asks for\n\
                 reboots through the gRPC service outside.\n\n",
            ),
            began: Instant::now(),
        };
        let kernel = image.kernel.file_name().context("name the kernel")?;
        let facts = [
            (
                "date",
                output(Command::new("date").args(["--utc", "--iso-8601=seconds"]))?,
            ),
            (
                "commit",
                output(
                    Command::new("git")
                        .current_dir(root())
                        .args(["rev-parse", "HEAD"]),
                )?,
            ),
            (
                "package",
                output(
                    Command::new("sha256sum")
                        .arg(package.file_name().context("name the package")?)
                        .current_dir(package.parent().context("find the package")?),
                )?,
            ),
            ("kernel", kernel.to_string_lossy().into_owned()),
            (
                "emulator",
                first_line(&output(
                    Command::new("qemu-system-x86_64").arg("--version"),
                )?),
            ),
        ];
        for (name, value) in facts {
            let _ = writeln!(transcript.text, "- {name}: `{value}`");
        }
        Ok(transcript)
    }

    /// Begins a chapter.
    pub(crate) fn chapter(&mut self, title: &str) {
        tools::say(&format!("\n=== {title}"));
        let _ = writeln!(self.text, "\n## {title}\n");
    }

    /// Notes something that was seen.
    pub(crate) fn line(&mut self, line: &str) {
        tools::say(line);
        let _ = writeln!(self.text, "- `{line}`");
    }

    /// Notes an attempt: when it entered which state, and its verdict.
    pub(crate) fn attempt(&mut self, attempt: &Attempt) {
        self.text += "\n```text\n";
        for event in attempt
            .events
            .iter()
            .filter(|event| event["event"] != "bookmark")
        {
            let word = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
            let line = format!(
                "{:<25} {:<9} {:<12} {}",
                word("time"),
                word("event"),
                word("state"),
                word("message")
            );
            tools::say(line.trim_end());
            let _ = writeln!(self.text, "{}", line.trim_end());
        }
        if let Some(verdict) = attempt.events.last() {
            for part in [&verdict["error"], &verdict["attempt"]["evidence"]] {
                if !part.is_null() {
                    tools::say(&part.to_string());
                    let _ = writeln!(self.text, "{part}");
                }
            }
        }
        let _ = writeln!(self.text, "dmctl ended with {}\n```\n", attempt.exit);
    }

    /// Keeps what the console tells.
    pub(crate) fn console(&mut self, machine: &Machine) {
        self.text += "\nFrom the machine's console:\n\n```text\n";
        for line in machine.console().lines() {
            let line: String = line.chars().filter(|c| !c.is_control()).collect();
            if TELLING.iter().any(|words| line.contains(words)) {
                let short: String = line.chars().take(240).collect();
                let _ = writeln!(self.text, "{}", short.trim_end());
            }
        }
        self.text += "```\n";
    }

    /// The whole.
    pub(crate) fn end(mut self) -> String {
        let _ = writeln!(
            self.text,
            "\nEvery verdict was right; it took {} s.",
            self.began.elapsed().as_secs()
        );
        self.text
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}
