//! One connection to the hub, from its CONNECT to its end.

mod requests;
mod unacknowledged;

use std::time::Duration;

use iot_hub::topic::Filter;
use mqtt_wire::FromServer;
use requests::Asked;
use rumqttc::{
    Packet, PubAck, Publish, QoS, Subscribe, SubscribeFilter, SubscribeReasonCode, Unsubscribe,
};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;
use unacknowledged::Unacknowledged;

use super::{
    ANSWER_LIFE, Link, LinkError, LinkEvent, Message, Outgoing, Patch,
    dial::Stream,
    packets::{Packets, protocol},
    sign_in::{Login, sign_in},
};

/// How many publishes may wait for their acknowledgement.
const IN_FLIGHT: usize = 64;

/// How many of these may be anything but answers, so that there is always room for those.
const MESSAGES_IN_FLIGHT: usize = 32;

/// How long a connection that has to be renewed waits for what is under way.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);

/// How many patches may be left without an answer, with none applied in between, until the connection is
/// given up. The next one begins with the twin, which says what became of them.
const UNANSWERED: u32 = 3;

/// How a connection ended.
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// Its token grows old; the connection for the next one stands.
    Renew(Stream),
    /// It broke.
    Lost(LinkError),
}

/// What a session waits for.
enum Happening {
    Packet(FromServer),
    Answer(Outgoing),
    Patch(Patch),
    Message(Message),
    Check(u64),
    Time,
    Stop,
}

/// A connection that is signed in.
pub(super) struct Session {
    packets: Packets,
    /// The newest number of a packet that is acknowledged.
    pkid: u16,
    keep_alive: Duration,
    /// When the connection has to make room for one with a new token.
    renewal: Option<Instant>,
    /// It takes no new work; what is under way may end until then.
    renewing: Option<Instant>,
    /// The hub knows that it has to deliver no calls.
    quiet: bool,
    last_sent: Instant,
    /// Until when a ping has to be answered.
    pinged: Option<Instant>,
    subscribed: bool,
    /// Until when the subscriptions have to be acknowledged.
    subscribed_by: Option<Instant>,
    /// Answers by the packet that carries them.
    in_flight: Unacknowledged<Outgoing>,
    /// Messages by the packet that carries them.
    messages: Unacknowledged<Message>,
    get: Asked,
    check: Asked,
    /// The number of the newest check that was asked for.
    checked: u64,
    patch: Asked,
    /// How many patches were not answered since the last that was applied.
    unanswered: u32,
}

impl Session {
    /// Signs in. The session lasts longer than the connection, so that the hub keeps the
    /// subscriptions while we are away; we subscribe again all the same.
    pub(super) async fn open(
        stream: Stream,
        login: Login,
        renewal: Option<Instant>,
    ) -> Result<Box<Self>, LinkError> {
        let keep_alive = Duration::from_secs(login.keep_alive.into());
        Ok(Box::new(Self {
            packets: sign_in(stream, login).await?,
            pkid: 0,
            keep_alive,
            renewal,
            renewing: None,
            quiet: false,
            last_sent: Instant::now(),
            pinged: None,
            subscribed: false,
            subscribed_by: None,
            in_flight: Unacknowledged::default(),
            messages: Unacknowledged::default(),
            get: Asked::default(),
            check: Asked::default(),
            checked: 0,
            patch: Asked::default(),
            unanswered: 0,
        }))
    }

    /// Sends a message that the hub acknowledges, and returns the number that it does that by.
    async fn publish(&mut self, publish: Publish, limit: Duration) -> Result<u16, LinkError> {
        let pkid = self.free_pkid();
        let publish = Publish { pkid, ..publish };
        self.send(Packet::Publish(publish), limit).await?;
        Ok(pkid)
    }

    /// Asks for all that a device listens to, in one packet.
    async fn subscribe(&mut self, limit: Duration) -> Result<(), LinkError> {
        let filters = [Filter::Methods, Filter::TwinResponses, Filter::Desired];
        let filters =
            filters.map(|filter| SubscribeFilter::new(filter.to_string(), QoS::AtLeastOnce));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = self.free_pkid();
        self.subscribed_by = Some(Instant::now() + limit);
        self.send(Packet::Subscribe(subscribe), limit).await
    }

    /// Asks for no more calls.
    async fn unsubscribe_calls(&mut self, limit: Duration) -> Result<(), LinkError> {
        let mut calls = Unsubscribe::new(Filter::Methods.to_string());
        calls.pkid = self.free_pkid();
        self.send(Packet::Unsubscribe(calls), limit).await
    }

    async fn send(&mut self, packet: Packet, limit: Duration) -> Result<(), LinkError> {
        self.last_sent = Instant::now();
        match time::timeout(limit, self.packets.send(packet)).await {
            Ok(sent) => sent,
            Err(_) => Err(LinkError::Slow("sending", limit)),
        }
    }

    /// A number that no packet under way has; there are far more than may be under way.
    fn free_pkid(&mut self) -> u16 {
        loop {
            self.pkid = self.pkid.checked_add(1).unwrap_or(1);
            if !self.in_flight.contains(self.pkid) && !self.messages.contains(self.pkid) {
                return self.pkid;
            }
        }
    }

