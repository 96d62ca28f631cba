//! What the drivers over MQTT share: a picture of the device, which listens to the device and is kept up to
//! date by that.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time};

use super::contact::{Answer, Contact};
use crate::{
    driver::{DriverError, Hinter, Hints, Order, Triggered},
    local_mqtt::{Event, Listener, LocalDevice, PublishError},
};

/// What a protocol makes of what its device says. Pure.
pub(super) trait Picture: fmt::Debug + Send + 'static {
    fn contact(&mut self) -> &mut Contact;

    /// Another connection begins, or this one ends: what was said on it is old.
    fn forget(&mut self);

    /// It sent a message on the topic of that name below its own. An error says why it was ignored.
    fn message(
        &mut self,
        name: &str,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        let _ = (name, payload, now);
        Ok(())
    }

    /// The same on a topic that its protocol has elsewhere.
    fn message_elsewhere(
        &mut self,
        topic: &str,
        payload: &[u8],
        now: Instant,
    ) -> Result<(), serde_json::Error> {
        let _ = (topic, payload, now);
        Ok(())
    }

    /// Its connection stands.
    fn connect(&mut self) {
        self.contact().connect();
        self.forget();
    }

    /// Its connection ended.
    fn disconnect(&mut self) {
        self.contact().disconnect();
        self.forget();
    }
}

/// A device, and the picture of it.
#[derive(Debug)]
pub(super) struct Watched<P> {
    device: LocalDevice,
    shared: Arc<Shared<P>>,
}

/// What a driver's calls share with the listening to the device.
#[derive(Debug)]
struct Shared<P> {
    picture: Mutex<P>,
    /// The picture has changed.
    changed: Notify,
    hinter: Hinter,
}

impl<P: Picture> Watched<P> {
    /// Begins to listen to the device. To be called before the endpoint serves, so that nothing
    /// of what the device says is missed; the listening ends with the endpoint or with the driver.
    pub(super) fn start(device: LocalDevice, picture: P) -> Self {
        let shared = Arc::new(Shared {
            picture: Mutex::new(picture),
            changed: Notify::new(),
            hinter: Hinter::default(),
        });
        device.listen(&shared);
        Self { device, shared }
    }

    pub(super) fn device(&self) -> &LocalDevice {
        &self.device
    }

    pub(super) fn picture(&self) -> MutexGuard<'_, P> {
        self.shared.picture()
    }

    pub(super) fn hints(&self) -> Hints {
        self.shared.hinter.hints()
    }

    /// Waits until the picture shows something; nothing when it does not in time.
    pub(super) async fn until<T>(
        &self,
        limit: Duration,
        shows: impl Fn(&mut P) -> Option<T>,
    ) -> Option<T> {
        let shown = async {
            loop {
                // It is told of every change from here on.
                let changed = self.shared.changed.notified();
                if let Some(shown) = shows(&mut self.picture()) {
                    return shown;
                }
                changed.await;
            }
        };
        time::timeout(limit, shown).await.ok()
    }

    /// Fails while nobody knows whether the device is there: neither its presence nor its absence is
    /// an observation then.
    pub(super) fn is_heard(&self) -> Result<(), DriverError> {
        if self.picture().contact().is_unheard() {
            let why = "nothing is heard of it since the line to its broker was cut";
            return Err(no_answer(why.to_owned()));
        }
        Ok(())
    }

    /// Asks the device something, and waits for what it shows then. One that is there and says nothing
    /// shows neither a reboot nor an absence.
    pub(super) async fn ask<T>(
        &self,
        topic: &str,
        question: &'static str,
        limit: Duration,
        shows: impl Fn(&mut P) -> Option<T>,
    ) -> Result<T, DriverError> {
        let asked = self.device.publish_elsewhere(topic, question);
        asked.map_err(|error| match error {
            PublishError::NotConnected => unreachable(error),
            PublishError::NotSubscribed | PublishError::Busy | PublishError::NoBroker => {
                no_answer(error.to_string())
            }
        })?;
        let said = self.until(limit, |picture| {
            // One of which nothing is known may answer.
            let contact = picture.contact();
            if !contact.is_present() && !contact.is_unheard() {
                return Some(Err(DriverError::Unreachable("it is gone".to_owned())));
            }
            shows(picture).map(Ok)
        });
        let nothing = || Err(no_answer("it says nothing".to_owned()));
        said.await.unwrap_or_else(nothing)
    }

    /// Gives a command, and waits for what the device says to it.
    pub(super) async fn command(
        &self,
        order: &Order,
        topic: &str,
        payload: String,
        limit: Duration,
    ) -> Result<Triggered, DriverError> {
        self.picture().contact().await_answer(order.id);
        let published = self.device.publish_elsewhere(topic, payload);
        published.map_err(unreachable)?;
        let answer = |picture: &mut P| picture.contact().answer().cloned();
        match self.until(limit, answer).await {
            Some(Answer::Accepted) => Ok(Triggered::Acknowledged),
            Some(Answer::Refused(message)) => Err(DriverError::Refused(message)),
            Some(Answer::Gone) | None => Ok(Triggered::Unacknowledged),
        }
    }
}

