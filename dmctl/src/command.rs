//! The commands: one file for each, with what it asks and what it shows.

pub(crate) mod audit;
pub(crate) mod cancel;
pub(crate) mod devices;
pub(crate) mod get;
pub(crate) mod list;
mod pages;
pub(crate) mod reboot;
pub(crate) mod watch;

use iothubdm_client::is_terminal;
use iothubdm_proto::v1::RebootAttempt;

use crate::{
    problem::Problem,
    terminal::Terminal,
    view::{json::Line, text, track::Track},
};

/// Shows one attempt as it stands.
fn show(attempt: &RebootAttempt, terminal: &mut Terminal) -> Result<(), Problem> {
    if terminal.json {
        let line = match is_terminal(attempt.state()) {
            true => Line::verdict(attempt),
            false => Line::attempt(attempt),
        };
        line.write(&mut *terminal.out)?;
    } else {
        let mut track = Track::new(None);
        let mut lines = track.snapshot(attempt);
        lines.extend(track.end());
        lines.extend(text::deadline(attempt));
        terminal.lines(&lines)?;
    }
    Ok(())
}
