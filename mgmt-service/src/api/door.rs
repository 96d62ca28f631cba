//! The door of the service: how many may come in, how long they may take, how much they may ask.
//!
//! ```text
//!   connection ──► Door::enter ──► Guarded: ends when it does not begin, or is idle for too long
//!                     │ too many: closed
//!   call ──────────► Porter: refused when there are too many or they come too fast;
//!                            ends when its request does not come
//! ```
//!
//! A connection costs a place in all and one of its address, an open call costs a place in all, and
//! each is given back when the connection or the call is dropped, however it ended.

mod body;
mod guarded;
mod porter;
mod rate;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use self::rate::Rate;
pub(super) use self::{guarded::Guarded, porter::PorterLayer};
use crate::{config::Limits, error::Error, lock::lock};

/// Counts who is inside.
#[derive(Debug)]
pub(super) struct Door {
    limits: Limits,
    connections: Mutex<Connections>,
    calls: AtomicUsize,
}

#[derive(Debug, Default)]
struct Connections {
    all: usize,
    of_address: HashMap<IpAddr, usize>,
}

/// The place of one connection.
#[derive(Debug)]
pub(super) struct Seat {
    door: Arc<Door>,
    address: Option<IpAddr>,
    work: Mutex<Work>,
}

/// What a connection is about.
#[derive(Debug)]
struct Work {
    rate: Rate,
    calls: usize,
    /// When the last call ended, or the connection began.
    idle_since: Instant,
}

/// The place of one open call.
#[derive(Debug)]
pub(super) struct OpenCall {
    seat: Arc<Seat>,
}

impl Door {
    pub(super) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            limits,
            connections: Mutex::default(),
            calls: AtomicUsize::new(0),
        })
    }

    /// Gives a connection its place, if there is one.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Arc<Seat>> {
        let mut connections = lock(&self.connections);
        if connections.all >= self.limits.connections {
            return None;
        }
        if let Some(address) = address {
            let of_one = connections.of_address.entry(address).or_default();
            if *of_one >= self.limits.connections_per_address {
                return None;
            }
            *of_one += 1;
        }
        connections.all += 1;
        let now = Instant::now();
        let work = Work {
            rate: Rate::new(self.limits.calls_per_second, now),
            calls: 0,
            idle_since: now,
        };
        Some(Arc::new(Seat {
            door: self.clone(),
            address,
            work: Mutex::new(work),
        }))
    }
}

impl Seat {
    /// Begins a call, unless there are too many or they come too fast.
    fn call(self: &Arc<Self>) -> Result<OpenCall, Error> {
        let mut work = lock(&self.work);
        if let Some(wait) = work.rate.take(Instant::now()) {
            return Err(Error::TooMany {
                what: "calls in a second on this connection",
                retry_after: wait,
            });
        }
        let before = self.door.calls.fetch_add(1, Ordering::Relaxed);
        if before >= self.door.limits.calls {
            self.door.calls.fetch_sub(1, Ordering::Relaxed);
            return Err(Error::TooMany {
                what: "open calls",
                retry_after: Duration::from_secs(1),
            });
        }
        work.calls += 1;
        Ok(OpenCall { seat: self.clone() })
    }

    /// When the connection has to end if nothing happens; `None` while a call is open.
    fn ends_at(&self) -> Option<Instant> {
        let work = lock(&self.work);
        let limits = &self.door.limits;
        (work.calls == 0).then(|| work.idle_since + limits.idle)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connections = lock(&self.door.connections);
        connections.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(of_one) = connections.of_address.get_mut(&address) {
            *of_one -= 1;
            if *of_one == 0 {
                connections.of_address.remove(&address);
            }
        }
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.seat.door.calls.fetch_sub(1, Ordering::Relaxed);
        let mut work = lock(&self.seat.work);
        work.calls -= 1;
        work.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(change: impl FnOnce(&mut Limits)) -> Arc<Door> {
        let mut limits = Limits::default();
        change(&mut limits);
        Door::new(limits)
    }

    const ONE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));
    const TWO: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)));

    #[test]
    fn places_are_given_back() {
        let door = door(|limits| {
            limits.connections = 3;
            limits.connections_per_address = 2;
        });
        let first = door.enter(ONE).unwrap();
        let _second = door.enter(ONE).unwrap();
        assert!(door.enter(ONE).is_none(), "one address has its share");
        let _third = door.enter(TWO).unwrap();
        assert!(door.enter(TWO).is_none(), "all places are taken");
        drop(first);
        assert!(door.enter(ONE).is_some());
        drop((_second, _third));
        assert!(lock(&door.connections).of_address.is_empty());
    }

    #[test]
    fn open_calls_are_counted_over_all_connections() {
        let door = door(|limits| limits.calls = 2);
        let (one, two) = (door.enter(ONE).unwrap(), door.enter(TWO).unwrap());
        let held = (one.call().unwrap(), two.call().unwrap());
        assert!(matches!(two.call(), Err(Error::TooMany { .. })));
        drop(held);
        assert!(two.call().is_ok());
    }

    #[test]
    fn a_connection_that_calls_too_fast_is_told_when_to_go_on() {
        let door = door(|limits| limits.calls_per_second = 0.5);
        let seat = door.enter(ONE).unwrap();
        assert!(seat.call().is_ok());
        let Err(Error::TooMany { retry_after, .. }) = seat.call() else {
            panic!("a second call at once");
        };
        assert!(retry_after > Duration::from_millis(1500), "{retry_after:?}");
        assert!(
            door.enter(ONE).unwrap().call().is_ok(),
            "another connection"
        );
    }

    #[test]
    fn a_connection_ends_by_itself_only_without_a_call() {
        let door = door(|limits| limits.idle = Duration::from_secs(5));
        let seat = door.enter(None).unwrap();
        assert!(seat.ends_at().is_some());
        let call = seat.call().unwrap();
        assert_eq!(seat.ends_at(), None);
        drop(call);
        assert!(seat.ends_at().is_some());
    }
}
