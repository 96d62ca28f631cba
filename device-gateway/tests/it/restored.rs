//! A journal that is put back from a backup, while the request it has forgotten is sent again.

use std::fs;

use serde_json::json;

use crate::world::{ID, World};

#[tokio::test]
async fn a_journal_from_a_backup_does_not_carry_a_reboot_out_again() {
    let mut world = World::start().await;
    world.reported(|reboot| reboot["bootId"] == "boot-0").await;
    world.stop_gateway().await;
    let journal = world.state_dir().join("state").join("gateway.redb");
    let backup = fs::read(&journal).unwrap();
    world.start_gateway();
    world.reboot().await;
    let before = world.state("SUCCEEDED").await;
    world.stop_gateway().await;

    fs::write(&journal, backup).unwrap();
    world.start_gateway();
    world.connected().await;
    let again = world.reboot().await;
    assert_eq!(
        (&again["state"], &again["duplicate"]),
        (&json!("SUCCEEDED"), &json!(true))
    );
    let known = |reboot: &serde_json::Value| reboot["seq"].as_u64() > before["seq"].as_u64();
    let reported = world.reported(known).await;
    assert_eq!(reported["requestId"], ID);
    assert_eq!(reported["timeline"], before["timeline"]);
    assert_eq!(reported["counters"]["total"], 1);
    assert_eq!(world.device.orders().len(), 1);
}
