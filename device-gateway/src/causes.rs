//! Errors as text for people, where no log takes them apart.

use std::{error::Error, io, iter};

/// An error with its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let words: Vec<_> = causes(error).map(ToString::to_string).collect();
    words.join(": ")
}

/// Says whether the other end's machine answered that nobody is there who would take the connection, or
/// go on with it. A message that was lost is answered by nobody.
pub(crate) fn is_turned_away(error: &(dyn Error + 'static)) -> bool {
    let kinds = causes(error).filter_map(|error| error.downcast_ref().map(io::Error::kind));
    kinds.into_iter().any(|kind| {
        matches!(
            kind,
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
        )
    })
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error| (*error).source())
}
