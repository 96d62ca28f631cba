//! When a token is fetched, by a clock of our own; and that it is fetched once.

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use tokio::sync::Notify;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn gone() -> Trouble {
    Trouble::HubUnreachable("gone".to_owned())
}

#[test]
fn a_token_is_renewed_near_its_end_and_kept_while_it_cannot_be() {
    let mut renewal = Renewal::default();
    assert_eq!(renewal.step(at(0)), Step::Fetch);
    renewal.fetched("one", at(3600), at(0));
    assert_eq!(renewal.step(at(2999)), Step::Use("one"));
    assert_eq!(renewal.step(at(3000)), Step::Renew("one"));
    renewal.failed(gone(), at(3001));
    assert_eq!(
        renewal.step(at(3005)),
        Step::Use("one"),
        "not at once again"
    );
    assert_eq!(renewal.step(at(3006)), Step::Renew("one"));
    renewal.failed(gone(), at(3599));
    assert_eq!(renewal.step(at(3599)), Step::Use("one"));
    assert_eq!(renewal.step(at(3600)), Step::Fail(gone()), "it has ended");
    assert_eq!(renewal.step(at(3604)), Step::Fetch);
    renewal.fetched("two", at(7200), at(3604));
    assert_eq!(renewal.step(at(3604)), Step::Use("two"));
}

#[test]
fn a_token_that_is_short_or_handed_out_again_is_not_asked_for_all_the_time() {
    let mut renewal = Renewal::default();
    renewal.fetched("short", at(60), at(0));
    assert_eq!(renewal.step(at(29)), Step::Use("short"));
    assert_eq!(renewal.step(at(30)), Step::Renew("short"));
    renewal.fetched("short", at(60), at(55));
    assert_eq!(renewal.step(at(59)), Step::Use("short"));
    assert_eq!(renewal.step(at(60)), Step::Fetch);
}

#[test]
fn a_token_that_the_hub_refuses_is_replaced_once() {
    let mut renewal = Renewal::default();
    renewal.fetched("one", at(3600), at(0));
    assert!(renewal.refused(&"one", at(10)));
    assert_eq!(renewal.step(at(10)), Step::Fetch);
    assert!(renewal.refused(&"one", at(10)), "others wait for the same");
    renewal.fetched("two", at(3600), at(11));
    assert!(renewal.refused(&"one", at(11)), "there is a newer one");
    assert_eq!(renewal.step(at(11)), Step::Use("two"));
    assert!(
        !renewal.refused(&"two", at(12)),
        "the hub refuses whatever it gets"
    );
    assert_eq!(renewal.step(at(12)), Step::Use("two"));
    assert!(renewal.refused(&"two", at(70)));
    renewal.failed(gone(), at(71));
    assert_eq!(
        renewal.step(at(71)),
        Step::Use("two"),
        "the hub may change its mind"
    );
    assert_eq!(renewal.step(at(76)), Step::Fetch);
}

proptest! {
    /// Whatever happens: no token is used past its end, nothing is fetched twice within the pause
    /// after a failure, and who has no good token is never told to use one.
    #[test]
    fn no_token_is_used_past_its_end(
        events in prop::collection::vec((0_i64..400, 0_u8..4, 1_i64..2000), 1..60),
    ) {
        let mut renewal = Renewal::default();
        let (mut now, mut issued, mut failed) = (0, 0, None);
        let mut ends = std::collections::BTreeMap::new();
        for (pause, event, life) in events {
            now += pause;
            match renewal.step(at(now)) {
                Step::Use(token) | Step::Renew(token) => prop_assert!(ends[&token] > now),
                Step::Fetch => {
                    prop_assert!(failed.is_none_or(|at| at + 5 <= now));
                    match event {
                        0 => {
                            renewal.failed(gone(), at(now));
                            failed = Some(now);
                        }
                        _ => {
                            issued += 1;
                            ends.insert(issued, now + life);
                            renewal.fetched(issued, at(now + life), at(now));
                        }
                    }
                }
                Step::Fail(_) => prop_assert!(failed.is_some_and(|at| now < at + 5)),
            }
            if event == 3 {
                renewal.refused(&issued, at(now));
            }
        }
    }
}

