//! Whether the broker is there, for those who run the gateway.

use tokio::sync::watch;

use super::Purpose;

/// Why each line to the broker is down; nothing for one that stands.
#[derive(Debug)]
pub(crate) struct Standing(pub(super) watch::Sender<Lines>);

/// Why the line for each purpose is down.
#[derive(Debug)]
pub(super) struct Lines {
    control: Option<String>,
    telemetry: Option<String>,
}

impl Default for Standing {
    fn default() -> Self {
        let not_yet = || Some("not connected yet".to_owned());
        Self(watch::Sender::new(Lines {
            control: not_yet(),
            telemetry: not_yet(),
        }))
    }
}

impl Standing {
    /// Why the broker is of no use at present, if that is so.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.borrow().trouble().map(str::to_owned)
    }

    pub(super) fn set(&self, purpose: Purpose, trouble: Option<String>) {
        self.0.send_modify(|lines| {
            let line = match purpose {
                Purpose::Control => &mut lines.control,
                Purpose::Telemetry => &mut lines.telemetry,
            };
            *line = trouble;
        });
    }
}

impl Lines {
    pub(super) fn trouble(&self) -> Option<&str> {
        self.control.as_deref().or(self.telemetry.as_deref())
    }
}
