//! A device whose journal cannot be read or written: it is connected, begins nothing, and says why.

use iot_hub::reboot::RefusalCode;
use tokio::time::{self, Instant};

use super::{Device, Event, Parts, Stop, StorageError, UNWRITABLE, refuse};
use crate::hub_link::LinkEvent;

/// Waits until the journal can be used, and goes on where it ends.
pub(super) async fn wait(failed: Box<(Parts, StorageError)>, stop: &Stop) -> Option<Device> {
    let (mut parts, mut error) = *failed;
    // What the link said since it was connected, for whoever takes it over.
    let mut heard = Vec::new();
    loop {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "cannot use the journal; nothing is begun until it can be"
        );
        parts.desk.journal(Some(&error));
        let again = Instant::now() + parts.retry;
        loop {
            tokio::select! {
                event = parts.link.events.recv() => match event? {
                    LinkEvent::Call(call) => {
                        refuse(call.reply, RefusalCode::Internal, UNWRITABLE.to_owned());
                    }
                    LinkEvent::Down => {
                        parts.desk.linked(false);
                        heard.clear();
                    }
                    event @ (LinkEvent::Up(_)
                    | LinkEvent::Renewing
                    | LinkEvent::AnswerAcked(_)
                    | LinkEvent::Twin { .. }
                    | LinkEvent::Checked { .. }
                    | LinkEvent::Desired { .. }
                    | LinkEvent::PatchApplied
                    | LinkEvent::PatchRefused { .. }
                    | LinkEvent::PatchUnanswered
                    | LinkEvent::MessageAcked(_)) => heard.push(event),
                },
                () = parts.pulse.beat() => {}
                () = time::sleep_until(again) => break,
                () = stop.now.cancelled() => return None,
                () = stop.drained.cancelled() => return None,
            }
        }
        match Device::start(parts).await {
            Ok(mut device) => {
                tracing::info!("the journal can be used");
                device.desk.journal(None);
                for event in heard {
                    device.handle(Event::Link(event)).await;
                }
                return Some(device);
            }
            Err(failed) => (parts, error) = *failed,
        }
    }
}
