//! A fleet without a hub.

use crate::{config::Config, local_mqtt::Accounts};

use super::*;

#[tokio::test]
async fn what_a_device_that_is_left_alone_after_a_panic_has_for_the_hub_keeps_no_other_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let text = "state_dir = \"state\"\n[local_mqtt]\nlisten = \"127.0.0.1:0\"\n\
                [[device]]\nid = \"d1\"\n\
                connection_string = \"HostName=h;DeviceId=d1;SharedAccessKey=c2VjcmV0c2VjcmV0c2VjcmV0\"\n\
                [device.mqtt]\npassword = \"secret\"\n";
    let mut config = Config::parse(text, folder.path()).unwrap();
    let storage = Storage::open(&config.state_dir).unwrap();
    let accounts = Accounts::at_broker(Arc::default());
    let ground = Ground {
        dialer: Dialer::new(&config.hub).unwrap(),
        link: Arc::new(config.link.clone()),
        gateway: GatewayInfo::default(),
        turnstile: Arc::new(Turnstile::new(1)),
        heart: Heart::new(),
        accounts: Some(accounts.clone()),
        family: Family::default(),
        instruments: Instruments::new(storage.writes(), None),
        telemetry: Bounds::default(),
        drivers: BTreeMap::new(),
        storage,
    };
    for (pause, barred) in [(Duration::ZERO, false), (Duration::from_secs(3_600), true)] {
        let mut fleet = Fleet::new(ground.clone(), CancellationToken::new());
        let device = config.devices.remove(0);
        config = Config::parse(text, folder.path()).unwrap();
        fleet.begin(device, pause).unwrap();
        assert_eq!(accounts.device("d1").unwrap().is_barred(), barred);
    }
}
