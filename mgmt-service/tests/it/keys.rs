//! Keys for signed tokens by address: refreshed, asked for when unknown, kept while nobody answers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use iothubdm_proto::v1::ListRebootsRequest;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::Code;

use crate::{
    secured::{ACCESS, Client, Issuer, STATIC, Secured, TLS},
    world::within,
};

/// A server of one document over plain HTTP.
struct Address {
    url: String,
    /// What is served; nothing while the server is "down".
    body: Arc<Mutex<Option<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Address {
    async fn serve(body: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let served = Self {
            url,
            body: Arc::new(Mutex::new(body)),
            asked: Arc::default(),
        };
        let (body, asked) = (served.body.clone(), served.asked.clone());
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                asked.fetch_add(1, Ordering::SeqCst);
                let text = match &*body.lock().unwrap() {
                    Some(body) => format!(
                        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                        body.len()
                    ),
                    None => "HTTP/1.1 503 Down\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                        .to_owned(),
                };
                let _ = stream.write_all(text.as_bytes()).await;
            }
        });
        served
    }

    fn set(&self, body: Option<String>) {
        *self.body.lock().unwrap() = body;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// The settings with this address, and these further ones.
    fn access(&self, more: &str) -> String {
        let here = format!("jwks_url = \"{}\"\n{more}", self.url);
        ACCESS.replace("jwks_file = \"keys.pem\"", &here)
    }
}

async fn try_list(client: &mut Client) -> Option<Code> {
    let request = ListRebootsRequest {
        parent: "devices/-".into(),
        ..ListRebootsRequest::default()
    };
    let listed = client.list_reboots(request).await;
    listed.err().map(|status| status.code())
}

async fn becomes(client: &mut Client, wanted: Option<Code>) {
    within(async {
        while try_list(client).await != wanted {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

fn viewer(issuer: &Issuer) -> String {
    issuer.token("alice", &["viewers"], json!({}))
}

#[tokio::test]
async fn an_unknown_key_is_asked_for_at_once_but_not_again_and_again() {
    let (one, other) = (Issuer::new(), Issuer::new());
    let address = Address::serve(Some(Issuer::key_set(&[&one]))).await;
    let access = address.access("refetch_pause = \"10m\"\nrefresh_interval = \"1h\"");
    let world = Secured::with(TLS, &access).await;
    let mut first = world.bearer(&viewer(&one)).await;
    becomes(&mut first, None).await;
    let asked = address.asked();
    let mut stranger = world.bearer(&viewer(&other)).await;
    for _ in 0..20 {
        assert_eq!(try_list(&mut stranger).await, Some(Code::Unauthenticated));
    }
    assert_eq!(address.asked(), asked, "the first reading was a moment ago");
    drop(world);

    let access = address.access("refetch_pause = \"0s\"\nrefresh_interval = \"1h\"");
    let world = Secured::with(TLS, &access).await;
    let mut first = world.bearer(&viewer(&one)).await;
    becomes(&mut first, None).await;
    address.set(Some(Issuer::key_set(&[&one, &other])));
    let mut second = world.bearer(&viewer(&other)).await;
    assert_eq!(
        try_list(&mut second).await,
        None,
        "its key is asked for in the call"
    );
}

#[tokio::test]
async fn old_keys_stay_while_nobody_answers_and_go_when_they_are_taken_away() {
    let (one, other) = (Issuer::new(), Issuer::new());
    let address = Address::serve(Some(Issuer::key_set(&[&one]))).await;
    let access = address.access("refetch_pause = \"0s\"\nrefresh_interval = \"100ms\"");
    let world = Secured::with(TLS, &access).await;
    let mut first = world.bearer(&viewer(&one)).await;
    becomes(&mut first, None).await;
    for down in [
        None,
        Some("{\"keys\": []}".to_owned()),
        Some("no keys".to_owned()),
    ] {
        address.set(down);
        let asked = address.asked();
        within(async {
            while address.asked() < asked + 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!(try_list(&mut first).await, None);
    }
    address.set(Some(Issuer::key_set(&[&other])));
    becomes(&mut first, Some(Code::Unauthenticated)).await;
}

#[tokio::test]
async fn before_the_first_keys_nobody_is_blamed() {
    let one = Issuer::new();
    let address = Address::serve(None).await;
    let access = address.access("refetch_pause = \"0s\"\nrefresh_interval = \"100ms\"");
    let world = Secured::with(TLS, &access).await;
    let mut first = world.bearer(&viewer(&one)).await;
    assert_eq!(try_list(&mut first).await, Some(Code::Unavailable));
    let mut laptop = world.bearer(STATIC).await;
    assert_eq!(try_list(&mut laptop).await, None);
    address.set(Some(Issuer::key_set(&[&one])));
    becomes(&mut first, None).await;
}

#[tokio::test]
async fn a_document_without_end_is_not_read() {
    let one = Issuer::new();
    let endless = format!("{{\"keys\": [], \"x\": \"{}\"}}", "x".repeat(300_000));
    let address = Address::serve(Some(endless)).await;
    let access = address.access("refetch_pause = \"0s\"\nrefresh_interval = \"100ms\"");
    let world = Secured::with(TLS, &access).await;
    let mut first = world.bearer(&viewer(&one)).await;
    assert_eq!(try_list(&mut first).await, Some(Code::Unavailable));
}
