//! Reboots without systemd-logind: by systemd's own tool, or by a signal to the first process.
//!
//! ```text
//!   systemctl reboot ── certainly did nothing ──► a signal to process 1
//! ```
//!
//! Both act on what this process sees as its machine. In a container that would be the container, so
//! nothing of this is offered outside the machine's own process namespace.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
    time::Duration,
};

use tokio::{process::Command, time};

/// How long systemctl may take. It asks and does not wait for what it asked for.
const LIMIT: Duration = Duration::from_secs(10);

/// What the kernel calls the process namespace that a machine starts with. Its number is fixed.
const OWN_NAMESPACE: &str = "pid:[4026531836]";

/// What systemctl says when it reached nobody, in the C locale.
const NOBODY: [&str; 2] = [
    "Failed to connect to bus",
    "System has not been booted with systemd",
];

/// What systemctl says when it reached somebody who said no.
const REFUSED: [&str; 2] = ["Access denied", "Interactive authentication required"];

/// Ways to reboot a machine that has no systemd-logind, or whose message bus is gone.
#[derive(Debug, Clone)]
pub(crate) struct LastResort {
    /// The machine's files.
    root: PathBuf,
    systemctl: Option<PathBuf>,
    first_process: u32,
}

/// One way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// By systemd's tool.
    Systemctl(PathBuf),
    /// By a signal to the first process, as that process understands it.
    Signal(&'static str),
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Done {
    /// It was taken.
    Taken,
    /// Perhaps it was.
    Perhaps,
    /// It failed in a way that leaves open whether something happened.
    Failed(String),
    /// Nothing happened, for somebody said no.
    Refused(String),
    /// Nothing happened, for there was nobody to do it.
    Nothing(String),
}

impl LastResort {
    /// What this machine offers.
    pub(crate) fn new() -> Self {
        Self {
            // A test must not reboot the machine it runs on.
            root: if cfg!(test) { "/nonexistent" } else { "/" }.into(),
            systemctl: program("systemctl"),
            first_process: 1,
        }
    }

    /// The ways there are, the gentlest first.
    pub(crate) fn ways(&self) -> Vec<Way> {
        if !self.is_own_namespace() {
            return Vec::new();
        }
        let systemd = self.root.join("run/systemd/system").is_dir();
        let systemctl = self.systemctl.clone().filter(|_| systemd);
        let signal = self.signal(systemd);
        systemctl
            .map(Way::Systemctl)
            .into_iter()
            .chain(signal.map(Way::Signal))
            .collect()
    }

    /// Goes one way.
    pub(crate) async fn go(&self, way: &Way) -> Done {
        match way {
            Way::Systemctl(program) => {
                let mut command = Command::new(program);
                command.args(["reboot", "--no-wall", "--no-ask-password"]);
                judge_systemctl(ended(command).await)
            }
            Way::Signal(signal) => {
                let mut command = Command::new("/bin/sh");
                let order = format!("kill -s {signal} {}", self.first_process);
                command.args(["-c", &order]);
                judge_signal(ended(command).await)
            }
        }
    }

    fn is_own_namespace(&self) -> bool {
        fs::read_link(self.root.join("proc/self/ns/pid"))
            .is_ok_and(|name| name == Path::new(OWN_NAMESPACE))
    }

    /// The signal by which the first process reboots, if it is one that is known to.
    fn signal(&self, systemd: bool) -> Option<&'static str> {
        let file = self.root.join(format!("proc/{}/comm", self.first_process));
        match fs::read_to_string(file).ok()?.trim_end() {
            // Starts reboot.target, whatever Ctrl-Alt-Del is set to do.
            "systemd" if systemd => Some("RTMIN+5"),
            // Ctrl-Alt-Del, as inittab(5) says, for the init of System V and of busybox.
            "init" if !systemd => Some("INT"),
            _ => None,
        }
    }
}

/// How a command ended: nothing when it has not.
async fn ended(mut command: Command) -> Option<Result<Output, String>> {
    command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let output = time::timeout(LIMIT, command.output()).await.ok()?;
    Some(output.map_err(|error| error.to_string()))
}

fn judge_systemctl(ended: Option<Result<Output, String>>) -> Done {
    let output = match ended {
        None => return Done::Perhaps,
        Some(Err(unstarted)) => return Done::Nothing(unstarted),
        Some(Ok(output)) => output,
    };
    let words = words_of(&output);
    let says = |known: &[&str]| known.iter().any(|known| words.contains(known));
    match judge(output.status) {
        Verdict::Success => Done::Taken,
        // What ends the machine ends systemctl too.
        Verdict::Killed => Done::Perhaps,
        Verdict::Failure if says(&NOBODY) => Done::Nothing(words),
        Verdict::Failure if says(&REFUSED) => Done::Refused(words),
        Verdict::Failure => Done::Failed(words),
    }
}

fn judge_signal(ended: Option<Result<Output, String>>) -> Done {
    let output = match ended {
        None => return Done::Perhaps,
        Some(Err(unstarted)) => return Done::Nothing(unstarted),
        Some(Ok(output)) => output,
    };
    match judge(output.status) {
        Verdict::Success => Done::Taken,
        Verdict::Killed => Done::Perhaps,
        Verdict::Failure => Done::Refused(words_of(&output)),
    }
}

enum Verdict {
    Success,
    Failure,
    Killed,
}

fn judge(status: ExitStatus) -> Verdict {
    match status.code() {
        Some(0) => Verdict::Success,
        Some(_) => Verdict::Failure,
        None => Verdict::Killed,
    }
}

/// The last line that a command wrote to its standard error.
fn words_of(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let last = text.lines().rfind(|line| !line.trim().is_empty());
    last.unwrap_or("no reason given").trim().to_owned()
}

/// Finds a program.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| {
            fs::metadata(file)
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

#[cfg(test)]
pub(crate) mod tests;
