//! Settings: any text is settings or a list of mistakes.

use std::path::Path;

/// A folder that does not exist, so that files which the text names are mistakes.
const FOLDER: &str = "/nonexistent";

pub(crate) fn gateway(data: &[u8]) {
    if let Some(text) = harmless(data)
        && let Err(error) = device_gateway::config::Config::parse(text, Path::new(FOLDER))
    {
        assert!(!error.0.is_empty());
    }
}

pub(crate) fn service(data: &[u8]) {
    if let Some(text) = harmless(data)
        && let Err(error) = mgmt_service::config::Config::parse(text, Path::new(FOLDER), None)
    {
        assert!(!error.0.is_empty());
    }
}

/// The text, unless it may name a file that exists.
fn harmless(data: &[u8]) -> Option<&str> {
    let text = str::from_utf8(data).ok()?;
    // A TOML string may spell a slash by its number, too.
    let may_name_a_file = text.contains('/') || text.contains("\\u") || text.contains("\\x");
    (!may_name_a_file).then_some(text)
}
