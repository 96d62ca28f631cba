//! The way to an ONVIF device's services: its clock, signing in by it, asking.

use std::time::Instant;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;

use super::{
    boots::near,
    soap::{self, Element, Malformed, Token},
};
use crate::driver::{
    http::{
        ClientError, Endpoint, Trouble, User,
        client::{Answer, HttpClient, Request, Silence},
    },
    reading::clip,
};

/// Where every device has its device service.
pub(super) const SERVICE: &str = "/onvif/device_service";

/// The namespace of what is asked there.
pub(super) const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";

/// What a device said that did not say no; it may be no SOAP.
pub(super) type Said = Result<Element, Malformed>;

/// The services of one device.
#[derive(Debug)]
pub(super) struct Service {
    client: HttpClient,
    user: User,
}

/// A device's clock, as it was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    /// What it showed, if that can be read.
    pub(super) shows: Option<Timestamp>,
    /// When it was seen.
    pub(super) at: Instant,
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) path: &'a str,
    /// What the request's type names.
    pub(super) action: &'a str,
    /// XML for the envelope's header.
    pub(super) header: &'a str,
    /// XML for its body.
    pub(super) body: &'a str,
}

impl Clock {
    /// What it shows, if it went on from what it showed before: one that was set in between goes
    /// with nothing that was read in between.
    pub(super) fn after(self, before: Self) -> Option<Timestamp> {
        let shows = self.shows?;
        let passed = self.at.saturating_duration_since(before.at);
        let went_on = before.shows?.duration_until(shows);
        near(went_on, passed.try_into().ok()?).then_some(shows)
    }

    fn unreadable() -> Self {
        Self {
            shows: None,
            at: Instant::now(),
        }
    }

    /// What it shows by now; where it cannot be read it is taken for right.
    fn now(self) -> Timestamp {
        let passed = self.at.elapsed();
        let shows = self.shows.and_then(|shows| shows.checked_add(passed).ok());
        shows.unwrap_or_else(Timestamp::now)
    }
}

impl Service {
    pub(super) fn new(endpoint: Endpoint, user: User) -> Result<Self, ClientError> {
        Ok(Self {
            client: HttpClient::new(endpoint)?,
            user,
        })
    }

    /// Looks whether the device is there, and at its clock.
    pub(super) async fn look(&self) -> Result<Clock, Trouble> {
        match self.clock().await {
            Err(Trouble::Status(..) | Trouble::Error(_)) => {}
            seen @ (Ok(_) | Err(Trouble::Silence(_))) => return seen,
        }
        // It asks even those to sign in who cannot know its clock.
        let answer = self.ask_at("GetSystemDateAndTime", Clock::unreadable());
        seen(answer.await?)
    }

    async fn clock(&self) -> Result<Clock, Trouble> {
        seen(self.ask_device("GetSystemDateAndTime", None).await?)
    }

    /// Asks the device service something that takes signing in, by the device's own clock.
    pub(super) async fn ask(&self, action: &str) -> Result<Said, Trouble> {
        let clock = match self.clock().await {
            Ok(clock) => clock,
            // Whatever was to be asked was not.
            Err(Trouble::Silence(why)) => {
                return Err(Trouble::Silence(Silence::NotSent(why.to_string())));
            }
            Err(Trouble::Status(..) | Trouble::Error(_)) => Clock::unreadable(),
        };
        self.ask_at(action, clock).await
    }

    async fn ask_at(&self, action: &str, clock: Clock) -> Result<Said, Trouble> {
        self.ask_device(action, Some(clock)).await
    }

    async fn ask_device(&self, action: &str, clock: Option<Clock>) -> Result<Said, Trouble> {
        let call = Call {
            path: SERVICE,
            action: &format!("{DEVICE}/{action}"),
            header: "",
            body: &format!("<{action} xmlns=\"{DEVICE}\"/>"),
        };
        self.send(call, clock).await
    }

    /// Asks anything; signed, where there is a clock to sign by.
    pub(super) async fn send(&self, call: Call<'_>, clock: Option<Clock>) -> Result<Said, Trouble> {
        let token = clock.map(|clock| Token {
            user: &self.user.name,
            password: self.user.password.expose_secret(),
            nonce: rand::random(),
            created: clock.now(),
        });
        let body = soap::envelope(token, call.header, call.body);
        let kind = format!(
            "application/soap+xml; charset=utf-8; action=\"{}\"",
            call.action
        );
        let request = Request {
            method: "POST",
            path: call.path,
            headers: &[],
            body: Some((&body, &kind)),
        };
        let answer = self.client.send(request).await.map_err(Trouble::Silence)?;
        let said = soap::read(&answer.body);
        match (said, answer.status) {
            (Ok(Err(fault)), _) if fault.is_refusal() => Err(Trouble::Error(fault.reason)),
            (Ok(Err(fault)), 200..300) => Err(Trouble::Status(500, fault.reason)),
            (Ok(Err(fault)), status) => Err(Trouble::Status(status, fault.reason)),
            (Ok(Ok(said)), 200..300) => Ok(Ok(said)),
            (Err(malformed), 200..300) => Ok(Err(malformed)),
            (Ok(Ok(_)) | Err(_), status) => {
                let words = String::from_utf8_lossy(&answer.body);
                Err(Trouble::Status(status, clip(words.trim())))
            }
        }
    }

    /// Asks for what is no SOAP, and reads the beginning of the answer.
    pub(super) async fn begin(&self, path: &str) -> Result<Answer, Trouble> {
        let request = Request {
            method: "GET",
            path,
            headers: &[],
            body: None,
        };
        self.client.begin(request).await.map_err(Trouble::Silence)
    }
}

fn seen(answer: Said) -> Result<Clock, Trouble> {
    let at = Instant::now();
    let shows = answer.map_err(no_soap)?.clock();
    Ok(Clock { shows, at })
}

pub(super) fn no_soap(malformed: Malformed) -> Trouble {
    Trouble::Error(malformed.to_string())
}
