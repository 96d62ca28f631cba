//! The page: what the API tells, for a person's eyes. It changes nothing.
//!
//! One document without anything from elsewhere. Whatever it shows is put in as text by its script,
//! and should that ever fail, the policy below lets no other script run.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use axum::http::header::{CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY};
use axum::response::{Html, IntoResponse};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SKELETON: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

static PAGE: LazyLock<String> = LazyLock::new(|| {
    SKELETON
        .replace("{{style}}", STYLE)
        .replace("{{script}}", SCRIPT)
});

/// Only this style and this script, which may only ask the API.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
        source(STYLE),
        source(SCRIPT)
    )
});

pub(super) async fn show() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 2] = [
        (CONTENT_SECURITY_POLICY, &POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, Html(PAGE.as_str()))
}

fn source(text: &str) -> String {
    format!(
        "sha256-{}",
        STANDARD.encode(digest(&SHA256, text.as_bytes()))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_else_for_anything() {
        assert!(PAGE.contains(STYLE) && PAGE.contains(SCRIPT) && !PAGE.contains("{{"));
        assert_eq!(PAGE.matches("<script").count(), 1);
        // A name that nobody fetches.
        let page = PAGE.replace("http://www.w3.org/2000/svg", "");
        for foreign in ["http:", "https:", "//cdn", "@import", "src=", "innerHTML"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
    }
}
