//! Percent-encoding as the hub and its SDKs use it: a plus sign is a plus sign.

use percent_encoding::{
    AsciiSet, NON_ALPHANUMERIC, PercentEncode, percent_decode_str, utf8_percent_encode,
};

/// All but the characters that RFC 3986 calls unreserved. The signature of a token covers its
/// encoded text, so this set is part of the signature that our own tokens carry.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Encodes everything but unreserved characters, with upper-case digits.
pub(crate) fn encode(text: &str) -> PercentEncode<'_> {
    utf8_percent_encode(text, RESERVED)
}

/// Decodes once; a stray `%` stays as it is, bytes that are no UTF-8 give `None`.
pub(crate) fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// Decodes once; bytes that are no UTF-8 become replacement characters.
pub(crate) fn decode_lossy(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}
