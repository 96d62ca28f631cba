//! The hub that a script talks to.

use anyhow::{Context as _, Result, bail};
use hub_emulator::{Emulator, EmulatorConfig};
use tempfile::TempDir;

/// The hub that a script talks to.
#[derive(Debug)]
pub(super) enum ScriptHub<'a> {
    /// Others see it too.
    Shared(&'a Emulator),
    /// The script's own, which it may restart.
    Own(Box<OwnHub>),
}

/// A hub that keeps its state, its authority and its ports over restarts.
#[derive(Debug)]
pub(super) struct OwnHub {
    /// None only if it did not start again.
    emulator: Option<Emulator>,
    config: EmulatorConfig,
    _folder: TempDir,
}

impl OwnHub {
    pub(super) async fn start() -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder")?;
        let mut config = EmulatorConfig {
            ca_dir: Some(folder.path().to_owned()),
            state_file: Some(folder.path().join("hub.state")),
            ..EmulatorConfig::default()
        };
        let emulator = Emulator::start(config.clone()).await?;
        config.https_port = emulator.https_port();
        config.mqtt_port = emulator.mqtt_port();
        Ok(Self {
            emulator: Some(emulator),
            config,
            _folder: folder,
        })
    }
}

impl ScriptHub<'_> {
    pub(super) fn emulator(&self) -> Result<&Emulator> {
        match self {
            Self::Shared(emulator) => Ok(emulator),
            Self::Own(own) => own.emulator.as_ref().context("the hub did not start again"),
        }
    }

    /// Ends the hub and starts it again on the same ports.
    pub(super) async fn restart(&mut self) -> Result<()> {
        let Self::Own(own) = self else {
            bail!("the hub is not this script's own")
        };
        if let Some(emulator) = own.emulator.take() {
            emulator.shutdown().await;
        }
        own.emulator = Some(Emulator::start(own.config.clone()).await?);
        Ok(())
    }
}
