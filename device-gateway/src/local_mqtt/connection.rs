//! One TCP connection: sign-in, deadlines, take-over.

use std::{sync::Arc, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use mqtt_wire::{ConnAck, Connect, ConnectReturnCode, Packet, ServerCodec};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{self, Instant},
};
use tokio_util::codec::Framed;

use super::{
    Event,
    account::Account,
    accounts::Accounts,
    session::{Next, Violation},
    strangers::Stranger,
};

/// The largest packet that is taken of somebody who has not signed in.
const MAX_CONNECT: usize = 64 * 1024;

/// How long a connection may take to sign in.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(5);

/// How long a device may take to read what it is sent.
const WRITE_LIMIT: Duration = Duration::from_secs(10);

/// How long a device that asked for no keep-alive may be silent. Without a limit a device that
/// lost its power would count as present for ever.
const SILENCE_LIMIT: Duration = Duration::from_secs(3600);

/// Why a connection ended without a goodbye.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("it broke off")]
    BrokeOff,
    #[error("nothing was heard of it in time")]
    Silent,
    #[error("it did not take what it was sent in time")]
    Stuck,
    #[error("another connection of the same device took over, or its account is gone")]
    TakenOver,
    #[error("too many others came after it, and it had not signed in")]
    Crowded,
    #[error("it did not begin with CONNECT")]
    NoConnect,
    #[error("sign-in refused: {0:?}")]
    Refused(ConnectReturnCode),
    #[error(transparent)]
    Violation(#[from] Violation),
    #[error(transparent)]
    Wire(#[from] mqtt_wire::Error),
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(stream: S, accounts: Accounts, stranger: Stranger) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut link = Framed::new(stream, ServerCodec::new(MAX_CONNECT));
    let (account, connect) = tokio::select! {
        met = meet(&mut link, &accounts) => met?,
        () = stranger.is_shown_out() => return Err(Ended::Crowded),
    };
    drop(stranger);
    let idle = match connect.keep_alive {
        0 => SILENCE_LIMIT,
        seconds => Duration::from_secs(seconds.into()) * 3 / 2,
    };
    let seated = account.take_seat().await.ok_or(Ended::TakenOver)?;
    *link.codec_mut() = ServerCodec::new(account.max_packet());
    if account.open(connect.last_will).is_err() {
        return refuse(&mut link, ConnectReturnCode::NotAuthorized).await;
    }
    tracing::info!(device = account.device(), "a local device connected");
    account.tell(Event::Connected).await;
    let ended = tokio::select! {
        ended = exchange(&mut link, &account, idle) => ended,
        () = seated.is_wanted() => Err(Ended::TakenOver),
    };
    account.close().await;
    tracing::info!(device = account.device(), "a local device is gone");
    ended
}

/// Finds out whose connection it is.
async fn meet<S>(
    link: &mut Framed<S, ServerCodec>,
    accounts: &Accounts,
) -> Result<(Arc<Account>, Connect), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = time::timeout(SIGN_IN_LIMIT, link.next())
        .await
        .map_err(|_| Ended::Silent)?
        .ok_or(Ended::BrokeOff)?;
    let connect = match first {
        Ok(Packet::Connect(connect)) => connect,
        Ok(_) => return Err(Ended::NoConnect),
        Err(mqtt_wire::Error::InvalidProtocolLevel(_)) => {
            return refuse(link, ConnectReturnCode::RefusedProtocolVersion).await;
        }
        Err(error) => return Err(error.into()),
    };
    match sign_in(accounts, &connect) {
        Ok(account) => Ok((account, connect)),
        Err(code) => refuse(link, code).await,
    }
}

/// Checks who it is. The client id has to be the device id too, since an MQTT server tells
/// connections apart by it.
fn sign_in(accounts: &Accounts, connect: &Connect) -> Result<Arc<Account>, ConnectReturnCode> {
    let login = connect.login.as_ref();
    let login = login.ok_or(ConnectReturnCode::BadUserNamePassword)?;
    let account = accounts
        .find(&login.username)
        .filter(|account| account.is_password(login.password.as_bytes()))
        .ok_or(ConnectReturnCode::BadUserNamePassword)?;
    if connect.client_id != account.device() {
        return Err(ConnectReturnCode::BadClientId);
    }
    Ok(account)
}

async fn refuse<S, T>(
    link: &mut Framed<S, ServerCodec>,
    code: ConnectReturnCode,
) -> Result<T, Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    send(link, Packet::ConnAck(ConnAck::new(code, false))).await?;
    Err(Ended::Refused(code))
}

/// Carries packets both ways until the device says goodbye.
async fn exchange<S>(
    link: &mut Framed<S, ServerCodec>,
    account: &Account,
    idle: Duration,
) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let welcome = ConnAck::new(ConnectReturnCode::Success, false);
    send(link, Packet::ConnAck(welcome)).await?;
    let mut deadline = Instant::now() + idle;
    loop {
        while let Some(packet) = account.next_packet() {
            send(link, packet).await?;
        }
        let packet = tokio::select! {
            packet = link.next() => packet.ok_or(Ended::BrokeOff)??,
            () = account.woken() => continue,
            () = time::sleep_until(deadline) => return Err(Ended::Silent),
        };
        deadline = Instant::now() + idle;
        match account.on_packet(packet)? {
            Next::Continue(None) => {}
            // Told before the acknowledgement goes out, so that nothing acknowledged is lost.
            Next::Continue(Some(event)) => {
                if !account.tell(event).await {
                    account.withhold();
                }
            }
            Next::Disconnect => return Ok(()),
        }
    }
}

async fn send<S>(link: &mut Framed<S, ServerCodec>, packet: Packet) -> Result<(), Ended>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    time::timeout(WRITE_LIMIT, link.send(packet))
        .await
        .map_err(|_| Ended::Stuck)?
        .map_err(Ended::from)
}
