//! The way to a Redfish service: signing in, reading documents, giving commands.

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{ROOT, document};
use crate::driver::{
    http::{
        ClientError, Endpoint, Trouble, User,
        client::{Answer, HttpClient, Request, path_of},
    },
    reading::clip,
};

const JSON: &str = "application/json";

/// What goes with a request in a session, and comes back when one begins.
const TOKEN: &str = "x-auth-token";

/// Where sessions begin, if the service does not say.
const SESSIONS: &str = "/redfish/v1/SessionService/Sessions";

/// The status of an answer that asks for credentials.
const UNAUTHORIZED: u16 = 401;

/// The status of an answer to what is not done yet.
const ACCEPTED: u16 = 202;

/// A service, and how to sign in to it.
#[derive(Debug)]
pub(super) struct Service {
    client: HttpClient,
    session: Option<Session>,
}

/// One session, kept for as long as the service does.
#[derive(Debug)]
struct Session {
    user: User,
    token: Mutex<Option<SecretString>>,
}

/// A command that the service took.
#[derive(Debug)]
pub(super) struct Accepted {
    /// Where it tells what becomes of it, if it does.
    pub(super) monitor: Option<String>,
}

impl Service {
    /// The service of that address. With a user here a session is begun for it, and otherwise every
    /// request is signed as the address says.
    pub(super) fn new(endpoint: Endpoint, session: Option<User>) -> Result<Self, ClientError> {
        Ok(Self {
            client: HttpClient::new(endpoint)?,
            session: session.map(|user| Session {
                user,
                token: Mutex::default(),
            }),
        })
    }

    /// Reads a document.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        document_in(&self.send("GET", path, None).await?)
    }

    /// Gives a command, once.
    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Accepted, Trouble> {
        let answer = self.send("POST", path, Some(&body.to_string())).await?;
        let location = answer
            .header("location")
            .filter(|_| answer.status == ACCEPTED);
        Ok(Accepted {
            monitor: location.and_then(path_of),
        })
    }

    /// Asks what becomes of a command: whether that has come to its end, and the words for it.
    pub(super) async fn task(&self, monitor: &str) -> Result<(bool, String), Trouble> {
        let answer = self.send("GET", monitor, None).await?;
        let ended = answer.status != ACCEPTED;
        // What was done may be answered with what it did, or with nothing.
        let words = document_in(&answer).ok().as_ref().and_then(document::task);
        let plain = if ended {
            "task ended"
        } else {
            "task under way"
        };
        Ok((ended, words.unwrap_or_else(|| plain.to_owned())))
    }

    /// Sends a request, in a session where that is wanted. A request that is refused for its session
    /// has done nothing, and is sent once more in a new one.
    async fn send(&self, method: &str, path: &str, body: Option<&str>) -> Result<Answer, Trouble> {
        let Some(session) = &self.session else {
            return yes(self.send_once(method, path, body, None).await?);
        };
        let mut token = session.token.lock().await;
        if let Some(known) = &*token {
            let answer = self.send_once(method, path, body, Some(known)).await?;
            if answer.status != UNAUTHORIZED {
                return yes(answer);
            }
        }
        let new = token.insert(self.sign_in(&session.user).await?);
        yes(self.send_once(method, path, body, Some(new)).await?)
    }

    async fn sign_in(&self, user: &User) -> Result<SecretString, Trouble> {
        let root = yes(self.send_once("GET", ROOT, None, None).await?)?;
        let root = document_in(&root)?;
        let sessions = document::link(&root["Links"], "Sessions");
        let path = sessions.as_deref().unwrap_or(SESSIONS);
        let who = json!({ "UserName": user.name, "Password": user.password.expose_secret() });
        let begun = self
            .send_once("POST", path, Some(&who.to_string()), None)
            .await?;
        let begun = yes(begun)?;
        let token = begun.header(TOKEN).map(SecretString::from);
        token.ok_or_else(|| Trouble::Error("it began a session without a token".to_owned()))
    }

    async fn send_once(
        &self,
        method: &str,
        path: &str,
        body: Option<&str>,
        token: Option<&SecretString>,
    ) -> Result<Answer, Trouble> {
        let token = token.map(|token| (TOKEN, token.expose_secret()));
        let headers: Vec<_> = [("accept", JSON), ("odata-version", "4.0")]
            .into_iter()
            .chain(token)
            .collect();
        let request = Request {
            method,
            path,
            headers: &headers,
            body: body.map(|body| (body, JSON)),
        };
        self.client.send(request).await.map_err(Trouble::Silence)
    }
}

/// An answer that is not a no.
fn yes(answer: Answer) -> Result<Answer, Trouble> {
    if (200..300).contains(&answer.status) {
        return Ok(answer);
    }
    let told = document_in(&answer).ok().as_ref().and_then(document::error);
    let words = told.unwrap_or_else(|| clip(String::from_utf8_lossy(&answer.body).trim()));
    Err(Trouble::Status(answer.status, words))
}

fn document_in(answer: &Answer) -> Result<Value, Trouble> {
    serde_json::from_slice(&answer.body)
        .map_err(|error| Trouble::Error(format!("its answer is no document: {error}")))
}
