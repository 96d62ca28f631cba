//! What this process writes to: standard output and standard error, and what they are.

use std::{
    env,
    io::{self, IsTerminal as _, Write},
};

use crate::view::{Style, live::Live};

/// The two streams of a command, and how it uses them.
pub(crate) struct Terminal {
    /// Results, and progress for a person.
    pub(crate) out: Box<dyn Write + Send>,
    /// What went wrong, and what else a person may want to know.
    pub(crate) err: Box<dyn Write + Send>,
    /// Print JSON.
    pub(crate) json: bool,
    /// Both streams are a terminal that can move its cursor.
    pub(crate) live: bool,
}

impl Terminal {
    /// The process's own streams. Colours are stripped where a stream is no terminal or the
    /// environment says `NO_COLOR`.
    pub(crate) fn of_process(json: bool) -> Self {
        let both = io::stdout().is_terminal() && io::stderr().is_terminal();
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || env::var_os("TERM").is_some_and(|value| value == "dumb");
        Self {
            out: Box::new(anstream::stdout()),
            err: Box::new(anstream::stderr()),
            json,
            live: both && !plain && !json,
        }
    }

    /// How attempts are shown while they go on.
    pub(crate) fn style(&mut self) -> Style<'_> {
        if self.json {
            Style::Json(&mut *self.out)
        } else if self.live {
            Style::Live(Live::new())
        } else {
            Style::Plain(&mut *self.out)
        }
    }

    /// Writes lines for a person.
    pub(crate) fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        crate::view::write_lines(&mut *self.out, lines)
    }

    /// Writes a remark that is not part of the result.
    pub(crate) fn remark(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.err, "{text}")?;
        self.err.flush()
    }
}
