//! What a configured command prints about a device.

use std::time::Duration;

use serde::Deserialize;

use crate::driver::reading::{self, BOOT_ID_CHARS, Reading};

/// What the command printed is not what was agreed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::driver) enum ReadingError {
    #[error("printed nothing")]
    Nothing,
    #[error("printed {0} lines instead of one, or of a JSON object")]
    Lines(usize),
    #[error("printed a JSON object that cannot be read: {0}")]
    Json(String),
    #[error("a boot id has to be 1 to {BOOT_ID_CHARS} printable characters")]
    BootId,
    #[error("uptimeSec has to be a number of seconds that is not negative")]
    Uptime,
}

/// Reads what was printed: one JSON object, or one line that is the boot id. Nothing, when the command
/// reached something that says that the device is not there.
pub(in crate::driver) fn parse(printed: &[u8]) -> Result<Option<Reading>, ReadingError> {
    let printed = String::from_utf8_lossy(printed);
    let text = printed.trim();
    if text.is_empty() {
        return Err(ReadingError::Nothing);
    }
    if text.starts_with('{') {
        let object: Object =
            serde_json::from_str(text).map_err(|error| ReadingError::Json(error.to_string()))?;
        return object.reading();
    }
    match text.lines().count() {
        1 => Ok(Some(Reading {
            boot_id: Some(boot_id(text.to_owned())?),
            ..Reading::default()
        })),
        lines => Err(ReadingError::Lines(lines)),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    #[serde(default)]
    boot_id: Option<String>,
    #[serde(default)]
    uptime_sec: Option<f64>,
    #[serde(default)]
    boot_count: Option<u64>,
    #[serde(default)]
    present: Option<bool>,
    #[serde(default)]
    cause_id: Option<String>,
}

impl Object {
    fn reading(self) -> Result<Option<Reading>, ReadingError> {
        let uptime = self.uptime_sec.map(Duration::try_from_secs_f64);
        let reading = Reading {
            boot_id: self.boot_id.map(boot_id).transpose()?,
            uptime: uptime.transpose().map_err(|_| ReadingError::Uptime)?,
            boot_count: self.boot_count,
            // A device may echo what it likes; only a request's id is a cause.
            cause: self.cause_id.and_then(|id| id.parse().ok()),
            reset_reason: None,
        };
        Ok((self.present != Some(false)).then_some(reading))
    }
}

fn boot_id(text: String) -> Result<String, ReadingError> {
    reading::boot_id(text).ok_or(ReadingError::BootId)
}

/// Reads whatever a command may print. Panics when a promise does not hold.
pub(crate) fn fuzz(data: &[u8]) {
    if let Ok(Some(Reading {
        boot_id: Some(id), ..
    })) = parse(data)
    {
        assert!(!id.is_empty() && id.chars().count() <= BOOT_ID_CHARS);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::driver::tests::ID;

    #[track_caller]
    fn check(printed: &str, expected: Result<Option<Reading>, ReadingError>) {
        assert_eq!(parse(printed.as_bytes()), expected, "{printed}");
    }

    #[test]
    fn a_line_is_a_boot_id() {
        let reading = Reading {
            boot_id: Some("6f0c".into()),
            ..Reading::default()
        };
        check("6f0c", Ok(Some(reading.clone())));
        check("\n 6f0c \n\n", Ok(Some(reading)));
        check("", Err(ReadingError::Nothing));
        check(" \n", Err(ReadingError::Nothing));
        check("a\nb", Err(ReadingError::Lines(2)));
        check("a\tb", Err(ReadingError::BootId));
        check(&"x".repeat(129), Err(ReadingError::BootId));
    }

    #[test]
    fn an_object_says_more() {
        let all = format!(
            r#"{{"bootId":"b","uptimeSec":1.5,"bootCount":3,"present":true,"causeId":"{ID}","x":1}}"#
        );
        check(
            &all,
            Ok(Some(Reading {
                boot_id: Some("b".into()),
                uptime: Some(Duration::from_millis(1500)),
                boot_count: Some(3),
                cause: Some(ID),
                reset_reason: None,
            })),
        );
        check("{}", Ok(Some(Reading::default())));
        check(r#"{"causeId":"me"}"#, Ok(Some(Reading::default())));
        check(r#"{"present":false,"bootId":"b"}"#, Ok(None));
        check(r#"{"uptimeSec":-1}"#, Err(ReadingError::Uptime));
        check(r#"{"bootId":""}"#, Err(ReadingError::BootId));
        for bad in ["{", r#"{"bootId":7}"#, r#"{"bootCount":-1}"#, "{}{}"] {
            let read = parse(bad.as_bytes());
            assert!(matches!(read, Err(ReadingError::Json(_))), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_printed_is_read_or_refused(printed: Vec<u8>, text in r#"\{"[a-zA-Z]{1,8}":.{0,8}\}"#) {
            let _ = parse(&printed);
            let _ = parse(text.as_bytes());
        }
    }
}
