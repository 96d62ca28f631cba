//! What is asked of whom, and what its answers mean, against a fake on loopback that stands in as an
//! HTTP proxy: the address of the instance metadata service is a fixed one.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use reqwest::Proxy;
use serde_json::json;

use super::*;

/// Answers one request, and gives it back.
fn answer(status: u16, body: &str) -> (Client, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = Proxy::http(format!("http://{}", listener.local_addr().unwrap())).unwrap();
    let client = Client::builder().no_proxy().proxy(proxy).build().unwrap();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    let asked = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            request.extend(byte);
        }
        socket.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (client, asked)
}

fn machine(identity: ManagedIdentity, client: Client) -> Entra {
    let options = EntraOptions {
        identity: EntraIdentity::Managed(identity),
        authority: None,
        ca: None,
    };
    Entra { options, client }
}

#[tokio::test]
async fn a_machine_s_identity_is_asked_for_where_azure_keeps_it() {
    for (identity, query) in [
        (ManagedIdentity::System, ""),
        (ManagedIdentity::ClientId("c-1".into()), "&client_id=c-1"),
        (ManagedIdentity::ObjectId("o-1".into()), "&object_id=o-1"),
        (ManagedIdentity::ResourceId("r-1".into()), "&msi_res_id=r-1"),
    ] {
        let body = json!({
            "access_token": "issued",
            "expires_on": "4102444800",
            "resource": "https://iothubs.azure.net",
            "token_type": "Bearer",
        });
        let (client, asked) = answer(200, &body.to_string());
        let fetched = machine(identity, client)
            .fetch()
            .await
            .unwrap_or_else(|trouble| panic!("{trouble}"));
        assert_eq!(fetched.token, "issued");
        assert_eq!(fetched.expiry.as_second(), 4_102_444_800);
        let asked = asked.join().unwrap();
        let line = format!(
            "GET http://169.254.169.254/metadata/identity/oauth2/token?api-version=2019-08-01&resource=https%3A%2F%2Fiothubs.azure.net{query} HTTP/1.1"
        );
        assert_eq!(asked.lines().next().unwrap(), line);
        assert!(
            asked.to_lowercase().contains("\r\nmetadata: true\r\n"),
            "{asked}"
        );
    }
}

#[tokio::test]
async fn an_answer_without_a_token_is_told_without_its_text() {
    let echo = json!({
        "error": "invalid",
        "error_description": "AADSTS70011: what-nobody-may-see\r\nTrace",
        "error_codes": [70011],
    });
    let echo = echo.to_string();
    for (status, body, denied) in [
        (400, echo.as_str(), true),
        (403, echo.as_str(), true),
        (200, echo.as_str(), false),
        (
            200,
            "{\"access_token\":\"what-nobody-may-see\",\"expires_on\":\"soon\"}",
            false,
        ),
        (200, "what-nobody-may-see", false),
    ] {
        let (client, asked) = answer(status, body);
        let trouble = machine(ManagedIdentity::System, client).fetch().await;
        let Err(trouble) = trouble else {
            panic!("{status} {body} is taken");
        };
        asked.join().unwrap();
        assert_eq!(
            matches!(trouble, Trouble::HubDenied(_)),
            denied,
            "{trouble}"
        );
        assert!(!trouble.to_string().contains("what-nobody"), "{trouble}");
        let coded = trouble
            .to_string()
            .contains(&format!("{status}, AADSTS70011"));
        assert_eq!(coded, status != 200, "{trouble}");
        assert!(
            trouble.to_string().contains("Microsoft Entra ID"),
            "{trouble}"
        );
    }
}

#[tokio::test]
async fn a_password_is_shown_nowhere() {
    let options = EntraOptions {
        identity: EntraIdentity::Secret {
            tenant: "t".into(),
            client: "c".into(),
            secret: ClientSecret(SecretString::from("what-nobody-may-see")),
        },
        authority: Some("https://127.0.0.1:1".into()),
        ca: None,
    };
    let client = Client::new();
    let entra = Entra { options, client };
    let shown = format!("{entra:?}");
    assert!(!shown.contains("what-nobody"), "{shown}");
    let Err(trouble) = entra.fetch().await else {
        panic!("nobody is there");
    };
    assert!(matches!(trouble, Trouble::HubUnreachable(_)), "{trouble}");
    assert!(!trouble.to_string().contains("what-nobody"), "{trouble}");
}
