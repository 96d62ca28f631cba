//! The mains socket of the device: starts it, keeps its flash, and starts it again.

use std::{env, process::Stdio, time::Duration};

use anyhow::Context as _;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
    signal::unix::{Signal, SignalKind, signal},
    time,
};

use crate::{
    args::Args,
    behavior::Behavior,
    flash::{Flash, FlashFile},
};

/// How long a device may take to go down when it loses its power; then it is killed.
const POWER_OFF_LIMIT: Duration = Duration::from_secs(2);

/// The least time between two boots that nobody asked for, so that a device that cannot run at all
/// does not take the whole machine.
const CRASH_PAUSE: Duration = Duration::from_millis(500);

/// Runs the device until a signal ends both processes.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let file = FlashFile::new(args.state_dir.as_deref(), &args.id);
    let mut buttons = Buttons::new()?;
    let mut flash = match file.load()? {
        Some(mut flash) => {
            flash.boot(false);
            flash
        }
        None => Flash::new(),
    };
    loop {
        file.save(&flash)?;
        let device = Process::start(&flash).await?;
        tracing::info!(
            device = args.id,
            boot_id = %flash.boot_id,
            reset_reason = flash.reset_reason,
            "boots"
        );
        let ended = device.live(&mut flash, &file, &mut buttons).await?;
        let by_itself = flash.pending.is_some();
        let dark = match ended {
            Ended::Off => return Ok(()),
            Ended::Reset => args.boot_time,
            Ended::Exited if !by_itself => args.boot_time.max(CRASH_PAUSE),
            Ended::Exited if args.behavior.stays_dark() => Duration::MAX,
            Ended::Exited if args.behavior == Behavior::Instant => Duration::ZERO,
            Ended::Exited => args.boot_time,
        };
        tracing::info!(device = args.id, "is down");
        if buttons.wait(dark).await == Some(Button::Off) {
            return Ok(());
        }
        flash.boot(by_itself && args.behavior.keeps_boot());
    }
}

/// How one life of the device ended.
enum Ended {
    /// It exited.
    Exited,
    /// The reset button was pressed.
    Reset,
    /// The supervisor was told to end.
    Off,
}

/// The device's process.
struct Process {
    child: Child,
    /// Its power: it exits when this is dropped.
    power: ChildStdin,
    flash: Lines<BufReader<ChildStdout>>,
}

impl Process {
    async fn start(flash: &Flash) -> anyhow::Result<Self> {
        let program = env::current_exe().context("find the executable")?;
        let mut child = Command::new(program)
            .args(env::args_os().skip(1))
            .arg("--child")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("start the device")?;
        let mut power = child.stdin.take().context("reach the device's input")?;
        let output = child.stdout.take().context("reach the device's output")?;
        let mut line = serde_json::to_vec(flash)?;
        line.push(b'\n');
        // A device that is gone already is found out by its exit.
        if let Err(error) = power.write_all(&line).await {
            tracing::warn!(%error, "the device did not take its flash");
        }
        Ok(Self {
            child,
            power,
            flash: BufReader::new(output).lines(),
        })
    }

    /// Keeps what the device writes until it is gone.
    async fn live(
        mut self,
        flash: &mut Flash,
        file: &FlashFile,
        buttons: &mut Buttons,
    ) -> anyhow::Result<Ended> {
        loop {
            let pressed = tokio::select! {
                line = self.flash.next_line() => match line.context("read the device's flash")? {
                    Some(line) => {
                        *flash = serde_json::from_str(&line).context("read the device's flash")?;
                        file.save(flash)?;
                        continue;
                    }
                    None => {
                        let status = self.child.wait().await.context("wait for the device")?;
                        tracing::debug!(%status, "the device's process ended");
                        return Ok(Ended::Exited);
                    }
                },
                button = buttons.pressed() => button,
            };
            return match pressed {
                Button::Reset => {
                    self.child.kill().await.context("cut the device's power")?;
                    flash.pending = None;
                    Ok(Ended::Reset)
                }
                Button::Off => {
                    drop(self.power);
                    if time::timeout(POWER_OFF_LIMIT, self.child.wait())
                        .await
                        .is_err()
                    {
                        self.child.kill().await.context("kill the device")?;
                    }
                    Ok(Ended::Off)
                }
            };
        }
    }
}

/// What a person can press.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Button {
    Reset,
    Off,
}

/// The signals that stand for buttons.
struct Buttons {
    reset: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Buttons {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listen for signals");
        Ok(Self {
            reset: listen(SignalKind::user_defined1())?,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn pressed(&mut self) -> Button {
        tokio::select! {
            _ = self.reset.recv() => Button::Reset,
            _ = self.interrupt.recv() => Button::Off,
            _ = self.terminate.recv() => Button::Off,
        }
    }

    /// Waits that long, or until a button is pressed.
    async fn wait(&mut self, time: Duration) -> Option<Button> {
        time::timeout(time, self.pressed()).await.ok()
    }
}
