//! Takes values out of a table and notes what is wrong with them; what is left over is unknown.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    rc::Rc,
    str::FromStr,
    time::Duration,
};

use humantime_serde::re::humantime;
use secrecy::SecretString;
use toml::{Table, Value, map::Entry};

use super::{
    Given, InForce, Origin, given::Show as _, in_force::Shown, mistake::Mistake, taken::Taken,
};

/// A section of the settings. What is left in it when it is dropped was not expected.
#[derive(Debug)]
pub struct Section {
    prefix: String,
    table: Table,
    record: Rc<RefCell<Record>>,
    taken: Taken,
}

/// A secret, and under which key it was given.
#[derive(Debug, Clone)]
pub struct Secret {
    /// The key, without its section.
    pub key: String,
    /// What nobody must see.
    pub text: SecretString,
}

/// What is known and noted about all sections.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) origins: BTreeMap<String, Origin>,
    pub(super) foreign: BTreeMap<String, String>,
    pub(super) folder: PathBuf,
    pub(super) guards_secrets: bool,
    pub(super) mistakes: Vec<Mistake>,
    pub(super) in_force: InForce,
}

impl Record {
    /// Where the service manager puts credentials.
    fn credentials(&self) -> Option<PathBuf> {
        self.foreign.get("CREDENTIALS_DIRECTORY").map(PathBuf::from)
    }

    fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::File)
    }

    pub(super) fn mistake(&mut self, key: String, value: String, expected: &str) {
        let origin = self.origin(&key);
        self.mistakes.push(Mistake {
            key,
            value,
            origin,
            expected: expected.to_owned(),
        });
    }
}

impl Section {
    pub(super) fn root(table: Table, record: Rc<RefCell<Record>>) -> Self {
        Self {
            prefix: String::new(),
            table,
            record,
            taken: Taken::default(),
        }
    }

