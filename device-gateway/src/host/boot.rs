//! Which boot the machine is in, and for how long, from the files in which Linux shows it.

use std::{io, path::Path, time::Duration};

use tokio::fs;

/// The longest boot id that is taken; Linux's has 36 characters.
const BOOT_ID_CHARS: usize = 128;

/// Reads the identity of the present boot.
pub(crate) async fn id(file: &Path) -> io::Result<String> {
    let text = fs::read_to_string(file).await?;
    parse_id(&text).ok_or_else(|| invalid("no boot id in it"))
}

/// Reads how long the machine has been up.
pub(crate) async fn uptime(file: &Path) -> io::Result<Duration> {
    let text = fs::read_to_string(file).await?;
    parse_uptime(&text).ok_or_else(|| invalid("no uptime in it"))
}

fn parse_id(text: &str) -> Option<String> {
    let id = text.trim();
    let fits = !id.is_empty() && id.len() <= BOOT_ID_CHARS && !id.contains(char::is_control);
    fits.then(|| id.to_owned())
}

/// The first of the numbers in the file; the second is how long the machine was idle.
fn parse_uptime(text: &str) -> Option<Duration> {
    let seconds = text.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::{DEFAULT_BOOT_ID_FILE, DEFAULT_UPTIME_FILE};

    #[tokio::test]
    async fn the_files_of_this_machine_are_understood() {
        let boot_id = id(DEFAULT_BOOT_ID_FILE.as_ref()).await.unwrap();
        assert_eq!(boot_id.len(), 36);
        assert!(uptime(DEFAULT_UPTIME_FILE.as_ref()).await.unwrap() > Duration::ZERO);
    }

    #[test]
    fn what_is_not_agreed_is_refused() {
        assert_eq!(parse_id("b1\n").as_deref(), Some("b1"));
        for bad in ["", "\n", "a\nb", &"x".repeat(129)] {
            assert_eq!(parse_id(bad), None, "{bad:?}");
        }
        assert_eq!(parse_uptime("1.5 7\n"), Some(Duration::from_millis(1500)));
        for bad in ["", "x", "-1 0", "NaN", "inf", "1e300"] {
            assert_eq!(parse_uptime(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_content_is_read_or_refused(text: String, number: f64) {
            let _ = parse_id(&text);
            let _ = parse_uptime(&text);
            let _ = parse_uptime(&number.to_string());
        }
    }
}
