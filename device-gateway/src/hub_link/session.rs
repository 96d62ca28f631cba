//! One connection to the hub, from its CONNECT to its end.

mod requests;

use std::{collections::BTreeMap, fmt, time::Duration};

use futures_util::{SinkExt, StreamExt};
use iot_hub::topic::Filter;
use requests::Asked;
use rumqttc::{
    Disconnect, MqttState, Packet, PingReq, QoS, Request, Subscribe, SubscribeFilter,
    SubscribeReasonCode, Unsubscribe,
};
use tokio::time::{self, Instant};
use tokio_util::sync::CancellationToken;

use super::{
    ANSWER_LIFE, Link, LinkError, LinkEvent, Message, Outgoing,
    dial::Stream,
    sign_in::{Login, Packets, sign_in},
};

/// The largest packet: a call is up to 128 KiB, a twin up to 64.
pub(super) const MAX_PACKET: usize = 512 * 1024;

/// How many answers may wait for their acknowledgement.
const IN_FLIGHT: u16 = 64;

/// How many of these may be anything but answers, so that there is always room for those.
const MESSAGES_IN_FLIGHT: usize = 32;

/// How long a connection that has to be renewed waits for what is under way.
const RENEWAL_PATIENCE: Duration = Duration::from_secs(10);

/// How a connection ended.
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// Its token grows old; the connection for the next one stands.
    Renew(Stream),
    /// It broke.
    Lost(LinkError),
}

/// A connection that is signed in.
pub(super) struct Session {
    framed: Packets,
    state: MqttState,
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
    /// Answers by the packet that carries them.
    in_flight: BTreeMap<u16, Outgoing>,
    /// Messages by the packet that carries them.
    messages: BTreeMap<u16, Message>,
    get: Asked,
    check: Asked,
    /// The number of the newest check that was asked for.
    checked: u64,
    patch: Asked,
}

impl Session {
    /// Signs in. The session lasts longer than the connection, so that the hub keeps the
    /// subscriptions while we are away; we subscribe again all the same.
    pub(super) async fn open(
        stream: Stream,
        login: Login,
        renewal: Option<Instant>,
    ) -> Result<Self, LinkError> {
        let keep_alive = Duration::from_secs(login.keep_alive.into());
        let framed = sign_in(stream, login).await?;
        Ok(Self {
            framed,
            state: MqttState::new(IN_FLIGHT, false),
            keep_alive,
            renewal,
            renewing: None,
            quiet: false,
            last_sent: Instant::now(),
            pinged: None,
            subscribed: false,
            in_flight: BTreeMap::new(),
            messages: BTreeMap::new(),
            get: Asked::default(),
            check: Asked::default(),
            checked: 0,
            patch: Asked::default(),
        })
    }

