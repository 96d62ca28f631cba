//! Words of others, made fit for a report.

/// The longest word of somebody else that is passed on.
const WORDS_CHARS: usize = 128;

/// Makes a name fit for a property of a twin.
pub(crate) fn property_name(words: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    words.chars().take(WORDS_CHARS).map(fit).collect()
}

/// Makes somebody's words fit for a report.
pub(crate) fn clip(words: &str) -> String {
    let printable = words.chars().filter(|c| !c.is_control());
    printable.take(WORDS_CHARS).collect()
}
