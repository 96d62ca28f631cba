//! Whom a connection's calls come from: calls of the same caller share what is known of it.

use std::sync::{Arc, Mutex, Weak};

use super::Caller;
use crate::lock::lock;

/// Whom a connection's calls come from. Clones are the same.
///
/// A connection mostly carries the calls of one caller, and thousands of them may be open. Only the newest
/// caller is remembered, and nothing of one that has no call open.
#[derive(Debug, Clone, Default)]
pub struct Acquaintance(Arc<Mutex<Weak<Caller>>>);

impl Acquaintance {
    /// Shares a caller with the calls that it has open already.
    pub fn meet(&self, caller: Caller) -> Arc<Caller> {
        let mut last = lock(&self.0);
        match last.upgrade() {
            Some(known) if *known == caller => known,
            Some(_) | None => {
                let caller = Arc::new(caller);
                *last = Arc::downgrade(&caller);
                caller
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{super::Identity, *};

    fn caller(expiry: i64) -> Caller {
        Caller {
            identity: Identity::Anonymous,
            who: "anonymous".into(),
            from: "192.0.2.1:4711".into(),
            expiry: Some(Timestamp::from_second(expiry).unwrap()),
        }
    }

    #[test]
    fn calls_with_the_same_credentials_share_their_caller_and_others_do_not() {
        let acquaintance = Acquaintance::default();
        let first = acquaintance.meet(caller(1));
        assert!(Arc::ptr_eq(&first, &acquaintance.meet(caller(1))));
        let renewed = acquaintance.meet(caller(2));
        assert_eq!(
            (first.expiry, renewed.expiry),
            (caller(1).expiry, caller(2).expiry)
        );
        assert!(Arc::ptr_eq(&renewed, &acquaintance.meet(caller(2))));
    }

    #[test]
    fn nothing_is_kept_of_a_caller_without_a_call() {
        let acquaintance = Acquaintance::default();
        drop(acquaintance.meet(caller(1)));
        assert!(lock(&acquaintance.0).upgrade().is_none());
    }
}
