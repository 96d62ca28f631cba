//! Machines that do with the command what they should not, each with a logind on a real bus, and a gateway
//! that goes down with its machine.

use std::{future, sync::Arc};

use super::*;
use crate::{
    driver::conformance::{self, FakeDevice, Look},
    host::test_logind::TestLogind,
};

/// The driver on a machine whose files show the boot that it is in.
#[derive(Debug)]
struct Machine {
    driver: HostDriver,
    device: Arc<FakeDevice>,
}

impl Machine {
    async fn start(device: Arc<FakeDevice>) -> (Arc<dyn Driver>, TestLogind) {
        let told = device.clone();
        let logind = TestLogind::start(move || told.command(None)).await;
        let config = HostConfig {
            bus_address: Some(logind.address.clone()),
            fallback: false,
            boot_id_file: logind.dir.path().join("boot_id"),
            uptime_file: logind.dir.path().join("uptime"),
            ..HostConfig::default()
        };
        let driver = HostDriver {
            sync: || {},
            ..HostDriver::new(config)
        };
        (Arc::new(Self { driver, device }), logind)
    }

    /// Has the files show that. While the machine is down nobody is there to read them.
    async fn show(&self, look: Option<Look>) {
        let Some(look) = look else {
            return future::pending().await;
        };
        let config = &self.driver.config;
        let uptime = look.uptime.as_secs_f64();
        fs::write(&config.boot_id_file, format!("b{}\n", look.boots)).unwrap();
        fs::write(&config.uptime_file, format!("{uptime} 1.0\n")).unwrap();
    }
}

impl Driver for Machine {
    fn probe(&self) -> BoxFuture<'_, Result<Probe, DriverError>> {
        Box::pin(async {
            self.show(self.device.peek()).await;
            self.driver.probe().await
        })
    }

    fn blockers(
        &self,
        mode: Mode,
    ) -> BoxFuture<'_, Result<BTreeMap<String, Blocker>, DriverError>> {
        self.driver.blockers(mode)
    }

    fn baseline(&self) -> BoxFuture<'_, Result<Baseline, DriverError>> {
        Box::pin(async {
            self.show(self.device.look()).await;
            self.driver.baseline().await
        })
    }

    fn trigger<'a>(&'a self, order: &'a Order) -> BoxFuture<'a, Result<Triggered, DriverError>> {
        self.driver.trigger(order)
    }

    fn observe<'a>(
        &'a self,
        baseline: &'a Baseline,
    ) -> BoxFuture<'a, Result<Observation, DriverError>> {
        Box::pin(async {
            self.show(self.device.look()).await;
            self.driver.observe(baseline).await
        })
    }

    fn health(&self) -> BoxFuture<'_, Result<Health, DriverError>> {
        self.driver.health()
    }
}

#[tokio::test]
async fn the_machine_misbehaves_in_seven_ways() {
    conformance::check_machine(Machine::start).await;
}
