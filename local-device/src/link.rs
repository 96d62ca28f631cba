//! The device process: its power, its flash, and its MQTT connection.

use std::{
    future,
    io::{self, BufRead as _, Read as _, Write as _},
    pin::Pin,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use rumqttc::{AsyncClient, Event, EventLoop, LastWill, MqttOptions, Outgoing, Packet, QoS};
use tokio::{
    sync::{mpsc, oneshot},
    time::{self, Sleep},
};

use crate::{
    args::Args,
    contract::{OFFLINE, Topic},
    device::{Device, Leave, Output},
    flash::Flash,
};

/// How long to wait before the broker is tried again. It is tried for ever.
const RECONNECT_PAUSE: Duration = Duration::from_millis(250);

/// How often the broker hears from an idle device; it gives up after one and a half times that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long a device that goes down waits for the broker to confirm its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The most messages that wait to be sent: more than one connection ever causes.
const QUEUE: usize = 32;

/// Runs the device until it goes down by itself or loses its power.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let (flash, power_off) = power_on()?;
    let device = Device::new(args.behavior, flash);
    tokio::select! {
        ended = live(args, device) => ended,
        _ = power_off => Ok(()),
    }
}

/// Waits for the line that is our power, and watches for its end: also when the supervisor is
/// killed, the device goes with it.
fn power_on() -> anyhow::Result<(Flash, oneshot::Receiver<()>)> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("read the flash from the supervisor")?;
    let flash = serde_json::from_str(&line).context("read the flash from the supervisor")?;

    let (off, power_off) = oneshot::channel();
    // A thread of its own, because a read of standard input cannot be cancelled.
    thread::spawn(move || {
        let _ = io::stdin().lock().read_to_end(&mut Vec::new());
        let _ = off.send(());
    });
    Ok((flash, power_off))
}

async fn live(args: &Args, mut device: Device) -> anyhow::Result<()> {
    let mut link = Link::open(args, device.flash());
    let mut watchdog: Option<Pin<Box<Sleep>>> = None;
    loop {
        let outputs = tokio::select! {
            input = link.next() => match input? {
                Input::Connected => {
                    watchdog = device.watchdog().map(|after| Box::pin(time::sleep(after)));
                    device.on_connected()
                }
                Input::Command(payload) => device.on_command(&payload),
                Input::AskedForBirth => device.on_asked_for_birth(),
            },
            () = bite(watchdog.as_mut()) => device.on_watchdog(),
        };
        for output in outputs {
            match output {
                Output::Publish {
                    topic,
                    payload,
                    retain,
                } => link.publish(topic, payload, retain)?,
                Output::WriteFlash => write_flash(device.flash())?,
                Output::Leave(leave) => {
                    link.leave(leave).await;
                    return Ok(());
                }
            }
        }
    }
}

/// Ends when the watchdog bites: never when there is none.
async fn bite(watchdog: Option<&mut Pin<Box<Sleep>>>) {
    match watchdog {
        Some(due) => due.await,
        None => future::pending().await,
    }
}

/// Hands the flash to the supervisor, which keeps it while this process does not exist.
fn write_flash(flash: &Flash) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(flash)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout
        .write_all(&line)
        .and_then(|()| stdout.flush())
        .context("write the flash")
}

/// What comes over the connection.
enum Input {
    Connected,
    Command(Vec<u8>),
    AskedForBirth,
}

/// The MQTT connection, which comes back by itself.
struct Link {
    device: String,
    client: AsyncClient,
    events: mpsc::Receiver<Option<Event>>,
    /// Messages that the broker has not confirmed.
    unconfirmed: usize,
}

