//! Logging to stderr, as lines for people or as JSON, with a filter that changes at run time.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt,
    io::{self, IsTerminal as _},
    panic::{self, PanicHookInfo},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use clap::ValueEnum;
use tracing::Subscriber;
use tracing_subscriber::{
    Layer, Registry,
    filter::{LevelFilter, Targets},
    fmt::MakeWriter,
    layer::{Layered, SubscriberExt as _},
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::settings::{Section, Show, Sources};

/// A further receiver of spans and events, beside the log; it sees all of them.
pub type Receiver = Box<dyn Layer<Registry> + Send + Sync>;

/// Makes a receiver of a layer, for the spans and events of one crate, from the level INFO up.
pub fn receiver_of<L>(layer: L, name: &str) -> Receiver
where
    L: Layer<Registry> + Send + Sync,
{
    let wanted = Targets::new().with_target(name, LevelFilter::INFO);
    Box::new(layer.with_filter(wanted))
}

/// What a program is told about its log on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LogArguments {
    /// What to log: a level, or directives such as `mgmt_service=debug`. [default: info]
    #[arg(id = "log", long, value_name = "LEVEL", env = "RUST_LOG")]
    pub filter: Option<LogFilter>,

    /// How to log. [default: text]
    #[arg(id = "log-format", long, value_name = "FORMAT")]
    pub format: Option<LogFormat>,
}

/// How to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object for each event.
    Json,
}

/// What to log: a level, or directives for parts of the program.
///
/// A directive is a level for all parts, or `PART=LEVEL` for one. Spans and fields cannot be named:
/// that would take regular expressions into every program.
#[derive(Debug, Clone, PartialEq)]
pub struct LogFilter {
    text: String,
    targets: Targets,
}

/// A text that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a level (error, warn, info, debug, trace, off) or directives: {0}")]
pub struct FilterError(String);

/// Changes the filter of a log that is running. Clones change the same log.
#[derive(Clone)]
pub struct LogControl {
    filter: reload::Handle<Targets, Base>,
    present: Arc<Mutex<LogFilter>>,
}

type Base = Layered<Option<Receiver>, Registry>;

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LogSettings {
    /// What to log.
    pub filter: LogFilter,
    /// How to log.
    pub format: LogFormat,
}

impl LogArguments {
    /// Lays what was said on the command line over the other settings.
    pub fn apply(&self, sources: &mut Sources) {
        if let Some(filter) = &self.filter {
            sources.argument("--log", "log.filter", &filter.to_string());
        }
        if let Some(format) = self.format {
            sources.argument("--log-format", "log.format", format.name());
        }
    }

    /// What the command line alone says, for a program without other settings, and while it has
    /// none yet.
    pub fn settings(&self) -> LogSettings {
        LogSettings {
            filter: self.filter.clone().unwrap_or_default(),
            format: self.format.unwrap_or_default(),
        }
    }
}

impl LogSettings {
    /// Reads the section of the log.
    pub fn read(mut section: Section) -> Self {
        let filter = section.take_or_why("filter", |value| {
            let text = value.as_str().ok_or("a text")?;
            text.parse().map_err(|FilterError(what)| {
                format!("a level such as \"info\", or directives: {what}")
            })
        });
        Self {
            filter: filter.or(LogFilter::default()),
            format: section
                .parsed("format", "\"text\" or \"json\"")
                .or(LogFormat::default()),
        }
    }

    /// Starts logging to stderr as told, and logs panics from now on.
    ///
    /// # Panics
    ///
    /// When the process logs already.
    pub fn start(&self, receiver: Option<Receiver>) -> LogControl {
        let Self { filter, format } = self.clone();
        let ansi = io::stderr().is_terminal();
        let (subscriber, control) = subscriber(filter, format, ansi, io::stderr, receiver);
        subscriber.init();
        panic::set_hook(Box::new(log_panic));
        control
    }
}

impl LogControl {
    /// The filter in force.
    pub fn filter(&self) -> LogFilter {
        self.present().clone()
    }

    /// Logs by another filter from now on.
    pub fn set_filter(&self, filter: LogFilter) {
        let mut present = self.present();
        if *present == filter {
            return;
        }
        // It fails only once the process has no log any more.
        if self.filter.reload(filter.targets.clone()).is_ok() {
            tracing::info!(%filter, "the log has another filter");
            *present = filter;
        }
    }

    fn present(&self) -> std::sync::MutexGuard<'_, LogFilter> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LogControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogControl").field(&self.filter()).finish()
    }
}

impl LogFormat {
    fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        <Self as ValueEnum>::from_str(name, false)
    }
}

impl Show for LogFormat {
    fn show(&self) -> toml::Value {
        self.name().into()
    }
}

impl Show for LogFilter {
    fn show(&self) -> toml::Value {
        self.text.clone().into()
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self {
            text: "info".to_owned(),
            targets: Targets::new().with_default(LevelFilter::INFO),
        }
    }
}