    /// Takes a section within this one; an absent one is empty.
    pub fn section(&mut self, name: &str) -> Self {
        let table = match self.table.remove(name) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(
                other @ (Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_)),
            ) => {
                self.mistake(name, &guarded(&other), "a section");
                Table::new()
            }
        };
        Self {
            prefix: format!("{}{name}.", self.prefix),
            table,
            record: Rc::clone(&self.record),
            taken: self.taken.within(name),
        }
    }

    /// Takes an array of sections; an absent one is empty.
    pub fn sections(&mut self, name: &str) -> Vec<Self> {
        let Some(value) = self.table.remove(name) else {
            return Vec::new();
        };
        let tables = value.as_array().and_then(|values| {
            let tables = values.iter().map(|value| value.as_table().cloned());
            tables.collect::<Option<Vec<_>>>()
        });
        let Some(tables) = tables else {
            self.mistake(name, &guarded(&value), "an array of sections");
            return Vec::new();
        };
        let numbered = tables.into_iter().enumerate();
        numbered
            .map(|(number, table)| Self {
                prefix: format!("{}{name}[{number}].", self.prefix),
                table,
                record: Rc::clone(&self.record),
                taken: Taken::default(),
            })
            .collect()
    }

    /// Somebody gave this key.
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Somebody gave this secret, in any of the ways that [`Section::secret`] takes it.
    pub fn has_secret(&self, key: &str) -> bool {
        secret_names(key).iter().any(|name| self.has(name))
    }

    /// What tells these settings from others, once they are all taken: the values of this section
    /// and of those within it, and what is in the files that they name.
    pub fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// Where relative paths of the file begin.
    pub fn folder(&self) -> PathBuf {
        self.record.borrow().folder.clone()
    }

    /// Lets a variable of the environment that others name, and a platform may set, stand in for
    /// a key that nobody gave. An empty one is none.
    pub fn adopt(&mut self, key: &str, variable: &str) {
        let full = self.full(key);
        let mut record = self.record.borrow_mut();
        let text = record.foreign.get(variable);
        let Some(text) = text.filter(|text| !text.is_empty()).cloned() else {
            return;
        };
        if let Entry::Vacant(absent) = self.table.entry(key) {
            absent.insert(Value::String(text));
            let origin = Origin::Environment(variable.to_owned());
            record.origins.insert(full, origin);
        }
    }

    /// Notes a mistake.
    pub fn mistake(&self, key: &str, value: &str, expected: &str) {
        let key = self.full(key);
        let mut record = self.record.borrow_mut();
        record.mistake(key, value.to_owned(), expected);
    }

    /// Notes a mistake of this section as a whole.
    pub fn mistake_here(&self, expected: &str) {
        let key = self.prefix.trim_end_matches('.').to_owned();
        let mut record = self.record.borrow_mut();
        record.mistake(key, String::new(), expected);
    }

    /// Takes a text.
    pub fn text(&mut self, key: &str) -> Given<String> {
        self.take(key, "a text", |value| value.as_str().map(str::to_owned))
    }

    /// Takes a text that says something.
    pub fn filled(&mut self, key: &str) -> Given<String> {
        self.take(key, "a text that is not empty", |value| {
            let text = value.as_str()?;
            (!text.is_empty()).then(|| text.to_owned())
        })
    }

    /// Takes one of several values by its name.
    pub fn choice<T: Copy>(&mut self, key: &str, choices: &[(&str, T)]) -> Given<T> {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        let expected = format!("one of {}", names.join(", "));
        self.take(key, &expected, |value| {
            let wanted = value.as_str()?;
            let found = choices.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| *value)
        })
    }

    /// Takes a value that has a form as a text of its own.
    pub fn parsed<T: FromStr>(&mut self, key: &str, expected: &str) -> Given<T> {
        self.take(key, expected, |value| value.as_str()?.parse().ok())
    }

    /// Takes a truth value.
    pub fn flag(&mut self, key: &str) -> Given<bool> {
        self.take(key, "true or false", Value::as_bool)
    }

    /// Takes an address to listen on.
    pub fn address(&mut self, key: &str) -> Given<SocketAddr> {
        let expected = "an IP address and a port, for example \"127.0.0.1:50051\"";
        self.parsed(key, expected)
    }

    /// Takes the port of something elsewhere.
    pub fn port(&mut self, key: &str) -> Given<u16> {
        self.take(key, "a port from 1 to 65535", |value| {
            u16::try_from(value.as_integer()?)
                .ok()
                .filter(|port| *port > 0)
        })
    }

    /// Takes a whole number.
    pub fn count(&mut self, key: &str, min: u32, max: u32) -> Given<u32> {
        self.take(key, &format!("a number from {min} to {max}"), |value| {
            let count = u32::try_from(value.as_integer()?).ok()?;
            (min..=max).contains(&count).then_some(count)
        })
    }

    /// Takes a number.
    pub fn number(&mut self, key: &str, min: f64, max: f64) -> Given<f64> {
        self.take(key, &format!("a number from {min} to {max}"), |value| {
            let whole = value
                .as_integer()
                .and_then(|number| i32::try_from(number).ok());
            let number = value.as_float().or(whole.map(f64::from))?;
            (min..=max).contains(&number).then_some(number)
        })
    }

    /// Takes a span of time.
    pub fn duration(&mut self, key: &str, min: Duration, max: Duration) -> Given<Duration> {
        let print = humantime::format_duration;
        let expected = format!(
            "a duration from {} to {}, for example \"30s\"",
            print(min),
            print(max)
        );
        self.take(key, &expected, |value| {
            let duration = humantime::parse_duration(value.as_str()?).ok()?;
            (min..=max).contains(&duration).then_some(duration)
        })
    }

    /// Takes a list of texts.
    pub fn texts(&mut self, key: &str) -> Given<Vec<String>> {
        self.take(key, "a list of texts", |value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        })
    }

    /// Takes a path. A relative one in the file is relative to the file's folder, others to the
    /// folder that the program was started in.
    pub fn path(&mut self, key: &str) -> Given<PathBuf> {
        let folder = self.folder();
        let mut given = self.take(key, "a path", |value| {
            let text = value.as_str().filter(|text| !text.is_empty())?;
            Some(PathBuf::from(text))
        });
        if let Some(path) = &mut given.value {
            if !given.origin.is_untyped() {
                *path = folder.join(&*path);
            }
            given.shown = Some(path.show());
        }
        given
    }

    /// Takes the path of a file, and reads that file.
    pub fn file(&mut self, key: &str) -> Option<Vec<u8>> {
        let path = self.path(key).optional()?;
        self.read_file(key, &path)
    }

    /// Takes a secret: from `key`, from the file that `key_file` names, or from the credential of
    /// the service manager that `key_credential` names. The stronger source wins; two of the same
    /// strength are a mistake, and so is none.
    pub fn secret(&mut self, key: &str) -> Option<Secret> {
        if !self.has_secret(key) {
            let [_, file, credential] = secret_names(key);
            self.mistake(key, "", &format!("this, {file} or {credential}"));
        }
        self.optional_secret(key)
    }

    /// As [`Section::secret`], and may be absent.
    pub fn optional_secret(&mut self, key: &str) -> Option<Secret> {
        let names = secret_names(key);
        let given: Vec<_> = names.iter().filter(|name| self.has(name)).collect();
        let strongest = given.iter().map(|name| self.rank(name)).max();
        let (mut kept, dropped): (Vec<_>, Vec<_>) = given
            .into_iter()
            .partition(|name| Some(self.rank(name)) == strongest);
        for name in dropped {
            self.table.remove(name);
        }
        if let [first, others @ ..] = kept.as_slice()
            && !others.is_empty()
        {
            for other in others {
                self.mistake(other, "…", &format!("no {first} beside it"));
            }
            kept.iter()
                .for_each(|name| drop(self.table.remove(name.as_str())));
            kept.clear();
        }
        let direct = self.hidden(key);
        let [_, file_key, credential_key] = &names;
        let file = self.path(file_key).optional();
        // Not told where it is absent: it is another name for what the file's key says.
        let credential = self
            .has(credential_key)
            .then(|| self.filled(credential_key).optional())
            .flatten();
        if let Some(text) = direct {
            return Some(Secret {
                key: key.to_owned(),
                text,
            });
        }
        let (key, path) = match (file, credential) {
            (Some(file), _) => (file_key, file),
            (None, Some(name)) => (credential_key, self.credential(credential_key, &name)?),
            (None, None) => return None,
        };
        let bytes = self.read_secret_file(key, &path)?;
        let Ok(text) = String::from_utf8(bytes) else {
            self.mistake(key, "", "a file with a text in UTF-8");
            return None;
        };
        let text = text.trim();
        if text.is_empty() {
            self.mistake(key, "", "a file that is not empty");
            return None;
        }
        Some(Secret {
            key: key.clone(),
            text: text.into(),
        })
    }

    /// From now on a file with a secret has to be one that its owner alone can read. What the
    /// service manager brings is guarded by it.
    pub fn guard_secrets(&self) {
        self.record.borrow_mut().guards_secrets = true;
    }

    /// The file of a credential that the service manager brings.
    fn credential(&self, key: &str, name: &str) -> Option<PathBuf> {
        let folder = self.record.borrow().credentials();
        let Some(folder) = folder else {
            let expected =
                "a service manager that brings credentials: CREDENTIALS_DIRECTORY is not set";
            self.mistake(key, name, expected);
            return None;
        };
        if name.contains('/') || name == ".." || name == "." {
            self.mistake(key, name, "the name of a credential, without a folder");
            return None;
        }
        Some(folder.join(name))
    }

    fn read_secret_file(&self, key: &str, path: &Path) -> Option<Vec<u8>> {
        let (guards, brought) = {
            let record = self.record.borrow();
            let folder = record.credentials();
            let brought = folder.is_some_and(|folder| path.starts_with(folder));
            (record.guards_secrets, brought)
        };
        // systemd shows the rights that it gives to the service's user as those of a group.
        if guards && !brought && others_can_read(path) {
            let expected =
                "a file that only its owner can read (chmod 600), or allow_readable_secrets = true";
            self.mistake(key, &path.display().to_string(), expected);
            return None;
        }
        self.read_file(key, path)
    }

    /// Takes any other value. `read` gives nothing for one that is not as `expected`.
    pub fn take<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Given<T> {
        self.take_or_why(key, |value| read(value).ok_or_else(|| expected.to_owned()))
    }

    /// Takes any other value. `read` says what was expected when the value is not so.
    pub fn take_or_why<T>(
        &mut self,
        key: &str,
        read: impl Fn(&Value) -> Result<T, String>,
    ) -> Given<T> {
        let full = self.full(key);
        let origin = self.record.borrow().origin(&full);
        let mut shown = self.table.remove(key);
        self.taken.add(key, shown.as_ref());
        let mut value = None;
        let mut mistaken = false;
        if let Some(given) = &shown {
            match read_as_given(given, &origin, &read) {
                Ok((read, typed)) => {
                    value = Some(read);
                    shown = Some(typed);
                }
                Err(expected) => {
                    mistaken = true;
                    self.mistake(key, &given.to_string(), &expected);
                }
            }
        }
        Given {
            key: full,
            value,
            shown,
            origin,
            mistaken,
            record: Rc::clone(&self.record),
        }
    }

    fn hidden(&mut self, key: &str) -> Option<SecretString> {
        let full = self.full(key);
        let origin = self.record.borrow().origin(&full);
        let given = self.table.remove(key);
        self.taken.add(key, given.as_ref());
        let text = given.as_ref().map(|value| {
            let text = value.as_str().map(str::trim);
            text.filter(|text| !text.is_empty()).map(SecretString::from)
        });
        if let Some(None) = text {
            self.mistake(key, "(hidden)", "a text that is not empty");
        }
        let (shown, origin) = match given {
            Some(_) => (Shown::Hidden, origin),
            None => (Shown::Absent, Origin::Default),
        };
        self.record.borrow_mut().in_force.add(full, shown, origin);
        text.flatten()
    }

    fn read_file(&self, key: &str, path: &Path) -> Option<Vec<u8>> {
        match fs::read(path) {
            Ok(bytes) => {
                self.taken.add_bytes(key, &bytes);
                Some(bytes)
            }
            Err(error) => {
                let expected = format!("a file that can be read: {error}");
                self.mistake(key, &path.display().to_string(), &expected);
                None
            }
        }
    }

    /// Notes each value that nobody asked for, so that each is told with its own origin.
    fn note_unknown(&self, within: &str, table: Table) {
        for (key, value) in table {
            let key = format!("{within}{key}");
            match value {
                Value::Table(table) if !table.is_empty() => {
                    self.note_unknown(&format!("{key}."), table);
                }
                Value::Table(_)
                | Value::String(_)
                | Value::Integer(_)
                | Value::Float(_)
                | Value::Boolean(_)
                | Value::Datetime(_)
                | Value::Array(_) => self.mistake(&key, &guarded(&value), "no such key"),
            }
        }
    }

    fn rank(&self, key: &str) -> u8 {
        self.record.borrow().origin(&self.full(key)).rank()
    }

    fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        let left = std::mem::take(&mut self.table);
        self.note_unknown("", left);
    }
}

