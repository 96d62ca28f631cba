//! Direct methods: wait for the device, deliver, wait for the answer.

use std::time::Duration;

use bytes::Bytes;
use iot_hub::error::{ErrorCode, HubError};
use iot_hub::method::MethodCall;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout, timeout_at};

use crate::hub::{CallId, EntityId, MethodAnswer, NotCallable};
use crate::switchboard::Switchboard;

/// Calls a method on a device; returns the status and the payload that it answers with, whatever
/// they are.
pub(crate) async fn invoke(
    switchboard: &Switchboard,
    id: &EntityId,
    call: &MethodCall,
) -> Result<(i32, Bytes), HubError> {
    let payload = Bytes::from(call.payload.to_string());
    let delivered = deliver(switchboard, id, call, &payload).await?;

    let cap = switchboard
        .config
        .response_timeout_cap
        .unwrap_or(Duration::MAX);
    match timeout(call.response_timeout.min(cap), delivered.answer()).await {
        Ok(Some(MethodAnswer::Answered { status, payload })) => Ok((status, payload)),
        Ok(Some(MethodAnswer::DeviceGone) | None) => Err(device_unavailable()),
        Err(_) => Err(HubError::no_answer()),
    }
}

/// Delivers the call now, or as soon as the device is connected and subscribed.
async fn deliver<'a>(
    switchboard: &'a Switchboard,
    id: &EntityId,
    call: &MethodCall,
    payload: &Bytes,
) -> Result<Delivered<'a>, HubError> {
    let deadline = Instant::now() + call.connect_timeout;
    loop {
        let refused = match Delivered::new(switchboard, id, call, payload.clone()) {
            Ok(delivered) => return Ok(delivered),
            Err(NotCallable::NotOnline) => HubError::device_not_online(call.connect_timeout),
            Err(NotCallable::Unknown(error)) => return Err(error),
        };
        if call.connect_timeout.is_zero() {
            return Err(refused);
        }
        let changed =
            switchboard.wait_until(|state| state.hub.callable(id) != Err(NotCallable::NotOnline));
        if timeout_at(deadline, changed).await.is_err() {
            return Err(refused);
        }
    }
}

/// A call that a device has been sent. Dropped, it is forgotten: the caller went away or its time
/// is up.
struct Delivered<'a> {
    switchboard: &'a Switchboard,
    call: CallId,
    answer: oneshot::Receiver<MethodAnswer>,
}

impl<'a> Delivered<'a> {
    fn new(
        switchboard: &'a Switchboard,
        id: &EntityId,
        call: &MethodCall,
        payload: Bytes,
    ) -> Result<Self, NotCallable> {
        switchboard.change(|state, now| {
            let (call, effect) = state.hub.call(id, call.name.clone(), payload, now.wall)?;
            let answer = state.add_caller(call);
            state.carry_out([effect]);
            if state.faults.redeliver_method(&id.device) {
                let again = state.hub.redeliver(call);
                state.carry_out(again);
            }
            Ok(Self {
                switchboard,
                call,
                answer,
            })
        })
    }

    /// `None` only when the hub itself ends.
    async fn answer(mut self) -> Option<MethodAnswer> {
        (&mut self.answer).await.ok()
    }
}

impl Drop for Delivered<'_> {
    fn drop(&mut self) {
        self.switchboard
            .change(|state, now| state.remove_caller(self.call, now.wall));
    }
}

/// The device was sent the call and went away. The real hub then says so with HTTP status 404; the
/// code that goes with it is not recorded anywhere, so it has the one of that name.
fn device_unavailable() -> HubError {
    HubError {
        status: 404,
        ..HubError::new(ErrorCode::DeviceUnavailable, "Device unavailable")
    }
}
