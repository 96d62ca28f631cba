//! A bounded queue between two tasks that takes no room while it is empty.
//!
//! A device has several of these, and nothing in them nearly all of the time; Tokio's channels set
//! room for 32 items aside as soon as they are made. One task receives, any number send.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

/// Makes a queue that holds so many items at most.
pub(crate) fn bounded<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared(Mutex::new(State {
        items: VecDeque::new(),
        most,
        kept: 0,
        senders: 1,
        is_received: true,
        receiver: None,
        waiting: Vec::new(),
    })));
    (Sender(shared.clone()), Receiver(shared))
}

/// The end where items go in. Clones are the same.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The end where items come out.
pub(crate) struct Receiver<T>(Arc<Shared<T>>);

/// Room for one item.
pub(crate) struct Place<T>(Option<Sender<T>>);

/// There is nobody to receive, or no room now; the item is back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unsent<T>(pub(crate) T);

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    items: VecDeque<T>,
    most: usize,
    /// How many places are kept for items to come.
    kept: usize,
    senders: usize,
    is_received: bool,
    /// Who waits for an item.
    receiver: Option<Waker>,
    /// Who waits for room.
    waiting: Vec<Waker>,
}

impl<T> Sender<T> {
    /// Sends an item once there is room for it.
    pub(crate) async fn send(&self, item: T) -> Result<(), Unsent<T>> {
        let mut item = Some(item);
        poll_fn(|context| {
            let mut state = self.0.state();
            if state.is_received && !state.has_room() {
                state.wait_for_room(context);
                return Poll::Pending;
            }
            // It is taken once, for this is not asked again.
            item.take()
                .map_or(Poll::Pending, |item| Poll::Ready(push(state, item)))
        })
        .await
    }

    /// Sends an item if there is room for it now.
    pub(crate) fn try_send(&self, item: T) -> Result<(), Unsent<T>> {
        let state = self.0.state();
        if state.has_room() {
            push(state, item)
        } else {
            Err(Unsent(item))
        }
    }

    /// Keeps room for one item, if there is any now.
    pub(crate) fn keep_place(&self) -> Option<Place<T>> {
        let mut state = self.0.state();
        if !state.has_room() {
            return None;
        }
        state.kept += 1;
        drop(state);
        Some(Place(Some(self.clone())))
    }

    /// Nothing is in it, and no place is kept.
    pub(crate) fn is_unused(&self) -> bool {
        let state = self.0.state();
        state.items.is_empty() && state.kept == 0
    }

    /// Nobody receives any more.
    pub(crate) fn is_closed(&self) -> bool {
        !self.0.state().is_received
    }
}

impl<T> Receiver<T> {
    /// Waits for the next item; `None` when nobody is left to send one. No item is lost when it is
    /// waited for no longer.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    /// The next item, if there is one now.
    pub(crate) fn try_recv(&mut self) -> Option<T> {
        pop(self.0.state())
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.0.state();
        if state.items.is_empty() && state.senders > 0 {
            let waker = context.waker();
            match &mut state.receiver {
                Some(known) => known.clone_from(waker),
                place @ None => *place = Some(waker.clone()),
            }
            return Poll::Pending;
        }
        Poll::Ready(pop(state))
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.state().items.is_empty()
    }
}

impl<T> Place<T> {
    /// Sends the item that the place was kept for.
    pub(crate) fn send(mut self, item: T) {
        if let Some(sender) = self.0.take() {
            let mut state = sender.0.state();
            state.kept -= 1;
            // Where nobody receives, nobody misses it.
            let _ = push(state, item);
        }
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // No holder of the lock can leave the queue half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn has_room(&self) -> bool {
        self.items.len() + self.kept < self.most
    }

