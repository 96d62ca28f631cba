//! A panic as an error, for whoever goes on without what panicked.
//!
//! Whatever was changed half way is the caller's to put right: it throws away what the work held, or
//! holds only what is whole after each step. That it panicked, and where, is in the log already
//! ([`crate::logs`]).

use std::{
    any::Any,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::Poll,
};

use tokio::task::JoinError;

/// What a panic said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {0}")]
pub struct Panicked(String);

impl Panicked {
    /// Why a task was not joined.
    pub fn of_task(error: JoinError) -> Self {
        match error.try_into_panic() {
            Ok(payload) => Self::of(payload),
            Err(aborted) => Self(aborted.to_string()),
        }
    }

    fn of(payload: Box<dyn Any + Send>) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Self(text.unwrap_or("for no stated reason").to_owned())
    }
}

/// Does `work`, unless it panics.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(Panicked::of)
}

/// Waits for `work`, unless it panics.
pub async fn caught_in<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|context| match caught(|| work.as_mut().poll(context)) {
        Ok(poll) => poll.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::panic::panic_any;

    use super::*;

    #[test]
    fn what_works_is_as_it_is_and_a_panic_is_what_it_said() {
        assert_eq!(caught(|| 7), Ok(7));
        let said = |text: &str| Err::<(), _>(Panicked(text.to_owned()));
        assert_eq!(caught(|| panic!("plainly")), said("plainly"));
        assert_eq!(caught(|| panic!("with {}", 7)), said("with 7"));
        assert_eq!(caught(|| panic_any(7)), said("for no stated reason"));
    }

    #[tokio::test]
    async fn a_panic_after_waiting_is_caught_too() {
        assert_eq!(caught_in(async { 7 }).await, Ok(7));
        let work = async {
            tokio::task::yield_now().await;
            panic!("later");
        };
        let caught: Result<(), _> = caught_in(work).await;
        assert_eq!(caught.unwrap_err().to_string(), "panicked: later");
    }
}
