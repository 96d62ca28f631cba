//! Lets known callers through, and tells the handlers who they are.
//!
//! It wraps the whole service, so that no call comes past it. What it refuses does not depend on what
//! the call is about: whoever may make a call nowhere is told so before any device is looked at.

use std::{convert::Infallible, sync::Arc, task};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{
    access::{Access, AuthError, Caller, Shown, policy},
    audit::{Auditor, Subject},
    error::Error,
    listener::Peer,
};

/// A service for known callers.
#[derive(Debug, Clone)]
pub(super) struct Authenticated<S> {
    inner: S,
    access: Access,
    auditor: Auditor,
}

impl<S> Authenticated<S> {
    pub(super) fn new(inner: S, access: Access, auditor: Auditor) -> Self {
        Self {
            inner,
            access,
            auditor,
        }
    }
}

impl<S: NamedService> NamedService for Authenticated<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Authenticated<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(
        &mut self,
        context: &mut task::Context<'_>,
    ) -> task::Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let clone = self.inner.clone();
        // The one that said it is ready.
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let (access, auditor) = (self.access.clone(), self.auditor.clone());
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match admit(&access, &auditor, &head).await {
                Ok(caller) => {
                    // Nobody further in needs it, so nobody further in can tell it.
                    head.headers.remove(http::header::AUTHORIZATION);
                    head.extensions.insert(caller);
                    inner.call(http::Request::from_parts(head, body)).await
                }
                Err(error) => Ok(Status::from(error).into_http()),
            }
        })
    }
}

/// Finds out who makes a call, and whether it may make that call at all.
async fn admit(
    access: &Access,
    auditor: &Auditor,
    head: &http::request::Parts,
) -> Result<Arc<Caller>, Error> {
    let path = head.uri.path();
    let call = path.rsplit_once('/').map_or("", |(_, call)| call);
    let Some(peer) = head.extensions.get::<Peer>() else {
        return Err(Error::Unauthenticated(AuthError::Nothing));
    };
    let caller = match access
        .authenticate(peer, shown(head), Timestamp::now())
        .await
    {
        Ok(caller) => peer.callers.meet(caller),
        Err(error) => {
            auditor.unknown(peer.address, call, &error.to_string());
            return Err(Error::Unauthenticated(error));
        }
    };
    let grants = access.grants(&caller.identity);
    match policy::least_right(call) {
        Some(right) if grants.somewhere(right) => Ok(caller),
        Some(right) => {
            let error = Error::NotPermitted(right);
            auditor.denied(&caller, call, Subject::default(), &error.to_string());
            Err(error)
        }
        None => {
            let error = Error::NoSuchCall;
            auditor.denied(&caller, call, Subject::default(), &error.to_string());
            Err(error)
        }
    }
}

/// What a caller shows: one bearer token in the header made for it, or nothing.
fn shown(head: &http::request::Parts) -> Shown<'_> {
    if head.uri.query().is_some() {
        // Addresses end up in logs, so tokens must not be in them.
        return Shown::Garbled("the address of a call has no query");
    }
    let mut values = head.headers.get_all(http::header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Shown::Nothing,
        (Some(value), None) => value,
        (Some(_), Some(_)) => return Shown::Garbled("authorization is given more than once"),
    };
    let token = value.to_str().ok().and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        let visible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.bytes().all(visible))
            .then_some(token)
    });
    match token {
        Some(token) => Shown::Token(token),
        None => Shown::Garbled("authorization is not \"Bearer\" and one token"),
    }
}

#[cfg(test)]
mod tests {
    use iothubdm_proto::v1::FILE_DESCRIPTOR_SET;
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_call_of_the_api_has_a_rule() {
        let files = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap().file;
        let services = files.iter().flat_map(|file| &file.service);
        let calls: Vec<_> = services
            .filter(|service| service.name() == "DeviceManagement")
            .flat_map(|service| &service.method)
            .collect();
        assert!(!calls.is_empty());
        for call in calls {
            let name = call.name();
            assert!(
                policy::least_right(name).is_some(),
                "nobody may call {name}"
            );
        }
    }

    #[test]
    fn a_token_is_in_one_header_or_nowhere() {
        let check = |uri: &str, values: &[&[u8]], expected: Option<&str>| {
            let mut request = http::Request::builder().uri(uri);
            for value in values {
                request = request.header("authorization", *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            match (shown(&head), expected) {
                (Shown::Token(token), Some(expected)) => assert_eq!(token, expected),
                (Shown::Nothing, None) => assert!(values.is_empty()),
                (Shown::Garbled(_), None) => {}
                (shown, _) => panic!("{uri} {values:?}: {shown:?}"),
            }
        };
        check("/s/Call", &[], None);
        check("/s/Call", &[b"Bearer abc"], Some("abc"));
        check(
            "/s/Call",
            &[b"bearer a-b.c_d~e+f/g=="],
            Some("a-b.c_d~e+f/g=="),
        );
        check("/s/Call", &[b"Bearer abc", b"Bearer abc"], None);
        check("/s/Call", &[b"Bearer a, Bearer b"], None);
        check("/s/Call", &[b"Bearer  a"], None);
        check("/s/Call", &[b"Bearer "], None);
        check("/s/Call", &[b"Bearer"], None);
        check("/s/Call", &[b"Basic YTpi"], None);
        check("/s/Call", &[b"Bearer \xff"], None);
        check("/s/Call?access_token=abc", &[], None);
        check("/s/Call?access_token=abc", &[b"Bearer abc"], None);
    }
}
