//! Lines on a terminal, with a moving one below them for each open attempt.

use std::{fmt, io, time::Duration};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the moving lines are redrawn.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// A terminal.
pub(crate) struct Live {
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Live {
    /// The terminal at standard output.
    pub(crate) fn new() -> Self {
        Self {
            screen: MultiProgress::with_draw_target(ProgressDrawTarget::stdout()),
            bars: Vec::new(),
        }
    }

    /// Prints lines that stay.
    pub(crate) fn lines(&mut self, lines: &[String]) -> io::Result<()> {
        for line in lines {
            self.screen.println(line)?;
        }
        Ok(())
    }

    /// Shows these moving lines and no others, below an empty one.
    ///
    /// The cursor stays at the end of the last line, so the echo of Ctrl-C goes to the next one and
    /// clearing then stops one line too early: at the empty one, where nobody sees it.
    pub(crate) fn moving(&mut self, mut texts: Vec<String>) {
        if !texts.is_empty() {
            texts.insert(0, String::new());
        }
        while self.bars.len() > texts.len() {
            if let Some(bar) = self.bars.pop() {
                bar.finish_and_clear();
                self.screen.remove(&bar);
            }
        }
        while self.bars.len() < texts.len() {
            let bar = ProgressBar::new_spinner().with_style(match self.bars.is_empty() {
                true => style(" "),
                false => style("{spinner:.cyan} {msg}"),
            });
            self.bars.push(self.screen.add(bar));
        }
        for (bar, text) in self.bars.iter().zip(texts) {
            bar.set_message(text);
            bar.tick();
        }
    }
}

impl Drop for Live {
    /// Leaves no line behind that has stopped moving.
    fn drop(&mut self) {
        // A terminal that is gone needs no tidying.
        let _ = self.screen.clear();
        self.moving(Vec::new());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
        .tick_chars("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏ ")
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("bars", &self.bars.len())
            .finish_non_exhaustive()
    }
}
