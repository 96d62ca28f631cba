//! The settings in force, to be printed: each with its origin, and without secrets.

use std::{fmt, path::PathBuf};

use toml::Value;

use super::Origin;

/// How far to the right origins are printed.
const COLUMN: usize = 48;

/// The settings in force. Its text is TOML that says the same again, but for the secrets.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct InForce {
    file: Option<PathBuf>,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    section: String,
    name: String,
    shown: Shown,
    origin: Origin,
}

/// How a setting is printed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shown {
    Value(Value),
    /// It is a secret.
    Hidden,
    /// It has no value.
    Absent,
}

impl InForce {
    pub(super) fn new(file: Option<PathBuf>) -> Self {
        Self {
            file,
            entries: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, key: String, shown: Shown, origin: Origin) {
        let (section, name) = match key.rsplit_once('.') {
            Some((section, name)) => (section.to_owned(), name.to_owned()),
            None => (String::new(), key),
        };
        self.entries.push(Entry {
            section,
            name,
            shown,
            origin,
        });
    }

    /// The names of all settings there are, with their sections.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.entries
            .iter()
            .map(|entry| match entry.section.as_str() {
                "" => entry.name.clone(),
                section => format!("{section}.{}", entry.name),
            })
    }

    fn write_section(&self, f: &mut fmt::Formatter<'_>, section: &str) -> fmt::Result {
        if !section.is_empty() {
            writeln!(f, "\n{}", header(section))?;
        }
        let entries = self.entries.iter();
        entries
            .filter(|entry| entry.section == section)
            .try_for_each(|entry| self.write_entry(f, entry))
    }

    fn write_entry(&self, f: &mut fmt::Formatter<'_>, entry: &Entry) -> fmt::Result {
        let Entry { name, origin, .. } = entry;
        let assignment = match &entry.shown {
            Shown::Value(value) => format!("{name} = {value}"),
            Shown::Hidden => format!("{name} = \"(hidden)\""),
            Shown::Absent => return writeln!(f, "{:COLUMN$} # not set", format!("# {name} =")),
        };
        match (origin, &self.file) {
            (Origin::File, Some(path)) => writeln!(f, "{assignment:COLUMN$} # {}", path.display()),
            (Origin::Default | Origin::Environment(_) | Origin::Argument(_), _)
            | (Origin::File, None) => writeln!(f, "{assignment:COLUMN$} # {origin}"),
        }
    }
}

impl fmt::Display for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What is in no section has to come before all sections.
        let mut sections = vec![""];
        for entry in &self.entries {
            if !sections.contains(&entry.section.as_str()) {
                sections.push(&entry.section);
            }
        }
        sections
            .into_iter()
            .try_for_each(|section| self.write_section(f, section))
    }
}

/// The line that begins a section; `device[1]` is an element of an array of tables.
fn header(section: &str) -> String {
    let plain: Vec<_> = section
        .split('.')
        .map(|name| name.split('[').next().unwrap_or_default())
        .collect();
    let plain = plain.join(".");
    if section.ends_with(']') {
        format!("[[{plain}]]")
    } else {
        format!("[{plain}]")
    }
}
