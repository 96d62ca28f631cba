//! A program's settings: from a file, the environment and the command line, in rising order of
//! precedence, with every mistake told at once and with what is in force to be printed.
//!
//! ```text
//!  file (TOML) ─┐
//!  environment ─┼─► Sources ──► Section ──► Given<T> ──► the program's own Config
//!  arguments  ──┘      │           │            │
//!                      └───────────┴────────────┴──────► Mistakes, or what is in force (InForce)
//! ```
//!
//! - [`Sources`] lays the sources over each other and knows where each value is from.
//! - [`Section`] hands out values by key, and notes what is wrong with them and what nobody took.
//! - [`Given`] is one value that may be absent; whoever takes it names the default, so that the
//!   default is printed too.
//!
//! A variable of the environment is named after the program and the key: `hub.https_port` of
//! `mgmt-service` is `MGMT_SERVICE__HUB__HTTPS_PORT`.

mod given;
mod in_force;
mod mistake;
mod section;
mod taken;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    fmt, fs,
    path::{Path, PathBuf},
    rc::Rc,
    str::FromStr,
};

use toml::{Table, Value};

use self::section::Record;
pub use self::{
    given::{Given, Show},
    in_force::InForce,
    mistake::{Mistake, Mistakes},
    section::{Secret, Section},
    taken::{Fingerprint, Taken},
};

/// The settings as they were given, before anybody looked at what they mean.
#[derive(Debug, Default)]
pub struct Sources {
    table: Table,
    /// Where the values are from that are not from the file, by their full keys.
    origins: BTreeMap<String, Origin>,
    /// Variables that are named after nothing of this program.
    foreign: BTreeMap<String, String>,
    file: Option<PathBuf>,
    folder: PathBuf,
    mistakes: Vec<Mistake>,
}

/// Where a value is from; the later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// It is in the file.
    File,
    /// It is in this variable of the environment.
    Environment(String),
    /// It is in this argument.
    Argument(String),
}

/// One setting on the command line, as `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    key: String,
    value: String,
}

/// A text that sets nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected KEY=VALUE, for example hub.https_port=8443")]
pub struct AssignmentError;

/// What a program is told about its settings on the command line.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SettingsArguments {
    /// The settings, a TOML file. Variables of the environment win over it, as
    /// MGMT_SERVICE__HUB__HTTPS_PORT over https_port in the table `hub`.
    #[arg(id = "config", long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// One setting, which wins over the file and the environment; may be given several times.
    #[arg(id = "set", long, value_name = "KEY=VALUE")]
    pub set: Vec<Assignment>,

    /// Check the settings and end; every mistake is told.
    #[arg(long)]
    pub check_config: bool,

    /// Print the settings in force as TOML, each with its origin and without secrets, and end.
    #[arg(long)]
    pub print_config: bool,
}

impl SettingsArguments {
    /// Lays the file, the environment and the arguments over each other. `program` is its name as
    /// variables of the environment begin with it.
    pub fn sources(
        &self,
        program: &str,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Sources, Mistakes> {
        let mut sources = match &self.file {
            Some(path) => Sources::of_file(path)?,
            None => Sources::default(),
        };
        sources.environment(program, environment);
        for Assignment { key, value } in &self.set {
            sources.argument("--set", key, value);
        }
        Ok(sources)
    }
}

impl Sources {
    /// Reads a file. Relative paths in it are relative to its folder.
    pub fn of_file(path: &Path) -> Result<Self, Mistakes> {
        let text = fs::read_to_string(path).map_err(|error| {
            let what = format!("a file that can be read: {}: {error}", path.display());
            Mistakes(vec![Mistake::general(what)])
        })?;
        let mut sources = Self::of_text(&text, path.parent().unwrap_or(Path::new("")))?;
        sources.file = Some(path.to_owned());
        Ok(sources)
    }

    /// Reads the text of a file that is in `folder`.
    pub fn of_text(text: &str, folder: &Path) -> Result<Self, Mistakes> {
        let table = table(text)
            .map_err(|what| Mistakes(vec![Mistake::general(format!("TOML: {what}"))]))?;
        Ok(Self {
            table,
            folder: folder.to_owned(),
            ..Self::default()
        })
    }

