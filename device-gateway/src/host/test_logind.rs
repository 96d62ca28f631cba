//! A systemd-logind of a test's own, in the test's process, on a real bus of its own: it costs little, so a
//! test may have one for each kind of machine. What a real logind answers to everything is
//! [`super::test_bus`]'s.

use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::process::Child;
use tokio_util::task::AbortOnDropHandle;
use zbus::{MessageStream, connection::Builder, message::Type};

use super::test_bus::{LOGIND, start_daemon};

/// Somebody on logind's list of inhibitors.
type Listed = (String, String, String, String, u32, u32);

/// A bus, and a logind on it that lets everybody reboot. Both end with it.
pub(crate) struct TestLogind {
    /// Where the bus listens.
    pub(crate) address: String,
    pub(crate) dir: TempDir,
    _daemon: Child,
    _serving: AbortOnDropHandle<()>,
}

impl TestLogind {
    /// Starts both. A reboot that is scheduled is done by `reboot`, which says whether that is answered.
    pub(crate) async fn start(reboot: impl Fn() -> bool + Send + 'static) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (daemon, address) = start_daemon(&dir).await;
        let connection = Builder::address(address.as_str()).build().await.unwrap();
        let mut messages = MessageStream::from(&connection);
        connection.request_name(LOGIND).await.unwrap();
        let serving = async move {
            while let Some(Ok(message)) = messages.next().await {
                let call = message.header();
                let Some(method) = call.member() else {
                    continue;
                };
                // Whoever asked may have gone down with its machine.
                let _ = match (call.message_type(), method.as_str()) {
                    (Type::MethodCall, "CanReboot") => connection.reply(&call, &"yes").await,
                    (Type::MethodCall, "ListInhibitors") => {
                        connection.reply(&call, &Vec::<Listed>::new()).await
                    }
                    (Type::MethodCall, "ScheduleShutdown") => {
                        let (kind, _): (String, u64) = message.body().deserialize().unwrap();
                        assert_eq!(kind, "reboot");
                        if reboot() {
                            connection.reply(&call, &()).await
                        } else {
                            Ok(())
                        }
                    }
                    _ => Ok(()),
                };
            }
        };
        Self {
            address,
            dir,
            _daemon: daemon,
            _serving: AbortOnDropHandle::new(tokio::spawn(serving)),
        }
    }
}