    /// Another answer can be sent.
    fn has_room(&self) -> bool {
        self.subscribed && self.in_flight.len() + self.messages.len() < IN_FLIGHT
    }

    /// Another message can be sent, and room for answers is left.
    fn has_room_for_messages(&self) -> bool {
        self.has_room() && self.renewing.is_none() && self.messages.len() < MESSAGES_IN_FLIGHT
    }

    /// When to ping, or when the answer to a ping is overdue.
    fn ping_due(&self) -> Instant {
        // A quarter early, so that a late timer is no reason for the hub to hang up.
        self.pinged
            .unwrap_or_else(|| self.last_sent + self.keep_alive.mul_f64(0.75))
    }

    /// When the first acknowledgement is overdue.
    fn overdue_at(&self) -> Option<Instant> {
        let all = [self.in_flight.overdue_at(), self.messages.overdue_at()];
        all.into_iter().flatten().min()
    }

    fn wakes_at(&self) -> Instant {
        let twin = [self.get.until, self.check.until, self.patch.until];
        let renewal = self.renewing.or(self.renewal);
        let all = twin
            .into_iter()
            .chain([renewal, self.subscribed_by, self.overdue_at()])
            .flatten();
        all.fold(self.ping_due(), Instant::min)
    }
}

impl Link {
    /// Works on a connection until it ends, and keeps what it had not finished.
    pub(super) async fn hold(
        &mut self,
        mut session: Box<Session>,
        renewed: bool,
        shutdown: &CancellationToken,
    ) -> End {
        let mut end = self.work(&mut session, renewed, shutdown).await;
        if matches!(end, Ok(End::Renew(_)))
            && !session.patch.is_answered()
            && let Err(error) = self.tell(LinkEvent::PatchUnanswered).await
        {
            end = Err(error);
        }
        self.unsent.extend(session.in_flight.into_items());
        self.unsent_messages.extend(session.messages.into_items());
        let messages = self.unsent_messages.make_contiguous();
        messages.sort_by_key(|message| message.number);
        end.unwrap_or_else(End::Lost)
    }

    async fn work(
        &mut self,
        session: &mut Session,
        renewed: bool,
        shutdown: &CancellationToken,
    ) -> Result<End, LinkError> {
        let limit = self.timing.request_limit;
        Box::pin(session.subscribe(limit)).await?;
        self.unsent
            .retain(|answer| answer.made.elapsed() < ANSWER_LIFE);
        loop {
            if let Some(stream) = Box::pin(self.catch_up(session)).await? {
                return Ok(End::Renew(stream));
            }
            let happening = self.next(session, shutdown).await?;
            let stops = matches!(happening, Happening::Stop);
            Box::pin(self.on_happening(session, happening, renewed)).await?;
            if stops {
                return Ok(End::Stopped);
            }
        }
    }

    async fn on_happening(
        &mut self,
        session: &mut Session,
        happening: Happening,
        renewed: bool,
    ) -> Result<(), LinkError> {
        match happening {
            Happening::Packet(packet) => self.on_packet(session, packet, renewed).await,
            Happening::Answer(answer) => self.answer(session, answer).await,
            Happening::Patch(patch) => self.send_patch(session, &patch).await,
            Happening::Message(message) => self.send_message(session, message).await,
            Happening::Check(number) => self.check_twin(session, number).await,
            Happening::Time => self.on_time(session).await,
            Happening::Stop => self.sign_off(session).await,
        }
    }

    /// Sends what earlier connections could not, and renews this one when that is due.
    async fn catch_up(&mut self, session: &mut Session) -> Result<Option<Stream>, LinkError> {
        while session.has_room()
            && let Some(answer) = self.unsent.pop_front()
        {
            self.answer(session, answer).await?;
        }
        while session.has_room_for_messages()
            && let Some(message) = self.unsent_messages.pop_front()
        {
            self.send_message(session, message).await?;
        }
        self.renew_when_due(session).await
    }

    async fn next(
        &mut self,
        session: &mut Session,
        shutdown: &CancellationToken,
    ) -> Result<Happening, LinkError> {
        let takes_work = session.subscribed && session.renewing.is_none();
        let has_room = session.has_room();
        let takes_messages = session.has_room_for_messages();
        let wakes_at = session.wakes_at();
        Ok(tokio::select! {
            packet = session.packets.next() => Happening::Packet(packet?),
            Some(answer) = self.answers.recv(), if has_room => Happening::Answer(answer),
            Some(patch) = self.patches.recv(), if takes_work => Happening::Patch(patch),
            Some(message) = self.messages.recv(), if takes_messages => Happening::Message(message),
            Some(number) = self.checks.recv(), if takes_work => Happening::Check(number),
            () = time::sleep_until(wakes_at) => Happening::Time,
            () = shutdown.cancelled() => Happening::Stop,
        })
    }