    /// Sends a packet, and returns the packet id of a publish.
    async fn request(&mut self, request: Request, limit: Duration) -> Result<u16, LinkError> {
        let packet = self
            .state
            .handle_outgoing_packet(request)
            .map_err(protocol)?;
        self.state.events.clear();
        let Some(packet) = packet else {
            // The state sends it as soon as its packet id is free.
            return Ok(self
                .state
                .collision
                .as_ref()
                .map_or(0, |publish| publish.pkid));
        };
        let pkid = match &packet {
            Packet::Publish(publish) => publish.pkid,
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::SubAck(_)
            | Packet::Unsubscribe(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect => 0,
        };
        self.send(packet, limit).await?;
        Ok(pkid)
    }

    async fn send(&mut self, packet: Packet, limit: Duration) -> Result<(), LinkError> {
        self.last_sent = Instant::now();
        match time::timeout(limit, self.framed.send(packet)).await {
            Ok(sent) => sent.map_err(protocol),
            Err(_) => Err(LinkError::Slow("sending", limit)),
        }
    }

    /// Another answer can be sent, by what the protocol's state can hold.
    fn has_room(&self) -> bool {
        self.subscribed && self.state.inflight() + 1 < IN_FLIGHT && self.state.collision.is_none()
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

    fn wakes_at(&self) -> Instant {
        let twin = [self.get.until, self.check.until, self.patch.until];
        let renewal = self.renewing.or(self.renewal);
        let all = twin.into_iter().chain([renewal]).flatten();
        all.fold(self.ping_due(), Instant::min)
    }
}

/// One packet for all that a device listens to.
fn subscribe() -> Request {
    let filters = [Filter::Methods, Filter::TwinResponses, Filter::Desired];
    let filters = filters.map(|filter| SubscribeFilter::new(filter.to_string(), QoS::AtLeastOnce));
    Request::Subscribe(Subscribe::new_many(filters))
}

pub(super) fn protocol(error: impl fmt::Display) -> LinkError {
    LinkError::Protocol(error.to_string())
}

impl Link {
    /// Works on a connection until it ends, and keeps what it had not finished.
    pub(super) async fn hold(
        &mut self,
        mut session: Session,
        renewed: bool,
        shutdown: &CancellationToken,
    ) -> End {
        let end = self.work(&mut session, renewed, shutdown).await;
        self.unsent.extend(session.in_flight.into_values());
        self.unsent_messages.extend(session.messages.into_values());
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
        session.request(subscribe(), limit).await?;
        self.unsent
            .retain(|answer| answer.made.elapsed() < ANSWER_LIFE);
        loop {
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
            if let Some(stream) = self.renew_when_due(session).await? {
                return Ok(End::Renew(stream));
            }
            let takes_work = session.subscribed && session.renewing.is_none();
            let has_room = session.has_room();
            let takes_messages = session.has_room_for_messages();
            let wakes_at = session.wakes_at();
            tokio::select! {
                packet = session.framed.next() => {
                    let packet = packet.ok_or(LinkError::Closed)?.map_err(protocol)?;
                    self.on_packet(session, packet, renewed).await?;
                }
                Some(answer) = self.answers.recv(), if has_room => {
                    self.answer(session, answer).await?;
                }
                Some(patch) = self.patches.recv(), if takes_work => {
                    self.send_patch(session, &patch).await?;
                }
                Some(message) = self.messages.recv(), if takes_messages => {
                    self.send_message(session, message).await?;
                }
                Some(number) = self.checks.recv(), if takes_work => {
                    self.check_twin(session, number).await?;
                }
                () = time::sleep_until(wakes_at) => self.on_time(session).await?,
                () = shutdown.cancelled() => {
                    while session.has_room() && let Some(answer) = self.answers.try_recv() {
                        self.answer(session, answer).await?;
                    }
                    session.request(Request::Disconnect(Disconnect), limit).await?;
                    return Ok(End::Stopped);
                }
            }
        }
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
            let calls = Unsubscribe::new(Filter::Methods.to_string());
            session.request(Request::Unsubscribe(calls), limit).await?;
        }
        let Some(until) = session.renewing else {
            return Ok(None);
        };
        if until > now && !(session.quiet && self.is_idle(session)) {
            return Ok(None);
        }
        match time::timeout(self.timing.connect_limit, self.dial()).await {
            Ok(Ok(stream)) => {
                session
                    .request(Request::Disconnect(Disconnect), limit)
                    .await?;
                Ok(Some(stream))
            }
            failed => {
                // This connection is good for a while yet.
                tracing::info!(failed = ?failed.map(|dialed| dialed.err()), "put off renewing the token");
                session.renewing = None;
                session.quiet = false;
                session.renewal = Some(Instant::now() + self.renewal_pause());
                session.request(subscribe(), limit).await?;
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
        if session.patch.is_late(now) {
            self.tell(LinkEvent::PatchUnanswered).await?;
        }
        if session.get.is_late(now) {
            self.get_twin(session).await?;
        }
        // Whoever asked for a check asks again.
        session.check.is_late(now);
        let limit = self.timing.request_limit;
        if session.pinged.is_some_and(|until| until <= now) {
            return Err(LinkError::Slow("a ping", limit));
        }
        if session.pinged.is_none() && session.ping_due() <= now {
            session.request(Request::PingReq(PingReq), limit).await?;
            session.pinged = Some(now + limit);
        }
        Ok(())
    }

    async fn on_packet(
        &mut self,
        session: &mut Session,
        packet: Packet,
        renewed: bool,
    ) -> Result<(), LinkError> {
        let reply = session
            .state
            .handle_incoming_packet(packet.clone())
            .map_err(protocol)?;
        session.state.events.clear();
        if let Some(reply) = reply {
            session.send(reply, self.timing.request_limit).await?;
        }
        match packet {
            Packet::Publish(publish) => self.on_publish(session, &publish).await,
            Packet::PubAck(ack) => {
                if let Some(message) = session.messages.remove(&ack.pkid) {
                    return self.tell(LinkEvent::MessageAcked(message.number)).await;
                }
                match session.in_flight.remove(&ack.pkid) {
                    Some(answer) => self.tell(LinkEvent::AnswerAcked(answer.rid)).await,
                    None => Ok(()),
                }
            }
            Packet::SubAck(ack) => {
                if ack.return_codes.contains(&SubscribeReasonCode::Failure) {
                    return Err(LinkError::Subscription);
                }
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
            Packet::UnsubAck(_) => {
                session.quiet = true;
                Ok(())
            }
            Packet::PingResp => {
                session.pinged = None;
                Ok(())
            }
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Disconnect => Ok(()),
        }
    }
}
