//! Who may connect: a CONNECT packet's names, credentials and session.

use std::sync::Arc;
use std::time::Duration;

use iot_hub::identity::MqttUser;
use jiff::Timestamp;
use mqtt_wire::{Connect, ConnectReturnCode, LastWill};

use crate::auth::{self, Credentials, Trust};
use crate::certificate::DeviceCertificate;
use crate::faults::ConnectRefusal;
use crate::hub::{EntityId, LinkId};
use crate::switchboard::{LinkReceiver, Now, State, Switchboard};
use crate::throttle::Kind;

/// What becomes of a CONNECT.
#[derive(Debug)]
pub(super) enum Admission {
    /// With what the hub has for it.
    Admitted(Admitted, LinkReceiver),
    Rejected(Rejection),
}

/// How a CONNECT is turned down.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rejection {
    /// With a CONNACK that says why.
    Code(ConnectReturnCode),
    /// Without a word.
    Close,
}

/// A device that may stay.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) id: EntityId,
    /// Ends the connection for the hub when it is dropped.
    pub(super) link: Link,
    pub(super) session_present: bool,
    pub(super) will: Option<LastWill>,
    pub(super) keep_alive: Duration,
    /// The end of time for a certificate.
    pub(super) token_ends: Timestamp,
}

/// A live connection as the hub knows it. Dropped, the device is disconnected.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    switchboard: Arc<Switchboard>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.switchboard.change(|state, now| {
            let effects = state.hub.disconnect(self.id, now.wall);
            state.carry_out(effects);
            state.remove_link(self.id);
        });
    }
}

/// Counts a CONNECT, and waits as long as the tier wants it so. When it admits no more, the answer
/// is the one after which every SDK tries again.
pub(super) async fn pass(switchboard: &Switchboard) -> Result<(), Rejection> {
    switchboard.change(|state, now| state.meters.connects.count_one(now.instant));
    let passed = switchboard.pass(Kind::Connects, 1).await;
    passed.map_err(|_| Rejection::Code(ConnectReturnCode::ServiceUnavailable))
}

/// Looks at a CONNECT and, if all is well, opens the session.
pub(super) fn admit(
    switchboard: &Arc<Switchboard>,
    connect: &Connect,
    certificate: Option<&DeviceCertificate>,
) -> Admission {
    switchboard.change(
        |state, now| match check(switchboard, state, connect, certificate, now) {
            Ok((admitted, receiver)) => {
                state.meters.connects_accepted.count_one(now.instant);
                tracing::info!(device = %admitted.id, "connected");
                Admission::Admitted(admitted, receiver)
            }
            Err(rejection) => Admission::Rejected(rejection),
        },
    )
}

fn check(
    switchboard: &Arc<Switchboard>,
    state: &mut State,
    connect: &Connect,
    certificate: Option<&DeviceCertificate>,
    now: Now,
) -> Result<(Admitted, LinkReceiver), Rejection> {
    if connect.client_id.is_empty() {
        return Err(Rejection::Code(ConnectReturnCode::BadClientId));
    }
    let (username, password) = match &connect.login {
        Some(login) => (login.username.as_str(), login.password.as_str()),
        None => ("", ""),
    };
    let user: MqttUser = username.parse().map_err(|error| {
        tracing::info!(client_id = connect.client_id, %error, "refused a user name");
        Rejection::Code(ConnectReturnCode::BadUserNamePassword)
    })?;
    if !switchboard.names().know(user.host.as_str()) {
        tracing::info!(client_id = connect.client_id, host = %user.host, "refused another hub's device");
        return Err(Rejection::Code(ConnectReturnCode::NotAuthorized));
    }
    let id = EntityId {
        device: user.device.clone(),
        module: user.module.clone(),
    };
    if connect.client_id != user.client_id() {
        tracing::info!(device = %id, client_id = connect.client_id, "client id is not the device's");
        return Err(Rejection::Code(ConnectReturnCode::NotAuthorized));
    }
    if let Some(refusal) = state.faults.refuse_connect(&id.device) {
        return Err(refused(refusal));
    }
    let trust = Trust {
        policies: &switchboard.policies,
        names: switchboard.names(),
        authorities: &switchboard.authorities,
    };
    let credentials = Credentials {
        user: &user,
        password,
        certificate,
    };
    let skew = state.faults.clock_skew(Some(&id.device));
    let token_ends = auth::authenticate(&state.hub, trust, &id, credentials, now.skewed(skew))
        .map_err(|denied| {
            tracing::info!(device = %id, reason = %denied, "refused a connection");
            Rejection::Code(ConnectReturnCode::NotAuthorized)
        })?;
    let token_ends = token_ends.saturating_sub(skew).unwrap_or(token_ends);
    let connected = state
        .hub
        .connect(&id, connect.clean_session, now.wall)
        .map_err(|_| Rejection::Code(ConnectReturnCode::NotAuthorized))?;
    if let Some(model) = user.get("model-id").filter(|model| !model.is_empty()) {
        state.hub.announce_model(connected.link, model);
    }
    let receiver = state.add_link(connected.link);
    state.carry_out(connected.effects);
    let messages = state.hub.deliver(connected.link, now.wall);
    state.carry_out(messages);
    let admitted = Admitted {
        id,
        link: Link {
            id: connected.link,
            switchboard: Arc::clone(switchboard),
        },
        session_present: connected.session_present,
        will: connect.last_will.clone(),
        keep_alive: Duration::from_secs(connect.keep_alive.into()),
        token_ends,
    };
    Ok((admitted, receiver))
}

fn refused(refusal: ConnectRefusal) -> Rejection {
    match refusal {
        ConnectRefusal::ServerUnavailable => Rejection::Code(ConnectReturnCode::ServiceUnavailable),
        ConnectRefusal::NotAuthorized => Rejection::Code(ConnectReturnCode::NotAuthorized),
        ConnectRefusal::Close => Rejection::Close,
    }
}