    /// Sends the answers that there are, and takes leave.
    async fn sign_off(&mut self, session: &mut Session) -> Result<(), LinkError> {
        while session.has_room()
            && let Some(answer) = self.answers.try_recv()
        {
            self.answer(session, answer).await?;
        }
        let limit = self.timing.request_limit;
        session.send(Packet::Disconnect, limit).await
    }

    /// Makes the connection for a new token before it gives up this one, when nothing is under way.
    async fn renew_when_due(&mut self, session: &mut Session) -> Result<Option<Stream>, LinkError> {
        let now = Instant::now();
        let limit = self.timing.request_limit;
        if session.subscribed
            && session.renewing.is_none()
            && session.renewal.is_some_and(|at| at <= now)
        {
            session.renewing = Some(now + RENEWAL_PATIENCE);
            self.tell(LinkEvent::Renewing).await?;
            // A call that was delivered to a connection that is going down is lost on both sides.
            // One that finds no subscription waits for it, or is certainly undelivered.
            session.unsubscribe_calls(limit).await?;
        }
        let Some(until) = session.renewing else {
            return Ok(None);
        };
        if until > now && !(session.quiet && self.is_idle(session)) {
            return Ok(None);
        }
        match time::timeout(self.timing.connect_limit, Box::pin(self.dial())).await {
            Ok(Ok(stream)) => {
                session.send(Packet::Disconnect, limit).await?;
                Ok(Some(stream))
            }
            failed => {
                // This connection is good for a while yet.
                tracing::info!(failed = ?failed.map(|dialed| dialed.err()), "put off renewing the token");
                session.renewing = None;
                session.quiet = false;
                session.renewal = Some(Instant::now() + self.renewal_pause());
                session.subscribe(limit).await?;
                Ok(None)
            }
        }
    }

    /// Nothing is under way: no call without an answer, no answer without its acknowledgement, no
    /// twin request.
    fn is_idle(&self, session: &Session) -> bool {
        self.places.is_unused()
            && self.unsent.is_empty()
            && session.in_flight.is_empty()
            && session.messages.is_empty()
            && session.get.is_answered()
            && session.check.is_answered()
            && session.patch.is_answered()
    }

    async fn on_time(&mut self, session: &mut Session) -> Result<(), LinkError> {
        let now = Instant::now();
        let limit = self.timing.request_limit;
        if session.overdue_at().is_some_and(|until| until <= now) {
            return Err(LinkError::Unanswered("acknowledged a message", limit));
        }
        if session.patch.is_late(now) {
            self.tell(LinkEvent::PatchUnanswered).await?;
            session.unanswered += 1;
            if session.unanswered == UNANSWERED {
                return Err(LinkError::Unanswered("answered patches", limit));
            }
        }
        if session.get.is_late(now) {
            self.get_twin(session).await?;
        }
        // Whoever asked for a check asks again.
        session.check.is_late(now);
        if session.subscribed_by.is_some_and(|until| until <= now) {
            return Err(LinkError::Slow("subscribing", limit));
        }
        if session.pinged.is_some_and(|until| until <= now) {
            return Err(LinkError::Slow("a ping", limit));
        }
        if session.pinged.is_none() && session.ping_due() <= now {
            session.send(Packet::PingReq, limit).await?;
            session.pinged = Some(now + limit);
        }
        Ok(())
    }

    async fn on_packet(
        &mut self,
        session: &mut Session,
        packet: FromServer,
        renewed: bool,
    ) -> Result<(), LinkError> {
        match packet {
            FromServer::Publish(publish) => {
                match publish.qos {
                    QoS::AtMostOnce => {}
                    QoS::AtLeastOnce => {
                        let ack = Packet::PubAck(PubAck::new(publish.pkid));
                        session.send(ack, self.timing.request_limit).await?;
                    }
                    QoS::ExactlyOnce => return Err(protocol("nothing comes at QoS 2")),
                }
                self.on_publish(session, &publish).await
            }
            FromServer::PubAck(ack) => {
                if let Some(message) = session.messages.remove(ack.pkid) {
                    return self.tell(LinkEvent::MessageAcked(message.number)).await;
                }
                match session.in_flight.remove(ack.pkid) {
                    Some(answer) => self.tell(LinkEvent::AnswerAcked(answer.rid)).await,
                    None => Err(protocol("an acknowledgement of nothing")),
                }
            }
            FromServer::SubAck(ack) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(LinkError::Subscription);
                }
                session.subscribed_by = None;
                if std::mem::replace(&mut session.subscribed, true) {
                    // Renewing was put off: the calls are wanted again, and the rest was kept.
                    return Ok(());
                }
                if !renewed {
                    self.epoch += 1;
                    self.tell(LinkEvent::Up(self.epoch)).await?;
                    tracing::info!(hub = self.hub(), "connected to the hub");
                }
                self.get_twin(session).await
            }
            FromServer::UnsubAck(_) => {
                session.quiet = true;
                Ok(())
            }
            FromServer::PingResp => {
                session.pinged = None;
                Ok(())
            }
            FromServer::ConnAck(_) => Err(protocol("a second CONNACK")),
        }
    }
}

#[cfg(test)]
mod tests;
