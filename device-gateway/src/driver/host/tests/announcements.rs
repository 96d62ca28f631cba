//! Shutdowns that somebody else asks for.

use tokio::sync::mpsc;

use super::*;

const LIMIT: Duration = Duration::from_secs(30);

async fn next(notices: &mut mpsc::Receiver<Notice>) -> Notice {
    let notice = time::timeout(LIMIT, notices.recv()).await;
    notice.expect("a notice in time").expect("a listener")
}

/// Waits until logind lists an inhibitor of ours, or does not.
async fn until_held(bus: &TestBus, held: bool) {
    let logind = Logind::new(Some(bus.address.clone()));
    let listed = async {
        while logind
            .delays()
            .await
            .unwrap()
            .contains(&"device-gateway".to_owned())
            != held
        {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    let limit = time::timeout(LIMIT, listed).await;
    limit.unwrap_or_else(|_| panic!("expected held to become {held}"));
}

#[tokio::test]
async fn a_shutdown_waits_until_we_have_let_go() {
    let world = World::start("yes").await;
    let mut notices = world.driver().notices().unwrap();
    until_held(&world.bus, true).await;
    // It only delays, so it forbids us nothing ourselves.
    assert!(
        world
            .driver()
            .blockers(Mode::Graceful)
            .await
            .unwrap()
            .is_empty()
    );

    world.bus.announce_shutdown(true).await;
    let Notice::ShutdownBegins(delay) = next(&mut notices).await else {
        panic!("expected a shutdown");
    };
    until_held(&world.bus, true).await;
    drop(delay);
    until_held(&world.bus, false).await;

    world.bus.announce_shutdown(false).await;
    assert!(matches!(
        next(&mut notices).await,
        Notice::ShutdownCalledOff
    ));
    until_held(&world.bus, true).await;
    world.bus.announce_shutdown(true).await;
    assert!(matches!(
        next(&mut notices).await,
        Notice::ShutdownBegins(_)
    ));
}

#[tokio::test]
async fn who_listens_no_more_delays_nothing() {
    let world = World::start("yes").await;
    let notices = world.driver().notices();
    until_held(&world.bus, true).await;
    drop(notices);
    until_held(&world.bus, false).await;
}
