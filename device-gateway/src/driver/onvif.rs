//! Cameras and other devices that speak ONVIF: they are asked to reboot, and seen to go and to come back.
//!
//! ```text
//!   GetSystemDateAndTime ── nobody has to sign in for it: the look, and the clock to sign by
//!   SystemReboot ────────── the command; the words of its answer are for people and are not read
//!   GetDeviceInformation ── the health, or a snapshot
//! ```
//!
//! - `soap`: envelopes, signing in, faults.

mod soap;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;
pub(crate) use soap::fuzz;
use soap::{Element, Malformed, Token};

use super::{
    Baseline, Driver, DriverError, Health, Observation, Order, Probe, Triggered,
    http::{
        ClientError, Trouble, User,
        client::{HttpClient, Request, Silence},
    },
    reading::{Proofs, Reading, clip},
};
use crate::config::OnvifConfig;

/// How evidence from ONVIF is named.
const METHOD: &str = "onvif";

/// Where every device has its device service.
const SERVICE: &str = "/onvif/device_service";

/// The namespace of what is asked there.
const DEVICE: &str = "http://www.onvif.org/ver10/device/wsdl";

/// It shows that it is there, and nothing of its boots.
const PROOFS: Proofs = Proofs {
    identity: false,
    cause: false,
    uptime: false,
    health: true,
};

/// What a device said that did not say no; it may be no SOAP.
type Said = Result<Element, Malformed>;

/// A device that speaks ONVIF.
#[derive(Debug)]
pub struct OnvifDriver {
    client: HttpClient,
    user: User,
    snapshot: Option<String>,
}

impl OnvifDriver {
    /// A device behind those settings.
    pub fn new(config: OnvifConfig) -> Result<Self, ClientError> {
        Ok(Self {
            client: HttpClient::new(config.endpoint)?,
            user: config.user,
            snapshot: config.snapshot,
        })
    }

    /// Looks whether the device is there, and at its clock.
    async fn look(&self) -> Result<Option<Timestamp>, Trouble> {
        match self.clock().await {
            Err(Trouble::Status(..) | Trouble::Error(_)) => {}
            seen @ (Ok(_) | Err(Trouble::Silence(_))) => return seen,
        }
        // It asks even those to sign in who cannot know its clock.
        let answer = self.ask_at("GetSystemDateAndTime", None).await?;
        Ok(answer.map_err(no_soap)?.clock())
    }

    async fn clock(&self) -> Result<Option<Timestamp>, Trouble> {
        let answer = self.send("GetSystemDateAndTime", None).await?;
        Ok(answer.map_err(no_soap)?.clock())
    }

    /// Asks something that takes signing in, by the device's own clock.
    async fn ask(&self, action: &str) -> Result<Said, Trouble> {
        let clock = match self.clock().await {
            Ok(clock) => clock,
            // Whatever was to be asked was not.
            Err(Trouble::Silence(why)) => {
                return Err(Trouble::Silence(Silence::NotSent(why.to_string())));
            }
            Err(Trouble::Status(..) | Trouble::Error(_)) => None,
        };
        self.ask_at(action, clock).await
    }

    async fn ask_at(&self, action: &str, clock: Option<Timestamp>) -> Result<Said, Trouble> {
        let token = Token {
            user: &self.user.name,
            password: self.user.password.expose_secret(),
            nonce: rand::random(),
            created: clock.unwrap_or_else(Timestamp::now),
        };
        self.send(action, Some(token)).await
    }

    async fn send(&self, action: &str, token: Option<Token<'_>>) -> Result<Said, Trouble> {
        let body = soap::envelope(token, &format!("<{action} xmlns=\"{DEVICE}\"/>"));
        let kind = format!("application/soap+xml; charset=utf-8; action=\"{DEVICE}/{action}\"");
        let request = Request {
            method: "POST",
            path: SERVICE,
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

    /// Reads what shows that the device answers whom it knows.
    async fn information(&self) -> Result<(), Trouble> {
        let said = self.ask("GetDeviceInformation").await?;
        said.map(drop).map_err(no_soap)
    }

    /// Reads the beginning of a picture.
    async fn picture(&self, path: &str) -> Result<(), Trouble> {
        let request = Request {
            method: "GET",
            path,
            headers: &[],
            body: None,
        };
        let answer = self.client.begin(request).await.map_err(Trouble::Silence)?;
        let kind = answer.header("content-type").unwrap_or_default();
        match answer.status {
            200..300 if kind.starts_with("image/") => Ok(()),
            200..300 => Err(Trouble::Error("its snapshot is no picture".to_owned())),
            status => Err(Trouble::Status(status, "no snapshot".to_owned())),
        }
    }

    async fn give(&self, order: &Order) -> Result<Triggered, DriverError> {
        order.needs_no_outlet()?;
        if order.dry_run {
            self.information().await.map_err(Trouble::while_looking)?;
            return Ok(Triggered::Rehearsed);
        }
        match self.ask("SystemReboot").await {
            Ok(_) => Ok(Triggered::Acknowledged),
            Err(trouble) => trouble.after_command(),
        }
    }
}

impl Driver for OnvifDriver {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            self.information().await.map_err(Trouble::while_looking)?;
            Ok(PROOFS.probe(None))
        })
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            let clock = self.look().await.map_err(Trouble::while_looking)?;
            Ok(Baseline {
                detail: told(clock),
                ..Baseline::default()
            })
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        Box::pin(self.give(order))
    }

    fn observe<'a>(
        &'a self,
        _baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            let clock = self.look().await.map_err(Trouble::while_looking)?;
            Ok(Observation {
                detail: told(clock),
                ..Reading::default().observation(METHOD)
            })
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        Box::pin(async {
            let well = match &self.snapshot {
                Some(path) => self.picture(path).await,
                None => self.information().await,
            };
            match well {
                Ok(()) => Ok(Health::Healthy),
                Err(trouble) => trouble.while_checking(),
            }
        })
    }
}

fn no_soap(malformed: Malformed) -> Trouble {
    Trouble::Error(malformed.to_string())
}

/// What a look saw, for a person. A device's clock proves nothing.
fn told(clock: Option<Timestamp>) -> String {
    match clock {
        Some(clock) => format!("it answers, by its clock at {clock}"),
        None => "it answers".to_owned(),
    }
}

#[cfg(test)]
mod tests;
