//! What a watcher saw.

use iothubdm_proto::v1::{
    AttemptState, RebootAttempt, RebootEvent, RebootProgress, reboot_event::Event,
};
use tonic::{Status, Streaming};

/// A watch followed to its end.
#[derive(Debug)]
pub struct Watched {
    /// Every message, in the order of arrival.
    pub events: Vec<RebootEvent>,
    /// How the stream ended; `None` is OK.
    pub ended: Option<Status>,
}

impl Watched {
    /// Follows a stream to its end.
    pub async fn to_end(stream: Streaming<RebootEvent>) -> Self {
        Self::until(stream, |_| false).await
    }

    /// Follows a stream until a message satisfies `enough`, or to its end.
    pub async fn until(
        mut stream: Streaming<RebootEvent>,
        mut enough: impl FnMut(&RebootEvent) -> bool,
    ) -> Self {
        let mut events = Vec::new();
        loop {
            match stream.message().await {
                Ok(Some(event)) => {
                    let done = enough(&event);
                    events.push(event);
                    if done {
                        return Self {
                            events,
                            ended: None,
                        };
                    }
                }
                Ok(None) => {
                    return Self {
                        events,
                        ended: None,
                    };
                }
                Err(status) => {
                    return Self {
                        events,
                        ended: Some(status),
                    };
                }
            }
        }
    }

    /// The attempt as the first message showed it.
    pub fn snapshot(&self) -> &RebootAttempt {
        match self.events.first().and_then(|event| event.event.as_ref()) {
            Some(Event::Snapshot(attempt)) => attempt,
            other => panic!("a watch begins with a snapshot, not with {other:?}"),
        }
    }

    /// The steps, with their revisions.
    pub fn steps(&self) -> Vec<(i64, &RebootProgress)> {
        self.events
            .iter()
            .filter_map(|event| match &event.event {
                Some(Event::Progress(progress)) => Some((event.revision, progress)),
                Some(Event::Snapshot(_) | Event::Bookmark(_)) | None => None,
            })
            .collect()
    }

    /// The states of the steps, in order.
    pub fn states(&self) -> Vec<AttemptState> {
        self.steps().iter().map(|(_, step)| step.state()).collect()
    }

    /// The attempt as the terminal event shows it.
    pub fn verdict(&self) -> &RebootAttempt {
        let last = self.steps().pop().map(|(_, step)| step);
        match last {
            Some(step) if step.terminal => step.attempt.as_ref().expect("a step has its attempt"),
            other => panic!("a watch ends with a terminal step, not with {other:?}"),
        }
    }

    /// The token to continue after the message at `index`.
    pub fn token(&self, index: usize) -> String {
        self.events[index].resume_token.clone()
    }
}
