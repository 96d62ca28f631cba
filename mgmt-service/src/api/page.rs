//! What the lists of attempts and of the audit share: pages of what their caller may see.

use iot_hub::identity::DeviceId;

use super::{parse, permit::Permit};
use crate::{access::right::Right, error::Error};

/// How many a page has when the caller does not say.
pub(super) const DEFAULT_SIZE: u32 = 50;

/// The most on a page.
pub(super) const MAX_SIZE: u32 = 1000;

/// How many pages of the store are looked through for one page of what the caller may see. A page may
/// be short, or empty, and still not be the last.
const MAX_LOOKS: usize = 10;

/// Reads a parent: one device, or all.
pub(super) fn parent(text: &str) -> Result<Option<DeviceId>, String> {
    match text {
        "devices/-" => Ok(None),
        parent => parse::device_name(parent)
            .map(Some)
            .map_err(|rule| format!("{rule}, or devices/- for all")),
    }
}

/// One page of what the caller has a right to see, and the place after which the next one begins.
///
/// `read` gives at most so many items after a place; `place` and `device` tell where an item is, and
/// what it is about. What is about no device is for those who have the right over every device.
pub(super) async fn visible<T, P, F>(
    permit: &Permit,
    right: Right,
    size: usize,
    mut after: Option<P>,
    read: impl Fn(Option<P>, usize) -> F,
    place: impl Fn(&T) -> P,
    device: impl Fn(&T) -> Option<&DeviceId>,
) -> Result<(Vec<T>, Option<P>), Error>
where
    P: Copy,
    F: Future<Output = Result<Vec<T>, Error>>,
{
    let everywhere = permit.everywhere(right);
    let mut page = Vec::new();
    for _ in 0..MAX_LOOKS {
        // One more than wanted tells whether there is another page.
        let mut found = read(after, size + 1).await?;
        let more = found.len() > size;
        found.truncate(size);
        let covered = permit
            .among(right, found.iter().filter_map(&device))
            .await?;
        let mut left = found.into_iter();
        while page.len() < size
            && let Some(item) = left.next()
        {
            after = Some(place(&item));
            if device(&item).map_or(everywhere, |device| covered.contains(device)) {
                page.push(item);
            }
        }
        if !more && left.len() == 0 {
            after = None;
        }
        if after.is_none() || page.len() == size {
            break;
        }
    }
    Ok((page, after))
}
