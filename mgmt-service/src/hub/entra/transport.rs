//! Carries requests for Microsoft's crates, and notes how one was refused.
//!
//! Their own reading of a refusal gives up on many, among them every one whose text has an escaped
//! character; then not even the status is left.

use std::sync::{Arc, Mutex};

use azure_core::{
    Result,
    http::{AsyncRawResponse, HttpClient, Request},
};
use futures_util::{FutureExt as _, future::BoxFuture};
use reqwest::Client;
use serde_json::Value;

use crate::lock::lock;

/// A client for one token.
#[derive(Debug)]
pub(super) struct Transport {
    client: Client,
    refused: Arc<Mutex<Option<Refused>>>,
}

/// How a token was refused, as far as that may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    /// Microsoft's error codes.
    pub(super) codes: Vec<u64>,
}

impl Transport {
    /// A client, and where it notes the last refusal.
    pub(super) fn new(client: Client) -> (Self, Arc<Mutex<Option<Refused>>>) {
        let refused = Arc::default();
        let transport = Self {
            client,
            refused: Arc::clone(&refused),
        };
        (transport, refused)
    }

    async fn carry(&self, request: &Request) -> Result<AsyncRawResponse> {
        let answer = self.client.execute_request(request).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let (status, headers, body) = answer.deconstruct();
        let body = body.collect().await?;
        *lock(&self.refused) = Some(Refused {
            status: status.into(),
            codes: codes(&body),
        });
        Ok(AsyncRawResponse::from_bytes(status, headers, body))
    }
}

impl HttpClient for Transport {
    fn execute_request<'a: 'c, 'b: 'c, 'c>(
        &'a self,
        request: &'b Request,
    ) -> BoxFuture<'c, Result<AsyncRawResponse>>
    where
        Self: 'c,
    {
        self.carry(request).boxed()
    }
}

fn codes(body: &[u8]) -> Vec<u64> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let codes = body["error_codes"].as_array();
    let codes = codes.into_iter().flatten();
    codes.filter_map(Value::as_u64).collect()
}