    /// Lays the environment over what is there: every variable that begins with the program's
    /// name and two underscores. The others are kept for [`Section::adopt`], and for the folder of
    /// the service manager's credentials.
    pub fn environment(
        &mut self,
        program: &str,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) {
        let prefix = format!("{}__", program.to_uppercase().replace('-', "_"));
        let (mut named, foreign): (Vec<_>, Vec<_>) = variables
            .into_iter()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .partition(|(name, _)| name.starts_with(&prefix));
        let readable = foreign
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.into_string().ok()?)));
        self.foreign.extend(readable);
        // For the same outcome every time.
        named.sort_unstable();
        for (name, value) in named {
            let key = name[prefix.len()..].to_lowercase().replace("__", ".");
            if key.split('.').any(str::is_empty) {
                self.mistakes.push(Mistake {
                    key: name,
                    value: String::new(),
                    origin: Origin::Default,
                    expected: "the name of a setting after the program's".to_owned(),
                });
                continue;
            }
            let origin = Origin::Environment(name);
            match value.into_string() {
                Ok(value) => self.put(&key, value, origin),
                Err(_) => self.mistakes.push(Mistake {
                    key,
                    value: String::new(),
                    origin,
                    expected: "a value in UTF-8".to_owned(),
                }),
            }
        }
    }

    /// Lays one argument of the command line over what is there.
    pub fn argument(&mut self, argument: &str, key: &str, value: &str) {
        let origin = Origin::Argument(argument.to_owned());
        self.put(key, value.to_owned(), origin);
    }

    /// Hands out the settings, by way of the outermost section, to whoever makes sense of them.
    /// Either every one of them is good, or all mistakes are told.
    pub fn read<T>(
        self,
        read: impl FnOnce(&mut Section) -> Option<T>,
    ) -> Result<(T, InForce), Mistakes> {
        let record = Rc::new(RefCell::new(Record {
            origins: self.origins,
            foreign: self.foreign,
            folder: self.folder,
            guards_secrets: false,
            mistakes: self.mistakes,
            in_force: InForce::new(self.file),
        }));
        let mut root = Section::root(self.table, Rc::clone(&record));
        let value = read(&mut root);
        // Notes what nobody took.
        drop(root);
        let Record {
            mistakes, in_force, ..
        } = record.take();
        match value {
            Some(value) if mistakes.is_empty() => Ok((value, in_force)),
            Some(_) | None => Err(Mistakes(mistakes)),
        }
    }

    fn put(&mut self, key: &str, value: String, origin: Origin) {
        let mut table = &mut self.table;
        let mut names: Vec<_> = key.split('.').collect();
        let last = names.pop().unwrap_or_default();
        for name in names {
            let inner = table
                .entry(name)
                .or_insert_with(|| Value::Table(Table::new()));
            match inner {
                Value::Table(inner) => table = inner,
                Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => {
                    self.mistakes.push(Mistake {
                        key: key.to_owned(),
                        value: String::new(),
                        origin,
                        expected: format!("no such key: {name} is no section"),
                    });
                    return;
                }
            }
        }
        table.insert(last.to_owned(), Value::String(value));
        self.origins.insert(key.to_owned(), origin);
    }
}

impl Origin {
    /// The value was given as a text that nobody marked as a number, a list or a text.
    fn is_untyped(&self) -> bool {
        match self {
            Self::Default | Self::File => false,
            Self::Environment(_) | Self::Argument(_) => true,
        }
    }

    /// How strong it is: equally strong ones contradict each other.
    fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File => 1,
            Self::Environment(_) => 2,
            Self::Argument(_) => 3,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File => f.write_str("file"),
            Self::Environment(name) | Self::Argument(name) => f.write_str(name),
        }
    }
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (key, value) = text.split_once('=').ok_or(AssignmentError)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(AssignmentError);
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.trim().to_owned(),
        })
    }
}

/// Reads TOML. What is wrong is told without the line itself, which may hold a secret.
pub fn table(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let place = place(text, error.span().map_or(0, |span| span.start));
        format!("{place}: {}", error.message())
    })
}

/// The line and the column of a byte in a text, counted from one.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    format!("line {line}, column {column}")
}

#[cfg(test)]
mod tests;
