//! Filters, page tokens, resume tokens and names in requests to the service.

pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        mgmt_service::api::fuzzing::texts(text);
    }
}
