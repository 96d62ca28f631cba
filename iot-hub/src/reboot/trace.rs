//! The caller's trace context, carried along so that one trace shows all halves of a reboot.
//!
//! Its form is that of the header `traceparent` of W3C Trace Context. Nothing is decided by it, and
//! one that is malformed is as good as none: it must never keep a reboot from happening.

use std::{fmt, num::NonZero, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest text that is looked at: a later version of the form may have more fields.
const MAX_LENGTH: usize = 128;

/// The place of something in a trace: `00-<trace id>-<span id>-<flags>`, in lowercase hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TraceParent {
    /// The trace.
    pub trace_id: NonZero<u128>,
    /// The span in it that what follows belongs to.
    pub span_id: NonZero<u64>,
    /// Bit 0 says that the trace is recorded.
    pub flags: u8,
}

/// A text that is no trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a traceparent as W3C Trace Context has it")]
pub struct TraceParentError;

impl TraceParent {
    /// The trace's id, as logs and other tools write it.
    pub fn trace(&self) -> String {
        format!("{:032x}", self.trace_id)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trace_id,
            span_id,
            flags,
        } = self;
        write!(f, "00-{trace_id:032x}-{span_id:016x}-{flags:02x}")
    }
}

impl FromStr for TraceParent {
    type Err = TraceParentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LENGTH {
            return Err(TraceParentError);
        }
        let mut fields = text.split('-');
        let mut field = |digits| hexadecimal(fields.next()?, digits);
        let read = (field(2), field(32), field(16), field(2));
        let (Some(version), Some(trace_id), Some(span_id), Some(flags)) = read else {
            return Err(TraceParentError);
        };
        // Later versions may append fields; 255 is no version.
        if version == 255 || (version == 0 && fields.next().is_some()) {
            return Err(TraceParentError);
        }
        let read = || {
            Some(Self {
                trace_id: NonZero::new(trace_id)?,
                span_id: NonZero::new(u64::try_from(span_id).ok()?)?,
                flags: u8::try_from(flags).ok()?,
            })
        };
        read().ok_or(TraceParentError)
    }
}

impl TryFrom<String> for TraceParent {
    type Error = TraceParentError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TraceParent> for String {
    fn from(parent: TraceParent) -> Self {
        parent.to_string()
    }
}

/// Reads exactly so many digits, none of them in upper case.
fn hexadecimal(text: &str, digits: usize) -> Option<u128> {
    let valid = text.len() == digits
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    valid.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn the_form_is_checked() {
        let parent: TraceParent = GOOD.parse().unwrap();
        assert_eq!(parent.trace(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(parent.flags, 1);
        let later = GOOD.replacen("00", "cc", 1) + "-what-comes-later";
        assert_eq!(later.parse(), Ok(parent));
        for bad in [
            String::new(),
            GOOD.to_uppercase(),
            format!("{GOOD}-"),
            format!("{GOOD} "),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0", 1),
            GOOD.replace("b7ad6b7169203331", "0000000000000000"),
            GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            GOOD.replace("b7ad", "+7ad"),
            GOOD.replace("0af7", "00af7"),
            GOOD.replace("b7ad", "0b7ad"),
            format!("{}001", &GOOD[..GOOD.len() - 2]),
            GOOD.replacen("00", "01", 1) + &"-x".repeat(100),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(TraceParentError), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn reading_inverts_printing(trace in 1_u128.., span in 1_u64.., flags: u8) {
            let parent = TraceParent {
                trace_id: NonZero::new(trace).unwrap(),
                span_id: NonZero::new(span).unwrap(),
                flags,
            };
            prop_assert_eq!(parent.to_string().parse(), Ok(parent));
            let json = serde_json::to_value(parent).unwrap();
            prop_assert_eq!(serde_json::from_value::<TraceParent>(json).unwrap(), parent);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9a-f-]{0,60}|.*") {
            if let Ok(parent) = text.parse::<TraceParent>() {
                prop_assert!(text.contains(&parent.trace()));
            }
        }
    }
}
