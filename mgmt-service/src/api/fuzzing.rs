//! Parsers that nobody outside needs, for fuzz targets: any text may be given to them.

use super::{
    audit_filter, filter, parse,
    token::{AuditToken, DevicesToken, RebootsToken, ResumeToken},
};

/// A filter, a token or a name in a request.
///
/// # Panics
///
/// When a token or a name that was read is not written as it was read.
pub fn texts(text: &str) {
    let _ = filter::parse(text);
    let _ = audit_filter::parse(text);
    if let Some(token) = ResumeToken::parse(text) {
        assert_eq!(token.print(), text);
    }
    if let Some(token) = RebootsToken::parse(text) {
        assert_eq!(token.print(), text);
    }
    if let Some(token) = DevicesToken::parse(text) {
        assert_eq!(token.print(), text);
    }
    if let Some(token) = AuditToken::parse(text) {
        assert_eq!(token.print(), text);
    }
    if let Ok(device) = parse::device_name(text) {
        assert!(text.ends_with(device.as_ref()), "{text}");
    }
    let _ = parse::reboot_name(text);
}
