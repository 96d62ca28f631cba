//! Tasks without which nothing works: when one of them panics, the service ends, for whoever waits for
//! what such a task does would wait until a deadline of its own.

use std::{sync::Arc, thread};

use tokio::sync::watch;

/// Knows whether a vital task has died.
#[derive(Debug, Clone)]
pub struct Vital(Arc<watch::Sender<Option<&'static str>>>);

impl Vital {
    /// All are well.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Starts such a task. That it ends or is dropped is in order; that it panics is not.
    pub(crate) fn spawn(
        &self,
        task: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let alarm = Alarm {
            vital: self.clone(),
            task,
        };
        tokio::spawn(async move {
            let _alarm = alarm;
            work.await;
        });
    }

    /// The task that died first.
    pub(crate) fn dead(&self) -> Option<&'static str> {
        *self.0.borrow()
    }

    /// Waits until one dies.
    pub(crate) async fn one_dies(&self) {
        // The sender is this one.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

impl Default for Vital {
    fn default() -> Self {
        Self::new()
    }
}

/// Goes off when it is dropped by a panic.
struct Alarm {
    vital: Vital,
    task: &'static str,
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if thread::panicking() {
            let task = self.task;
            tracing::error!(task, "a task died without which nothing works; stopping");
            self.vital.0.send_if_modified(|dead| {
                let first = dead.is_none();
                dead.get_or_insert(task);
                first
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future, time::Duration};

    use tokio::time::timeout;

    use super::*;

    async fn dies(vital: &Vital) {
        let limit = Duration::from_secs(30);
        timeout(limit, vital.one_dies()).await.expect("it dies");
    }

    #[tokio::test]
    async fn the_first_that_panics_is_named() {
        let vital = Vital::new();
        vital.spawn("the first", async { panic!("on purpose") });
        dies(&vital).await;
        vital.spawn("the second", async { panic!("on purpose") });
        tokio::task::yield_now().await;
        dies(&vital).await;
        assert_eq!(vital.dead(), Some("the first"));
    }

    #[test]
    fn one_that_ends_or_is_dropped_is_no_death() {
        let vital = Vital::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            vital.spawn("ends", async {});
            vital.spawn("is dropped", future::pending());
            tokio::task::yield_now().await;
        });
        drop(runtime);
        assert_eq!(vital.dead(), None);
    }
}
