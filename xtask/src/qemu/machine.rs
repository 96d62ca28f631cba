//! One virtual machine: its disks, its network, its console, its power button.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use super::{image::Image, outside::Outside};
use crate::{steps::run, tools};

/// How often a condition outside this process is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The limits are short enough for a machine that never goes down to be found out soon, and long
/// enough for an emulated one to go down.
const SETTINGS: &str = r#"state_dir = "/var/lib/device-gateway"
[gateway]
id = "edge-1"
[hub]
mqtt_port = @PORT@
ca_file = "/etc/iothub-dm/ca.pem"
[[device]]
id = "edge-1"
connection_string_file = "/run/credentials/device-gateway.service/device_edge-1"
settle = "5s"
go_down_limit = "@GO_DOWN_LIMIT@"
return_limit = "15m"
[device.host]
"#;

/// A virtual machine that runs. It ends with this value.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    monitor: ChildStdin,
    console: PathBuf,
    booted: Instant,
}

impl Machine {
    /// Starts a machine from a fresh copy of the image, with the package on its second disk.
    pub(crate) fn boot(
        folder: &Path,
        image: &Image,
        package: &Path,
        outside: &Outside,
        kernel_arguments: &str,
    ) -> anyhow::Result<Self> {
        let seed = write_seed(folder, package, outside)?;
        let console = folder.join("console.log");
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-nodefaults", "-no-user-config", "-display", "none"])
            .args(["-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", "512"])
            .args(["-rtc", "base=utc", "-device", "virtio-rng-pci"])
            .arg("-kernel")
            .arg(&image.kernel)
            .arg("-initrd")
            .arg(&image.ramdisk)
            .arg("-append")
            .arg(format!(
                "root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 {kernel_arguments}"
            ))
            // What is written is kept until the machine ends, over its reboots, and then forgotten.
            .args(["-drive", &drive(&image.disk, "snapshot=on")])
            .args(["-drive", &drive(&seed, "readonly=on")])
            // Nothing but this machine's loopback can be reached.
            .args(["-netdev", "user,id=net,restrict=off"])
            .args(["-device", "virtio-net-pci,netdev=net"])
            .args(["-serial", &format!("file:{}", console.display())])
            .args(["-monitor", "stdio"])
            .stdin(Stdio::piped())
            .stdout(log(folder, "monitor.log")?)
            .stderr(log(folder, "qemu.log")?);
        let mut child = command.spawn().context("start qemu-system-x86_64")?;
        let monitor = child.stdin.take().context("reach the machine's monitor")?;
        tools::say(&format!(
            "a machine boots; its console: {}",
            console.display()
        ));
        Ok(Self {
            child,
            monitor,
            console,
            booted: Instant::now(),
        })
    }

    /// Waits until `look` finds something, as long as the machine runs.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = look() {
                tools::say(&format!("after {:.0?}: {what}", self.booted.elapsed()));
                return Ok(found);
            }
            if let Some(status) = self.child.try_wait().context("look at the machine")? {
                bail!("the machine ended ({status}) before {what}");
            }
            if Instant::now() >= deadline {
                bail!(
                    "waited {limit:?} in vain: {what}; see {}",
                    self.console.display()
                );
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Waits until the console has shown those words so often.
    pub(crate) fn wait_for_words(
        &mut self,
        words: &str,
        times: usize,
        limit: Duration,
    ) -> anyhow::Result<()> {
        let console = self.console.clone();
        self.wait(&format!("the console shows `{words}`"), limit, || {
            let shown = read(&console).matches(words).count();
            (shown >= times).then_some(())
        })
    }

    /// Presses the power button, which the image takes for an order to reboot.
    pub(crate) fn press_the_button(&mut self) -> anyhow::Result<()> {
        self.tell("system_powerdown")
    }

    /// Pulls the plug.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        self.tell("quit")?;
        self.child.wait().context("wait for the machine's end")?;
        Ok(())
    }

    /// All that the machine's console has shown.
    pub(crate) fn console(&self) -> String {
        read(&self.console)
    }

    fn tell(&mut self, command: &str) -> anyhow::Result<()> {
        writeln!(self.monitor, "{command}")
            .and_then(|()| self.monitor.flush())
            .with_context(|| format!("tell the machine: {command}"))
    }
}

fn read(console: &Path) -> String {
    let bytes = fs::read(console).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It has ended already where everything went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the second disk: an archive, for a machine needs no file system to read it.
fn write_seed(folder: &Path, package: &Path, outside: &Outside) -> anyhow::Result<PathBuf> {
    let content = folder.join("seed");
    fs::create_dir_all(&content).with_context(|| format!("make {}", content.display()))?;
    fs::copy(package, content.join("device-gateway.deb")).context("copy the package")?;
    fs::copy(outside.ca_file(), content.join("ca.pem")).context("copy the authority")?;
    let settings = SETTINGS
        .replace("@PORT@", &outside.mqtt_port().to_string())
        .replace("@GO_DOWN_LIMIT@", outside.go_down_limit());
    let texts = [
        ("device-gateway.toml", settings),
        ("edge-1", outside.connection_string().to_owned()),
        ("hosts", format!("10.0.2.2 {}\n", outside.hub_name())),
    ];
    for (name, text) in texts {
        fs::write(content.join(name), text).with_context(|| format!("write {name}"))?;
    }
    let seed = folder.join("seed.tar");
    run(Command::new("tar")
        .arg("--create")
        .arg("--file")
        .arg(&seed)
        .arg("--directory")
        .arg(&content)
        .arg("."))?;
    Ok(seed)
}

fn drive(file: &Path, more: &str) -> String {
    format!("file={},if=virtio,format=raw,{more}", file.display())
}

pub(super) fn log(folder: &Path, name: &str) -> anyhow::Result<File> {
    let path = folder.join(name);
    File::create(&path).with_context(|| format!("make {}", path.display()))
}
