//! What a watch says, in the form in which gRPC sends it.

use std::time::Duration;

use iot_hub::reboot::RequestId;
use iothubdm_proto::v1::{Bookmark, RebootEvent, reboot_event::Event as Carried};
use prost::Message as _;
use tonic::codegen::Bytes;

use super::super::{convert, token::ResumeToken};
use crate::attempt::{Event, View};

/// What stands before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// How the attempt stands, to a watcher that goes on after `position`.
pub(super) fn snapshot(view: &View, position: i64) -> Bytes {
    let snapshot = Carried::Snapshot(convert::attempt(view));
    framed(&message(view.id, position, view.revision, snapshot))
}

/// What happened.
pub(super) fn progress(event: &Event) -> Bytes {
    let (id, revision) = (event.view.id, event.revision);
    let progress = Carried::Progress(convert::progress(event));
    framed(&message(id, revision, revision, progress))
}

/// That nothing happened since `position`, and how old the newest reading of the twin is.
pub(super) fn bookmark(id: RequestId, position: i64, twin_age: Option<Duration>) -> Bytes {
    let twin_age = twin_age.map(convert::duration);
    let bookmark = Carried::Bookmark(Bookmark { twin_age });
    framed(&message(id, position, position, bookmark))
}

/// A message whose token continues after `position`.
fn message(id: RequestId, position: i64, revision: i64, carried: Carried) -> RebootEvent {
    let token = ResumeToken {
        id,
        revision: position,
    };
    RebootEvent {
        event: Some(carried),
        revision,
        resume_token: token.print(),
    }
}

fn framed(message: &RebootEvent) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.push(0);
    let length = u32::try_from(length).expect("what is stored of an attempt is far below 4 GiB");
    bytes.extend(length.to_be_bytes());
    message
        .encode(&mut bytes)
        .expect("a vector has room for whatever comes");
    bytes.into()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use futures_util::stream;
    use http_body::Body as _;
    use iothubdm_proto::{
        codec::LeanCodec,
        v1::{RebootAttempt, RebootProgress},
    };
    use proptest::prelude::*;
    use tonic::codec::{Codec as _, EncodeBody};

    use super::*;

    /// The same message, as tonic's generated server would send it.
    fn by_tonic(message: RebootEvent) -> Bytes {
        let encoder = LeanCodec::<RebootEvent, RebootEvent>::default().encoder();
        let messages = stream::iter([Ok(message)]);
        let mut body = std::pin::pin!(EncodeBody::new_server(
            encoder,
            messages,
            None,
            Default::default(),
            None,
        ));
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut context) else {
            panic!("there is a message");
        };
        frame.unwrap().into_data().unwrap()
    }

    proptest! {
        #[test]
        fn a_message_is_sent_as_the_generated_server_would(
            kind in 0..3,
            text in ".{0,300}",
            revision in 0i64..1_000_000,
            seconds in 0u64..1_000_000,
        ) {
            let carried = match kind {
                0 => Carried::Bookmark(Bookmark {
                    twin_age: Some(convert::duration(Duration::from_secs(seconds))),
                }),
                1 => Carried::Snapshot(RebootAttempt {
                    reason: text,
                    revision,
                    ..RebootAttempt::default()
                }),
                _ => Carried::Progress(RebootProgress {
                    message: text,
                    terminal: true,
                    ..RebootProgress::default()
                }),
            };
            let id = RequestId(uuid::Uuid::from_u128(seconds.into()));
            let message = message(id, revision, revision, carried);
            prop_assert_eq!(framed(&message), by_tonic(message));
        }
    }
}