/// Where a secret may be given.
fn secret_names(key: &str) -> [String; 3] {
    [
        key.to_owned(),
        format!("{key}_file"),
        format!("{key}_credential"),
    ]
}

/// The group or everybody may read a file.
fn others_can_read(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    // One that is not there has a mistake of its own.
    fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o044 != 0)
}

/// Reads a value; one from the environment or the command line may be meant as a text or as
/// TOML, whichever fits.
fn read_as_given<T>(
    given: &Value,
    origin: &Origin,
    read: &impl Fn(&Value) -> Result<T, String>,
) -> Result<(T, Value), String> {
    let first = read(given).map(|value| (value, given.clone()));
    match (first, given) {
        (Err(expected), Value::String(text)) if origin.is_untyped() => {
            let typed = format!("it = {text}").parse::<Table>().ok();
            // A text with more in it than a value is none.
            let typed = typed.filter(|table| table.len() == 1);
            let typed = typed.and_then(|mut table| table.remove("it"));
            let again = typed.and_then(|typed| Some((read(&typed).ok()?, typed)));
            again.ok_or(expected)
        }
        (first, _) => first,
    }
}

/// A value where nobody knows what it is: what looks like a text may be a secret.
fn guarded(value: &Value) -> String {
    match value {
        Value::String(_) | Value::Array(_) | Value::Table(_) => "…".to_owned(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {
            value.to_string()
        }
    }
}
