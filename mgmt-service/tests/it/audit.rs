//! The audit: who asked, from where, why, and what became of it.

use iot_hub::reboot::{Grade, State};
use iothubdm_proto::v1::{AttemptState, CancelRebootRequest, RebootRequest};
use rusqlite::Connection;

use crate::{
    device::Device,
    world::{World, request},
};

/// Each line's action, device, reason and verdict; checks who and from where.
fn lines(world: &World) -> Vec<[String; 4]> {
    let database = Connection::open(world.folder.path().join("mgmt-service.db")).unwrap();
    // That somebody looks is written beside the calls, hence in no certain order.
    let sql = "SELECT who, origin, action, device, why, verdict, evidence FROM audit
               WHERE action IN ('REBOOT', 'CANCEL') ORDER BY seq";
    let mut statement = database.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let (who, origin): (String, String) = (row.get(0)?, row.get(1)?);
        assert_eq!(who, "anonymous");
        assert!(origin.starts_with("127.0.0.1:"), "{origin}");
        let verdict: String = row.get(5)?;
        let evidence: String = row.get(6)?;
        let verdict = format!("{verdict} {evidence}").trim_end().to_owned();
        Ok([row.get(2)?, row.get(3)?, row.get(4)?, verdict])
    });
    rows.unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn every_decision_has_a_line_with_its_verdict() {
    let mut world = World::start().await;
    let mut device = Device::native(&world.emulator, "pump-1").await;
    world.emulator.register(&"offline".parse().unwrap());
    let because = |device: &str| RebootRequest {
        reason: "kernel".into(),
        ..request(device)
    };
    let reboot = world.ask_meanwhile(because("pump-1"));
    let call = device.called().await;
    let id = device.accept(&call, State::Rebooting).await;
    let name = reboot.await.unwrap().unwrap().name;
    world.ask(because("pump-1")).await.unwrap_err();
    world.ask(because("offline")).await.unwrap_err();
    let cancel = CancelRebootRequest {
        name: name.clone(),
        reason: "changed my mind".into(),
        abandon: false,
    };
    world.client.cancel_reboot(cancel).await.unwrap_err();
    device.succeed(id, Grade::Caused).await;
    world.reaches(&name, AttemptState::Succeeded).await;
    let expected = [
        ["REBOOT", "pump-1", "kernel", "SUCCEEDED CAUSED mqtt-birth"],
        ["REBOOT", "pump-1", "kernel", "DEVICE_BUSY"],
        ["REBOOT", "offline", "kernel", "the device is not connected"],
        ["CANCEL", "pump-1", "changed my mind", "ASKED"],
        ["CANCEL", "pump-1", "changed my mind", "TOO_LATE"],
    ];
    assert_eq!(lines(&world), expected);
}