    fn wait_for_room(&mut self, context: &Context<'_>) {
        let waker = context.waker();
        if !self.waiting.iter().any(|known| known.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

fn push<T>(mut state: MutexGuard<'_, State<T>>, item: T) -> Result<(), Unsent<T>> {
    if !state.is_received {
        return Err(Unsent(item));
    }
    state.items.push_back(item);
    let receiver = state.receiver.take();
    drop(state);
    if let Some(receiver) = receiver {
        receiver.wake();
    }
    Ok(())
}

fn pop<T>(mut state: MutexGuard<'_, State<T>>) -> Option<T> {
    let item = state.items.pop_front();
    if state.items.is_empty() {
        state.items = VecDeque::new();
    }
    let waiting = std::mem::take(&mut state.waiting);
    drop(state);
    wake_all(waiting);
    item
}

fn wake_all(waiting: impl IntoIterator<Item = Waker>) {
    for waker in waiting {
        waker.wake();
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        let receiver = (state.senders == 0)
            .then(|| state.receiver.take())
            .flatten();
        drop(state);
        wake_all(receiver);
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_received = false;
        let items = std::mem::take(&mut state.items);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        // What an item does when it is dropped may use the queue.
        drop(items);
        wake_all(waiting);
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let Some(sender) = self.0.take() else { return };
        let mut state = sender.0.state();
        state.kept -= 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        wake_all(waiting);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Place").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use futures_util::FutureExt as _;

    use super::*;

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn items_come_in_order_and_no_more_than_there_is_room_for() {
        let (sender, mut receiver) = bounded(2);
        assert_eq!(receiver.recv().now_or_never(), None, "it waits");
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.send(2).now_or_never(), Some(Ok(())));
        assert_eq!(sender.try_send(3), Err(Unsent(3)));
        assert_eq!(sender.send(3).now_or_never(), None, "it waits for room");
        assert_eq!(receiver.try_recv(), Some(1));
        assert_eq!(sender.try_send(4), Ok(()));
        let rest: Vec<_> = std::iter::from_fn(|| receiver.try_recv()).collect();
        assert_eq!(rest, [2, 4], "what waited in vain was not sent");
        assert_eq!(
            receiver.0.state().items.capacity(),
            0,
            "no room while empty"
        );
    }

    #[test]
    fn a_kept_place_is_room_that_nobody_else_has() {
        let (sender, mut receiver) = bounded(1);
        let place = sender.keep_place().unwrap();
        assert!(sender.keep_place().is_none() && !sender.is_unused());
        assert_eq!(sender.try_send(1), Err(Unsent(1)));
        place.send(2);
        assert_eq!(receiver.try_recv(), Some(2));
        drop(sender.keep_place().unwrap());
        assert!(sender.is_unused(), "a place that is not used is given back");
        assert_eq!(sender.try_send(3), Ok(()));
    }

    #[test]
    fn each_side_notices_when_the_other_is_gone() {
        let (sender, mut receiver) = bounded(1);
        let other = sender.clone();
        other.try_send(1).unwrap();
        drop((sender, other));
        assert_eq!(receiver.recv().now_or_never(), Some(Some(1)));
        assert_eq!(receiver.recv().now_or_never(), Some(None));

        let (sender, receiver) = bounded(1);
        let place = sender.keep_place().unwrap();
        drop(receiver);
        assert!(sender.is_closed());
        assert_eq!(sender.send(1).now_or_never(), Some(Err(Unsent(1))));
        place.send(2);
    }

    #[test]
    fn whoever_waits_is_woken_by_what_it_waits_for() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let times = || woken.0.load(Ordering::SeqCst);
        let (sender, mut receiver) = bounded(1);
        assert!(receiver.poll_recv(&mut context).is_pending());
        sender.try_send(1).unwrap();
        assert_eq!(times(), 1, "by an item");
        let mut sending = Box::pin(sender.send(2));
        assert!(sending.as_mut().poll(&mut context).is_pending());
        receiver.try_recv();
        assert_eq!(times(), 2, "by room");
        assert!(sending.as_mut().poll(&mut context).is_ready());
        drop(sending);
        receiver.try_recv();
        let place = sender.keep_place().unwrap();
        let mut sending = Box::pin(sender.send(3));
        assert!(sending.as_mut().poll(&mut context).is_pending());
        drop(place);
        assert_eq!(times(), 3, "by a place given back");
        drop(sending);
        assert!(receiver.poll_recv(&mut context).is_pending());
        drop(sender);
        assert_eq!(times(), 4, "by the end of the last sender");
    }
}
