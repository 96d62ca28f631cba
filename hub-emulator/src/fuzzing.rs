//! Parsers that nobody outside needs, for fuzz targets: any bytes may be given to them.

/// A request of the REST API: its method and path, a line's end, and its body.
pub fn rest(data: &[u8]) {
    crate::rest::fuzz(data);
}
