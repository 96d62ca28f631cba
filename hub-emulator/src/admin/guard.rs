//! Keeps web pages out that a browser on this machine shows: listening on the loopback interface
//! alone does not.
//!
//! A page of another origin can send requests here, and a name of its own that it points at
//! 127.0.0.1 after a while (DNS rebinding) makes it the same origin. So the request must address a
//! loopback name, and where a browser says which page it comes from, that must be ours.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, HOST, HeaderName, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::problem::Problem;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Answers in place of the route when a request must not come in, and tells browsers to keep
/// answers to themselves.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let mut response = match admit(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::warn!(headers = ?request.headers(), "refused a request to the admin API");
            problem.into_response()
        }
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn admit(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let host = text(headers, &HOST).unwrap_or_default();
    let addressed = uri.authority().map_or(host, Authority::as_str);
    if !is_loopback(host) || !is_loopback(addressed) {
        let message = format!("{host:?} is no name of this machine: use localhost or 127.0.0.1");
        return Err(Problem::forbidden("Host", message));
    }
    if let Some(origin) = text(headers, &ORIGIN)
        && origin != format!("http://{host}")
    {
        return Err(Problem::forbidden(
            "Origin",
            "pages of other origins may not ask",
        ));
    }
    let reads = method == Method::GET || method == Method::HEAD;
    match text(headers, &SEC_FETCH_SITE) {
        Some("same-origin" | "none") | None => Ok(()),
        Some(_) if reads => Ok(()),
        Some(_) => Err(Problem::forbidden(
            "Sec-Fetch-Site",
            "pages of other origins may not change anything",
        )),
    }
}

/// A header's value; one that is no text fits nothing.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?;
    Some(value.to_str().unwrap_or("?"))
}

fn is_loopback(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else {
        return false;
    };
    let name = authority.host();
    if host.contains('@') {
        return false;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(method: &Method, headers: &[(&HeaderName, &str)], expected: bool) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let admitted = admit(method, &Uri::from_static("/api/faults"), &map).is_ok();
        assert_eq!(admitted, expected, "{method} {headers:?}");
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1:1",
            "127.8.9.1",
            "[::1]:80",
        ] {
            check(&Method::GET, &[(&HOST, host)], true);
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "user@localhost",
            "localhost@evil.example",
            "192.168.0.1",
            "0.0.0.0",
            "[::]",
        ] {
            check(&Method::GET, &[(&HOST, host)], false);
        }
        check(&Method::GET, &[], false);
    }

    #[test]
    fn a_request_to_a_proxy_is_judged_by_both_names() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        let uri = Uri::from_static("http://evil.example/api");
        assert!(admit(&Method::GET, &uri, &headers).is_err());
    }

    #[test]
    fn other_pages_change_nothing() {
        let host = (&HOST, "localhost:80");
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:81",
            "https://localhost:80",
        ] {
            check(&Method::POST, &[host, (&ORIGIN, origin)], false);
            check(&Method::GET, &[host, (&ORIGIN, origin)], false);
        }
        check(
            &Method::POST,
            &[host, (&ORIGIN, "http://localhost:80")],
            true,
        );
        for (site, expected) in [
            ("same-origin", true),
            ("none", true),
            ("same-site", false),
            ("cross-site", false),
        ] {
            check(&Method::DELETE, &[host, (&SEC_FETCH_SITE, site)], expected);
            check(&Method::GET, &[host, (&SEC_FETCH_SITE, site)], true);
        }
        check(&Method::POST, &[host], true);
    }
}
