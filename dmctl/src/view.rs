//! What a person, or a script, sees of attempts while they go on.
//!
//! - [`track`]: what is new about one attempt since it was last shown.
//! - [`text`]: that, in lines for a person; [`tables`]: lists of attempts and devices.
//! - [`live`]: these lines on a terminal, with a moving line below them.
//! - [`json`]: one object a line for a script.

pub(crate) mod json;
pub(crate) mod live;
pub(crate) mod tables;
pub(crate) mod text;
pub(crate) mod track;

use std::{
    io::{self, Write},
    time::Duration,
};

use iothubdm_client::Error;
use iothubdm_proto::v1::{RebootAttempt, RebootEvent, reboot_event::Event};
use jiff::Timestamp;

use crate::{name, problem::Problem};

use self::{json::Line, live::Live, track::Track};

/// Where and how attempts are shown. Attempts are told apart by the index of `begin`'s slice.
pub(crate) struct View<'a> {
    tracks: Vec<Track>,
    style: Style<'a>,
}

/// How to show attempts.
pub(crate) enum Style<'a> {
    /// Lines.
    Plain(&'a mut dyn Write),
    /// Lines, and a moving one below them.
    Live(Live),
    /// One object a line.
    Json(&'a mut dyn Write),
}

impl<'a> View<'a> {
    /// Makes a view of attempts by their full names.
    pub(crate) fn new(names: &[String], style: Style<'a>) -> Self {
        let label = |name: &String| (names.len() > 1).then(|| name::device_of(name).to_owned());
        Self {
            tracks: names.iter().map(|name| Track::new(label(name))).collect(),
            style,
        }
    }

    /// Shows one message of an attempt's stream.
    pub(crate) fn event(&mut self, index: usize, event: &RebootEvent) -> io::Result<()> {
        let Some(track) = self.tracks.get_mut(index) else {
            return Ok(());
        };
        let lines = match &event.event {
            Some(Event::Snapshot(attempt)) => track.snapshot(attempt),
            Some(Event::Progress(progress)) => track.progress(progress),
            Some(Event::Bookmark(_)) | None => Vec::new(),
        };
        match &mut self.style {
            Style::Plain(out) => write_lines(*out, &lines),
            Style::Live(live) => live.lines(&lines),
            Style::Json(out) => Line::of_event(event, track.attempt()).write(*out),
        }
    }

    /// Says that a stream broke and will be taken up again.
    pub(crate) fn interrupted(
        &mut self,
        index: usize,
        error: &Error,
        pause: Duration,
    ) -> io::Result<()> {
        let Some(track) = self.tracks.get(index) else {
            return Ok(());
        };
        let problem = Problem::from(error.clone());
        let line = text::interrupted(track.label(), &problem, pause);
        match &mut self.style {
            Style::Plain(out) => write_lines(*out, &[line]),
            Style::Live(live) => live.lines(&[line]),
            Style::Json(out) => Line::interrupted(track.attempt(), &problem).write(*out),
        }
    }

    /// Redraws what moves.
    pub(crate) fn tick(&mut self, now: Timestamp) {
        if let Style::Live(live) = &mut self.style {
            let moving = self
                .tracks
                .iter()
                .filter_map(|track| track.moving_line(now));
            live.moving(moving.collect());
        }
    }

    /// Says whether anything moves, so that ticking is of use.
    pub(crate) fn moves(&self) -> bool {
        matches!(self.style, Style::Live(_))
    }

    /// Ends the view, and returns the attempts as they were last seen. A person has seen each
    /// verdict when it came; a script finds them in the last lines.
    pub(crate) fn end(mut self) -> io::Result<Vec<RebootAttempt>> {
        if let Style::Live(live) = &mut self.style {
            live.moving(Vec::new());
        }
        let lines: Vec<String> = self.tracks.iter_mut().flat_map(Track::end).collect();
        let attempts = self.tracks.into_iter().filter_map(Track::into_attempt);
        let attempts: Vec<RebootAttempt> = attempts.collect();
        match &mut self.style {
            Style::Plain(out) => write_lines(*out, &lines)?,
            Style::Live(live) => live.lines(&lines)?,
            Style::Json(out) => {
                for attempt in &attempts {
                    Line::verdict(attempt).write(*out)?;
                }
            }
        }
        Ok(attempts)
    }
}

/// Writes lines to a stream that strips colours where it must.
pub(crate) fn write_lines(out: &mut dyn Write, lines: &[String]) -> io::Result<()> {
    for line in lines {
        writeln!(out, "{line}")?;
    }
    out.flush()
}
