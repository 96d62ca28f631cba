//! Runs one configured command, within bounds of time and of output.

use std::{io, os::unix::process::ExitStatusExt as _, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Command,
    time,
};

use crate::{config::CommandLine, driver::reading::last_line};

/// How much of what a command prints is kept; the rest is read and dropped, so that it is not
/// held up.
const KEPT: usize = 64 * 1024;

/// How long to wait, after a command ended, for the rest of what it printed. A process that it
/// left behind may hold its output open for ever.
const LEFTOVERS: Duration = Duration::from_millis(500);

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finished {
    pub(crate) end: End,
    /// The beginning of its standard output.
    pub(crate) printed: Vec<u8>,
    /// The last line of its standard error that is not empty.
    pub(crate) complaint: Option<String>,
}

/// How a command came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself, with that exit status.
    Exited(i32),
    /// By that signal.
    Killed(i32),
    /// It took too long; it and all that it started were killed.
    TimedOut,
}

impl Finished {
    /// The command's own words on why it failed, or how it ended.
    pub(crate) fn why(&self) -> String {
        if let Some(complaint) = &self.complaint {
            return complaint.clone();
        }
        match self.end {
            End::Exited(status) => format!("exit status {status}"),
            End::Killed(signal) => format!("killed by signal {signal}"),
            End::TimedOut => "it took too long".to_owned(),
        }
    }
}

/// Runs a command to its end. Dropping the future kills it and all that it started.
pub(crate) async fn run(
    line: &CommandLine,
    environment: &[(&str, String)],
    limit: Duration,
) -> io::Result<Finished> {
    let mut child = Command::new(&line.program)
        .args(&line.arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let group = Group::of(child.id());
    let mut printed = Kept::default();
    let mut complaints = Kept::default();
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(io::Error::other("the command has no output"));
    };

    let waited = {
        let read = async { tokio::join!(printed.head(stdout), complaints.tail(stderr)) };
        tokio::pin!(read);
        let mut read_all = false;
        let ended = async {
            tokio::select! {
                status = child.wait() => status,
                ((), ()) = &mut read => {
                    read_all = true;
                    child.wait().await
                }
            }
        };
        let waited = time::timeout(limit, ended).await;
        if waited.is_ok() && !read_all {
            // What was read so far is kept, whether it was all or not.
            let _ = time::timeout(LEFTOVERS, &mut read).await;
        }
        waited
    };
    let end = match waited {
        Ok(status) => {
            group.spare();
            let status = status?;
            match (status.code(), status.signal()) {
                (Some(code), _) => End::Exited(code),
                (None, signal) => End::Killed(signal.unwrap_or_default()),
            }
        }
        Err(_) => {
            drop(group);
            child.wait().await?;
            End::TimedOut
        }
    };
    Ok(Finished {
        end,
        complaint: last_line(&complaints.0),
        printed: printed.0,
    })
}

/// The processes of a command, killed when this is dropped.
#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    /// The group of a child that was made its leader.
    fn of(leader: Option<u32>) -> Self {
        let pid = leader.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        Self(pid)
    }

    /// Lets them live: the leader has ended, so its id may soon be somebody else's, and what it
    /// left running it left on purpose.
    fn spare(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            // It fails only when nobody is left.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// A bounded part of what a command prints.
#[derive(Debug, Default)]
struct Kept(Vec<u8>);

impl Kept {
    /// Reads to the end and keeps the beginning.
    async fn head(&mut self, mut from: impl AsyncRead + Unpin) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            let room = KEPT - self.0.len();
            self.0.extend_from_slice(&chunk[..count.min(room)]);
        }
    }

    /// Reads to the end and keeps the end.
    async fn tail(&mut self, mut from: impl AsyncRead + Unpin) {
        let mut chunk = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut chunk).await {
            self.0.extend_from_slice(&chunk[..count]);
            let excess = self.0.len().saturating_sub(KEPT);
            self.0.drain(..excess);
        }
    }
}