impl<P> Shared<P> {
    fn picture(&self) -> MutexGuard<'_, P> {
        // No holder of the lock can leave the picture half changed.
        self.picture.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<P: Picture> Listener for Shared<P> {
    fn hear(&self, event: &Event) {
        let now = Instant::now();
        let is_hint = {
            let mut picture = self.picture();
            let before = picture.contact().hints();
            match event {
                Event::Connected => picture.connect(),
                Event::Disconnected => picture.disconnect(),
                Event::Unheard => {
                    picture.contact().unhear();
                    picture.forget();
                }
                Event::Message { name, payload } => {
                    note(name, picture.message(name, payload, now));
                }
                Event::Elsewhere { topic, payload } => {
                    note(topic, picture.message_elsewhere(topic, payload, now));
                }
            }
            picture.contact().hints() != before
        };
        self.changed.notify_waiters();
        if is_hint {
            self.hinter.hint();
        }
    }
}

fn note(topic: &str, understood: Result<(), serde_json::Error>) {
    if let Err(error) = understood {
        tracing::warn!(topic, %error, "ignored a message of a local device");
    }
}

/// What it means that a device that is there does not answer as it should.
pub(super) fn no_answer(message: String) -> DriverError {
    DriverError::Failed {
        doing: "ask the device",
        message,
    }
}

/// What it means that a message was not sent.
fn unreachable(error: PublishError) -> DriverError {
    DriverError::Unreachable(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local_mqtt::{
        LocalMqtt,
        test_device::{DEVICE, TestDevice, soon},
    };

    /// A picture with a mistake in it.
    #[derive(Debug, Default)]
    struct Fragile {
        contact: Contact,
        said: Vec<String>,
    }

    impl Picture for Fragile {
        fn contact(&mut self) -> &mut Contact {
            &mut self.contact
        }

        fn forget(&mut self) {
            self.said.clear();
        }

        fn message(&mut self, name: &str, _: &[u8], _: Instant) -> Result<(), serde_json::Error> {
            self.said.push(name.to_owned());
            assert_ne!(name, "unbearable");
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_a_picture_cannot_bear_makes_nobody_blind() {
        let (id, password) = DEVICE;
        let accounts = [(id.to_owned(), password.into())];
        let endpoint = LocalMqtt::bind(([127, 0, 0, 1], 0).into(), accounts);
        let endpoint = endpoint.await.unwrap();
        let address = endpoint.local_addr();
        let watched = Watched::start(endpoint.device(id).unwrap(), Fragile::default());
        tokio::spawn(endpoint.serve(tokio_util::sync::CancellationToken::new()));
        let heard = |name: &'static str| {
            let shows = move |picture: &mut Fragile| {
                picture.said.iter().any(|said| said == name).then_some(())
            };
            watched.until(Duration::from_secs(30), shows)
        };

        let device = TestDevice::connect(address, id, password).await;
        device.says("birth", "1").await;
        heard("birth").await.unwrap();
        assert!(watched.is_heard().is_ok());
        device.says("unbearable", "2").await;
        soon(device.ends()).await;
        // What was known is not taken for what is so now, and that we hung up is no absence.
        assert_eq!(watched.picture().said, [""; 0]);
        assert!(!watched.picture().contact.was_absent());

        let again = TestDevice::connect(address, id, password).await;
        again.says("birth", "3").await;
        heard("birth").await.unwrap();
        assert!(watched.is_heard().is_ok() && watched.picture().contact.is_present());
    }
}
