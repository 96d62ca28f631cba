//! The parameters after a path's `?`.

use iot_hub::error::HubError;
use percent_encoding::percent_decode_str;

use super::reply::argument_invalid;

/// Names and values, decoded. Of one name's values the first counts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads what stands after the `?`. Nothing is an error; bytes that are no text are replaced.
    pub(crate) fn parse(text: &str) -> Self {
        let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let pairs = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        });
        Self(pairs.collect())
    }

    /// The value of a parameter. Names are told apart without regard to case.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self
            .0
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// How many of a list are wanted: `max` when nothing is said.
    pub(super) fn top(&self, max: usize) -> Result<usize, HubError> {
        match self.get("top") {
            None => Ok(max),
            Some(text) => text
                .parse()
                .ok()
                .filter(|top| (1..=max).contains(top))
                .ok_or_else(|| argument_invalid(format!("top must be 1 to {max}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_values_and_takes_the_first_of_a_name() {
        let parameters = Parameters::parse("top=1%30&api-version=2021-04-12&top=2&flag");
        assert_eq!(parameters.get("top"), Some("10"));
        assert_eq!(parameters.get("Api-Version"), Some("2021-04-12"));
        assert_eq!(parameters.get("flag"), Some(""));
        assert_eq!(parameters.get("absent"), None);
    }
}
