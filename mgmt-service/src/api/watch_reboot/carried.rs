//! An answer whose body is not made by the generated server, which would encode each message once for
//! each stream into a buffer of the stream's own.
//!
//! The generated server makes the answer's head out of a response whose stream is empty. The body
//! travels beside it, and takes the place of the empty stream's further out.

use std::sync::{Arc, Mutex};

use futures_util::stream;
use tonic::{Response, codegen::http};

use super::body::WatchBody;
use crate::lock::lock;

/// What tonic is given for a stream.
pub(in crate::api) type NoStream<T> = stream::Empty<T>;

/// What travels beside an answer may be copied; the body is taken once.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<WatchBody>>>);

/// An answer with this body.
pub(super) fn pack<T>(body: WatchBody) -> Response<NoStream<T>> {
    let mut answer = Response::new(stream::empty());
    let carried = Carried(Arc::new(Mutex::new(Some(body))));
    answer.extensions_mut().insert(carried);
    answer
}

/// Takes the body that travels beside an answer, and is to stand in the place of the answer's own.
pub(in crate::api) fn unpack<B>(answer: &mut http::Response<B>) -> Option<WatchBody> {
    let carried = answer.extensions_mut().remove::<Carried>()?;
    lock(&carried.0).take()
}
