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

/// Where a list ended, and which list it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageToken<P> {
    /// Stands for the rest of the request.
    request: u64,
    /// What was listed last, or what the next page begins with.
    place: P,
}

/// A place in a list of one kind.
pub(super) trait Place: Sized {
    /// The first byte of the list's tokens.
    const KIND: u8;

    /// What comes after the request.
    fn bytes(&self) -> Vec<u8>;

    /// Reads what [`Place::bytes`] gave.
    fn of_bytes(bytes: &[u8]) -> Option<Self>;
}

/// The last attempt listed.
pub(super) type RebootsToken = PageToken<Position>;

/// What the hub gave for the next page.
pub(super) type DevicesToken = PageToken<Continuation>;

/// The last event listed.
pub(super) type AuditToken = PageToken<AuditPlace>;

/// What the hub gave for the next page of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Continuation(pub(super) String);

/// The number of an event of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuditPlace(pub(super) i64);

impl<P: Place> PageToken<P> {
    pub(super) fn print(&self) -> String {
        let mut bytes = vec![P::KIND];
        bytes.extend(self.request.to_be_bytes());
        bytes.extend(self.place.bytes());
        BASE64.encode(bytes)
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let bytes = BASE64.decode(text).ok()?;
        let (kind, rest) = bytes.split_first()?;
        let (request, place) = rest.split_at_checked(8)?;
        if *kind != P::KIND {
            return None;
        }
        Some(Self {
            request: u64::from_be_bytes(request.try_into().ok()?),
            place: P::of_bytes(place)?,
        })
    }
}

/// Reads the field `page_token`. What has to be the same on every page is in `fixed`, and called `what`.
pub(super) fn read_page_token<P: Place>(
    text: &str,
    fixed: &[&str],
    what: &str,
) -> Result<Option<P>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let token: PageToken<P> =
        PageToken::parse(text).ok_or("must be the next_page_token of an earlier answer")?;
    if token.request == fingerprint(fixed) {
        Ok(Some(token.place))
    } else {
        Err(format!("must be used with the {what} it was given for"))
    }
}

/// What to answer as `next_page_token`; nothing after the last page.
pub(super) fn next_page_token<P: Place>(place: Option<P>, fixed: &[&str]) -> String {
    let request = fingerprint(fixed);
    let token = place.map(|place| PageToken { request, place });
    token.as_ref().map(PageToken::print).unwrap_or_default()
}

impl Place for Position {
    const KIND: u8 = REBOOTS;

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.create_time.to_be_bytes().to_vec();
        bytes.extend(self.id.0.as_bytes());
        bytes
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (create_time, id) = bytes.split_at_checked(8)?;
        Some(Self {
            create_time: i64::from_be_bytes(create_time.try_into().ok()?),
            id: RequestId(Uuid::from_slice(id).ok()?),
        })
    }
}

impl Place for Continuation {
    const KIND: u8 = DEVICES;

    fn bytes(&self) -> Vec<u8> {
        self.0.clone().into_bytes()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        // It goes back to the hub in a header.
        let printable = bytes.iter().all(|byte| (b' '..=b'~').contains(byte));
        let text = String::from_utf8(bytes.to_vec()).ok()?;
        printable.then_some(Self(text))
    }
}

impl Place for AuditPlace {
    const KIND: u8 = AUDIT;

    fn bytes(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }

    fn of_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(i64::from_be_bytes(bytes.try_into().ok()?)))
    }
}

/// A number that stands for the fields of a request that have to be the same on every page.
fn fingerprint(fields: &[&str]) -> u64 {
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
            let reboots = RebootsToken { request, place: Position { create_time: revision, id } };
            prop_assert_eq!(RebootsToken::parse(&reboots.print()), Some(reboots));
            let audit = AuditToken { request, place: AuditPlace(revision) };
            prop_assert_eq!(AuditToken::parse(&audit.print()), Some(audit));
            prop_assert_eq!(AuditToken::parse(&resume.print()), None);
            let devices = DevicesToken { request, place: Continuation(continuation) };
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