/// Issues numbered tokens, each only when it is told to.
#[derive(Debug, Default)]
struct Slow {
    asked: AtomicUsize,
    go: Notify,
    life: Duration,
    fails_from: usize,
}

impl Source for Arc<Slow> {
    fn fetch(&self) -> BoxFuture<'_, Result<Fetched, Trouble>> {
        Box::pin(async {
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            self.go.notified().await;
            if number >= self.fails_from {
                return Err(gone());
            }
            Ok(Fetched {
                token: number.to_string(),
                expiry: later(Timestamp::now(), self.life),
            })
        })
    }
}

fn slow(life: Duration, fails_from: usize) -> (Arc<Slow>, Arc<Bearer>) {
    let slow = Arc::new(Slow {
        life,
        fails_from,
        ..Slow::default()
    });
    let bearer = Bearer::new(Box::new(slow.clone()));
    (slow, Arc::new(bearer))
}

/// Many who need a token at the same moment.
fn crowd(bearer: &Arc<Bearer>) -> impl Future<Output = Vec<Result<HeaderValue, Trouble>>> + use<> {
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let bearer = bearer.clone();
            tokio::spawn(async move { bearer.header().await })
        })
        .collect();
    async {
        let mut headers = Vec::new();
        for call in calls {
            headers.push(call.await.unwrap());
        }
        headers
    }
}

#[tokio::test]
async fn many_callers_wait_for_one_fetch() {
    let (slow, bearer) = slow(HOUR, usize::MAX);
    let crowd = crowd(&bearer);
    slow.go.notify_one();
    for header in crowd.await {
        assert_eq!(header.unwrap(), "Bearer 1");
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
    assert!(bearer.header().await.unwrap().is_sensitive());
}

#[tokio::test]
async fn many_callers_learn_of_one_failure() {
    let (slow, bearer) = slow(HOUR, 0);
    let crowd = crowd(&bearer);
    slow.go.notify_one();
    for header in crowd.await {
        assert_eq!(header.unwrap_err(), gone());
    }
    assert_eq!(slow.asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_token_that_was_refused_is_replaced_with_one_fetch() {
    let (slow, bearer) = slow(HOUR, usize::MAX);
    slow.go.notify_one();
    let first = bearer.header().await.unwrap();
    slow.go.notify_one();
    let (one, other) = tokio::join!(bearer.instead_of(&first), bearer.instead_of(&first));
    assert_eq!(one.as_ref().unwrap(), "Bearer 2");
    assert_eq!(one, other);
    assert_eq!(bearer.instead_of(&one.unwrap()).await, None);
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_old_token() {
    // So short that it is due at once.
    let (slow, bearer) = slow(Duration::from_secs(8), 2);
    slow.go.notify_one();
    let first = bearer.header().await.unwrap();
    lock(&bearer.renewal).held.as_mut().unwrap().renew = Timestamp::UNIX_EPOCH;
    assert_eq!(bearer.header().await.unwrap(), first, "nobody waits for it");
    slow.go.notify_one();
    // Whoever holds it has finished.
    let fetching = tokio::time::timeout(HOUR, async {
        while lock(&bearer.renewal).failure.is_none() {
            drop(bearer.fetching.lock().await);
            tokio::task::yield_now().await;
        }
    });
    fetching.await.unwrap();
    assert_eq!(bearer.header().await.unwrap(), first);
    assert_eq!(slow.asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_cannot_be_used_is_no_token() {
    #[derive(Debug)]
    struct Useless(&'static str, Duration);
    impl Source for Useless {
        fn fetch(&self) -> BoxFuture<'_, Result<Fetched, Trouble>> {
            let token = self.0.to_owned();
            let expiry = later(Timestamp::now(), self.1);
            Box::pin(async move { Ok(Fetched { token, expiry }) })
        }
    }
    for useless in [Useless("a\nb", HOUR), Useless("old", Duration::ZERO)] {
        let bearer = Arc::new(Bearer::new(Box::new(useless)));
        let trouble = bearer.header().await.unwrap_err();
        assert!(matches!(trouble, Trouble::HubDenied(_)), "{trouble}");
    }
}
