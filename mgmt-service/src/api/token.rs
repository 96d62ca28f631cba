//! The opaque texts that callers hand back: where a watch stood, and where a list ended.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use iot_hub::reboot::RequestId;
use uuid::Uuid;

use crate::store::Position;

/// The first byte of each kind of token; a changed layout gets another one.
const RESUME: u8 = 1;
const REBOOTS: u8 = 2;
const DEVICES: u8 = 3;
const AUDIT: u8 = 4;

/// Where a watch stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ResumeToken {
    /// The attempt.
    pub(super) id: RequestId,
    /// The last revision that was seen.
    pub(super) revision: i64,
}

impl ResumeToken {
    pub(super) fn print(self) -> String {
        let mut bytes = vec![RESUME];
        bytes.extend(self.id.0.as_bytes());
        bytes.extend(self.revision.to_be_bytes());
        BASE64.encode(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (&RESUME, rest) = bytes.split_first()? else {
            return None;
        };
        let (id, revision) = rest.split_at_checked(16)?;
        Some(Self {
            id: RequestId(Uuid::from_slice(id).ok()?),
            revision: i64::from_be_bytes(revision.try_into().ok()?),
        })
    }
}

/// Where a list of attempts ended, and which list it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RebootsToken {
    /// Stands for the rest of the request.
    pub(super) request: u64,
    /// The last attempt listed.
    pub(super) last: Position,
}

impl RebootsToken {
    pub(super) fn print(self) -> String {
        let mut bytes = vec![REBOOTS];
        bytes.extend(self.request.to_be_bytes());
        bytes.extend(self.last.create_time.to_be_bytes());
        bytes.extend(self.last.id.0.as_bytes());
        BASE64.encode(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (&REBOOTS, rest) = bytes.split_first()? else {
            return None;
        };
        let (request, rest) = rest.split_at_checked(8)?;
        let (create_time, id) = rest.split_at_checked(8)?;
        Some(Self {
            request: u64::from_be_bytes(request.try_into().ok()?),
            last: Position {
                create_time: i64::from_be_bytes(create_time.try_into().ok()?),
                id: RequestId(Uuid::from_slice(id).ok()?),
            },
        })
    }
}

/// Where a list of devices ended, and which list it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DevicesToken {
    /// Stands for the rest of the request.
    pub(super) request: u64,
    /// What the hub gave for the next page.
    pub(super) continuation: String,
}

impl DevicesToken {
    pub(super) fn print(&self) -> String {
        let mut bytes = vec![DEVICES];
        bytes.extend(self.request.to_be_bytes());
        bytes.extend(self.continuation.as_bytes());
        BASE64.encode(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (&DEVICES, rest) = bytes.split_first()? else {
            return None;
        };
        let (request, continuation) = rest.split_at_checked(8)?;
        let continuation = String::from_utf8(continuation.to_vec()).ok()?;
        // It goes back to the hub in a header.
        let printable = continuation
            .bytes()
            .all(|byte| (b' '..=b'~').contains(&byte));
        printable.then_some(Self {
            request: u64::from_be_bytes(request.try_into().ok()?),
            continuation,
        })
    }
}

/// Where a list of the audit ended, and which list it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuditToken {
    /// Stands for the rest of the request.
    pub(super) request: u64,
    /// The last event listed.
    pub(super) before: i64,
}

impl AuditToken {
    pub(super) fn print(self) -> String {
        let mut bytes = vec![AUDIT];
        bytes.extend(self.request.to_be_bytes());
        bytes.extend(self.before.to_be_bytes());
        BASE64.encode(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (&AUDIT, rest) = bytes.split_first()? else {
            return None;
        };
        let (request, before) = rest.split_at_checked(8)?;
        Some(Self {
            request: u64::from_be_bytes(request.try_into().ok()?),
            before: i64::from_be_bytes(before.try_into().ok()?),
        })
    }
}

/// A number that stands for the fields of a request that have to be the same on every page.
pub(super) fn fingerprint(fields: &[&str]) -> u64 {
    let mut hasher = DefaultHasher::new();
    fields.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn tokens_are_read_as_they_are_written(
            id in any::<u128>(),
            revision in any::<i64>(),
            request in any::<u64>(),
            continuation in "[ -~]{0,60}",
        ) {
            let id = RequestId(Uuid::from_u128(id));
            let resume = ResumeToken { id, revision };
            prop_assert_eq!(ResumeToken::parse(&resume.print()), Some(resume));
            let reboots = RebootsToken { request, last: Position { create_time: revision, id } };
            prop_assert_eq!(RebootsToken::parse(&reboots.print()), Some(reboots));
            let audit = AuditToken { request, before: revision };
            prop_assert_eq!(AuditToken::parse(&audit.print()), Some(audit));
            prop_assert_eq!(AuditToken::parse(&resume.print()), None);
            let devices = DevicesToken { request, continuation };
            let printed = devices.print();
            prop_assert_eq!(DevicesToken::parse(&printed), Some(devices));
            prop_assert_eq!(ResumeToken::parse(&reboots.print()), None);
            prop_assert_eq!(RebootsToken::parse(&resume.print()), None);
            prop_assert_eq!(DevicesToken::parse(&resume.print()), None);
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "[A-Za-z0-9_=+/-]{0,60}|\\PC{0,20}") {
            let _ = ResumeToken::parse(&text);
            let _ = RebootsToken::parse(&text);
            let _ = DevicesToken::parse(&text);
            let _ = AuditToken::parse(&text);
        }
    }
}