impl Link {
    fn open(args: &Args, flash: &Flash) -> Self {
        let mut options = MqttOptions::new(&args.id, &args.broker.host, args.broker.port);
        options.set_credentials(&args.id, &args.password);
        options.set_keep_alive(KEEP_ALIVE);
        options.set_clean_session(true);
        if args.behavior.has_will() {
            let topic = Topic::Status.of(&args.id);
            options.set_last_will(LastWill::new(topic, OFFLINE, QoS::AtLeastOnce, true));
        }
        let (client, event_loop) = AsyncClient::new(options, QUEUE);
        let (sender, events) = mpsc::channel(QUEUE);
        tracing::debug!(boot_id = %flash.boot_id, "connecting");
        tokio::spawn(poll(event_loop, sender));
        Self {
            device: args.id.clone(),
            client,
            events,
            unconfirmed: 0,
        }
    }

    /// Waits for the next input, and counts confirmations meanwhile.
    async fn next(&mut self) -> anyhow::Result<Input> {
        loop {
            let event = self.events.recv().await.context("keep the connection")?;
            if let Some(input) = self.handle(event)? {
                return Ok(input);
            }
        }
    }

    fn handle(&mut self, event: Option<Event>) -> anyhow::Result<Option<Input>> {
        match event {
            Some(Event::Incoming(Packet::ConnAck(_))) => {
                self.unconfirmed = 0;
                for command in [Topic::RebootCommand, Topic::BirthCommand] {
                    self.client
                        .try_subscribe(command.of(&self.device), QoS::AtLeastOnce)
                        .context("subscribe to commands")?;
                }
                Ok(Some(Input::Connected))
            }
            Some(Event::Incoming(Packet::Publish(publish)))
                if publish.topic == Topic::RebootCommand.of(&self.device) =>
            {
                Ok(Some(Input::Command(publish.payload.to_vec())))
            }
            Some(Event::Incoming(Packet::Publish(publish)))
                if publish.topic == Topic::BirthCommand.of(&self.device) =>
            {
                Ok(Some(Input::AskedForBirth))
            }
            Some(Event::Incoming(Packet::PubAck(_))) => {
                self.unconfirmed = self.unconfirmed.saturating_sub(1);
                Ok(None)
            }
            // What was not confirmed is lost with the session, and said again on connecting.
            None => {
                self.unconfirmed = 0;
                Ok(None)
            }
            Some(_) => Ok(None),
        }
    }

    fn publish(&mut self, topic: Topic, payload: String, retain: bool) -> anyhow::Result<()> {
        self.client
            .try_publish(topic.of(&self.device), QoS::AtLeastOnce, retain, payload)
            .context("queue a message")?;
        self.unconfirmed += 1;
        Ok(())
    }

    /// Ends the connection in that manner. Whatever the broker does, it takes no longer than
    /// [`LAST_WORDS`]: a reboot does not wait for ever.
    async fn leave(&mut self, leave: Leave) {
        let said = async {
            if leave == Leave::AtOnce {
                return;
            }
            while self.unconfirmed > 0 {
                let Some(event) = self.events.recv().await else {
                    return;
                };
                if self.handle(event).is_err() {
                    return;
                }
            }
            if leave == Leave::Gracefully && self.client.try_disconnect().is_ok() {
                while let Some(Some(event)) = self.events.recv().await {
                    if event == Event::Outgoing(Outgoing::Disconnect) {
                        return;
                    }
                }
            }
        };
        if time::timeout(LAST_WORDS, said).await.is_err() {
            tracing::warn!("the broker did not confirm the last words");
        }
    }
}

/// Drives the connection in a task of its own: a poll that is dropped half-way may lose a packet.
/// `None` says that the connection was lost.
async fn poll(mut event_loop: EventLoop, events: mpsc::Sender<Option<Event>>) {
    let mut said = false;
    loop {
        let event = match event_loop.poll().await {
            Ok(event) => {
                said = false;
                Some(event)
            }
            Err(error) => {
                if !said {
                    tracing::warn!(%error, "no connection, trying on");
                    said = true;
                }
                None
            }
        };
        let lost = event.is_none();
        if events.send(event).await.is_err() {
            return;
        }
        if lost {
            time::sleep(RECONNECT_PAUSE).await;
        }
    }
}