impl FromStr for LogFilter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() {
            return Err(FilterError("there is none".to_owned()));
        }
        let mut directives = Vec::new();
        for directive in text.split(',').map(str::trim) {
            if directive.contains(['[', ']', '{', '}']) {
                return Err(FilterError(format!("{directive:?} is not PART=LEVEL")));
            }
            if !directive.is_empty() {
                directives.push(directive);
            }
        }
        match directives.join(",").parse() {
            Ok(targets) => Ok(Self {
                text: text.to_owned(),
                targets,
            }),
            Err(error) => Err(FilterError(error.to_string())),
        }
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn subscriber<W>(
    filter: LogFilter,
    format: LogFormat,
    ansi: bool,
    writer: W,
    receiver: Option<Receiver>,
) -> (
    impl Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    LogControl,
)
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (directives, handle) = reload::Layer::new(filter.targets.clone());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(writer)
        .with_ansi(ansi)
        // Whoever reads stderr may be gone; that is no reason to end.
        .log_internal_errors(false);
    let lines: Box<dyn Layer<Base> + Send + Sync> = match format {
        LogFormat::Text => Box::new(lines.with_filter(directives)),
        LogFormat::Json => Box::new(lines.json().with_filter(directives)),
    };
    let control = LogControl {
        filter: handle,
        present: Arc::new(Mutex::new(filter)),
    };
    (
        tracing_subscriber::registry().with(receiver).with(lines),
        control,
    )
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let backtrace = Backtrace::capture();
    let captured = backtrace.status() == BacktraceStatus::Captured;
    tracing::error!(
        place = panic.location().map(tracing::field::display),
        thread = thread.name(),
        backtrace = captured.then(|| tracing::field::display(&backtrace)),
        "panicked: {}",
        panic.payload_as_str().unwrap_or("for no stated reason")
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What was logged.
    #[derive(Debug, Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Logs what `work` does.
    fn logged(filter: &str, format: LogFormat, work: impl FnOnce(&LogControl)) -> String {
        let written = Written::default();
        let writer = written.clone();
        let filter = filter.parse().unwrap();
        let (subscriber, control) = subscriber(filter, format, false, move || writer.clone(), None);
        tracing::subscriber::with_default(subscriber, || work(&control));
        written.text()
    }

    #[test]
    fn the_filter_changes_while_the_log_runs() {
        let text = logged("warn", LogFormat::Text, |control| {
            tracing::info!("first");
            control.set_filter("debug".parse().unwrap());
            tracing::debug!("second");
            assert_eq!(control.filter().to_string(), "debug");
            control.set_filter("error".parse().unwrap());
            tracing::warn!("third");
        });
        assert!(!text.contains("first"), "{text}");
        assert!(text.contains("second"), "{text}");
        assert!(!text.contains("third"), "{text}");
    }

    #[test]
    fn directives_speak_of_parts() {
        for filter in ["error,daemon::logs=info", " daemon=INFO , error,"] {
            let text = logged(filter, LogFormat::Text, |_| {
                tracing::debug!("much of this part");
                tracing::info!("of this part");
                tracing::info!(target: "another", "of another part");
                tracing::error!(target: "another", "an error");
            });
            assert!(text.contains("of this part"), "{filter}: {text}");
            assert!(!text.contains("much of this part"), "{filter}: {text}");
            assert!(!text.contains("of another part"), "{filter}: {text}");
            assert!(text.contains("an error"), "{filter}: {text}");
        }
    }

    #[test]
    fn json_is_one_object_for_each_event() {
        let text = logged("info", LogFormat::Json, |_| {
            let _span = tracing::info_span!("attempt", id = 7).entered();
            tracing::info!(answer = 42, "two\nlines");
        });
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["fields"]["answer"], 42);
        assert_eq!(event["span"]["id"], 7);
    }

    #[test]
    fn a_receiver_sees_what_the_log_leaves_out() {
        struct Count(Arc<Mutex<usize>>);
        impl Layer<Registry> for Count {
            fn on_event(
                &self,
                _: &tracing::Event<'_>,
                _: tracing_subscriber::layer::Context<'_, Registry>,
            ) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let seen = Arc::default();
        let receiver: Receiver = Box::new(Count(Arc::clone(&seen)));
        let filter = "off".parse().unwrap();
        let (subscriber, _) = subscriber(filter, LogFormat::Text, false, io::sink, Some(receiver));
        tracing::subscriber::with_default(subscriber, || tracing::debug!("x"));
        assert_eq!(*seen.lock().unwrap(), 1);
    }

    #[test]
    fn a_filter_is_checked_before_it_is_used() {
        for text in [
            "",
            " ",
            "a=b=c",
            "mgmt_service=loud",
            "[attempt{id=7}]=info",
            "[rpc]",
        ] {
            assert!(text.parse::<LogFilter>().is_err(), "{text}");
        }
        for text in [
            "info",
            " DEBUG ",
            "warn,mgmt_service::hub=trace",
            "warn, hub=TRACE,",
            "off",
        ] {
            let filter: LogFilter = text.parse().unwrap();
            assert_eq!(filter.to_string(), text.trim());
        }
    }
}
