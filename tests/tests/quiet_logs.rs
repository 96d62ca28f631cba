//! Normal work logs nothing that a person has to look at.

use iothubdm_proto::v1::AttemptState;
use iothubdm_tests::{Behavior, DeviceSetup, World};

#[tokio::test]
async fn a_reboot_that_goes_well_logs_no_warning() {
    let mut world = World::with_device(DeviceSetup::new("pump-1", Behavior::WellBehaved)).await;
    assert_eq!(
        world.reboot_to_end("pump-1").await.state(),
        AttemptState::Succeeded
    );
    let logs = world.logs();
    assert_eq!(world.stop_service().await, Some(0));
    for line in logs.lines() {
        assert!(!line.contains("WARN") && !line.contains("ERROR"), "{line}");
    }
    assert!(logs.contains("INFO"), "{logs}");
    assert!(
        !logs.contains("SharedAccessKey=") && !logs.contains("sig="),
        "{logs}"
    );
}
