//! The proof on a machine that really reboots: a small Debian in a virtual machine.
//!
//! ```text
//!  this machine, loopback                          virtual machine, emulated in software
//!  dmctl ─► mgmt-service ─► hub-emulator ◄── TLS ── device-gateway.deb ─► polkit ─► systemd-logind
//!                                        10.0.2.2
//! ```
//!
//! | what is done | what has to be seen |
//! | --- | --- |
//! | a reboot is asked for through the gRPC service | SUCCEEDED, CAUSED or HEALTHY, another boot id |
//! | somebody presses the power button, which reboots it | the twin says so before it goes down, and after its boot |
//! | the same request where `reboot.target` is masked | FAILED, NO_SHUTDOWN, the same boot id |
//!
//! - [`image`]: the machine's disk, made from Debian's packages and kept below the target folder.
//! - [`machine`]: one virtual machine. [`outside`]: the programs on this side.

mod image;
mod machine;
mod outside;
mod transcript;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};

use crate::{
    deb,
    steps::{root, target_folder},
    tools::{self, Needed},
};
use image::Image;
use machine::Machine;
use outside::{Attempt, Outside};
use transcript::Transcript;

/// What the proof needs beside what building the package needs.
const NEEDED: [Needed; 3] = [
    ("qemu-system-x86", &["qemu-system-x86_64", "--version"]),
    ("mmdebstrap", &["mmdebstrap", "--version"]),
    ("e2fsprogs", &["mke2fs", "-V"]),
];

/// How long an emulated machine may take from its power button to a report, on a busy computer.
const BOOT_LIMIT: Duration = Duration::from_secs(15 * 60);

/// How long an attempt may take.
const VERDICT_LIMIT: Duration = Duration::from_secs(20 * 60);

/// What the gateway's log says when it hears of shutdowns, once in each boot.
const LISTENING: &str = "listening for shutdowns";

/// What polkit has to say in the machine, as the seed prints it.
const RIGHTS: [(&str, bool); 3] = [
    ("rights: device-gateway CanReboot s \"yes\"", true),
    ("rights: device-gateway CanPowerOff s \"yes\"", false),
    ("rights: nobody CanReboot s \"yes\"", false),
];

/// `cargo xtask qemu`: succeeds only when every verdict is right.
pub(crate) fn prove() -> anyhow::Result<()> {
    tools::install(&NEEDED)?;
    let package = deb::build(deb::Architecture::Native)?;
    outside::build()?;
    let folder = target_folder().join("qemu");
    let image = Image::make(&folder)?;
    let mut transcript = Transcript::begin(&image, &package)?;
    it_reboots(&folder, &image, &package, &mut transcript).context("reboot a machine that can")?;
    it_does_not(&folder, &image, &package, &mut transcript).context("ask a machine that cannot")?;
    let text = transcript.end();
    let kept = root().join("docs/qemu-proof.md");
    fs::write(&kept, text).with_context(|| format!("write {}", kept.display()))?;
    tools::say(&format!("every verdict is right: {}", kept.display()));
    Ok(())
}

fn it_reboots(
    folder: &Path,
    image: &Image,
    package: &Path,
    transcript: &mut Transcript,
) -> anyhow::Result<()> {
    transcript.chapter("A machine that reboots");
    let outside = Outside::start(&folder.join("reboots"), "10m")?;
    let mut machine = Machine::boot(&folder.join("reboots"), image, package, &outside, "")?;
    let before = boot_of(&outside, &mut machine, "", transcript)?;
    check_rights(&machine, transcript)?;

    let attempt = outside.reboot(&mut machine, VERDICT_LIMIT)?;
    transcript.attempt(&attempt);
    let after = outside.device()?.boot_id;
    transcript.line(&format!("boot id afterwards: {after}"));
    ensure!(attempt.exit == 0, "dmctl ended with {}", attempt.exit);
    ensure!(attempt.state == "SUCCEEDED", "the verdict is {attempt:?}");
    ensure!(
        attempt.grade == "CAUSED" || attempt.grade == "HEALTHY",
        "the grade is {}",
        attempt.grade
    );
    ensure!(
        !after.is_empty() && after != before,
        "the boot id is {after:?} and was {before:?}"
    );

    transcript.chapter("The same machine, when somebody presses its power button");
    somebody_else_reboots(&outside, &mut machine, &after, transcript)?;
    machine.stop()?;
    transcript.console(&machine);
    Ok(())
}

fn somebody_else_reboots(
    outside: &Outside,
    machine: &mut Machine,
    before: &str,
    transcript: &mut Transcript,
) -> anyhow::Result<()> {
    let verdict = outside.reported()?["requestId"].take();
    machine.wait_for_words(LISTENING, 2, BOOT_LIMIT)?;
    machine.press_the_button()?;
    for (state, what) in [
        ("REBOOTING", "the twin says that the machine goes down"),
        ("SUCCEEDED", "the twin says that it is back"),
    ] {
        let newest = machine.wait(what, BOOT_LIMIT, || {
            let newest = outside.reported().ok()?["history"]["h0"].take();
            (newest["state"] == state).then_some(newest)
        })?;
        transcript.line(&format!("{what}: {newest}"));
        ensure!(newest["origin"] == "LOCAL", "its origin is {newest}");
        ensure!(newest["id"].is_null(), "it is taken for a request's");
    }
    let reported = outside.reported()?;
    transcript.line(&format!("counters: {}", reported["counters"]));
    ensure!(reported["counters"]["unexpected"] == 1, "it is not counted");
    ensure!(
        reported["requestId"] == verdict,
        "it is taken for a request"
    );
    let after = boot_of(outside, machine, before, transcript)?;
    ensure!(after != before, "the boot id is the old one");
    Ok(())
}

fn it_does_not(
    folder: &Path,
    image: &Image,
    package: &Path,
    transcript: &mut Transcript,
) -> anyhow::Result<()> {
    transcript.chapter("The same, with reboot.target masked");
    let outside = Outside::start(&folder.join("masked"), "60s")?;
    let mask = "systemd.mask=reboot.target";
    let mut machine = Machine::boot(&folder.join("masked"), image, package, &outside, mask)?;
    let before = boot_of(&outside, &mut machine, "", transcript)?;
    let attempt = outside.reboot(&mut machine, VERDICT_LIMIT)?;
    transcript.attempt(&attempt);
    let after = outside.device()?.boot_id;
    transcript.line(&format!("boot id afterwards: {after}"));
    ensure!(attempt.exit == 1, "dmctl ended with {}", attempt.exit);
    check_failed(&attempt)?;
    ensure!(after == before, "the boot id changed");
    machine.stop()?;
    transcript.console(&machine);
    Ok(())
}

fn check_failed(attempt: &Attempt) -> anyhow::Result<()> {
    if attempt.state == "FAILED" && attempt.error == "NO_SHUTDOWN" {
        return Ok(());
    }
    bail!("the verdict is {attempt:?}");
}

/// Waits until the machine has reported a boot id other than that one.
fn boot_of(
    outside: &Outside,
    machine: &mut Machine,
    other_than: &str,
    transcript: &mut Transcript,
) -> anyhow::Result<String> {
    let boot_id = machine.wait(
        "the machine reports which boot it is in",
        BOOT_LIMIT,
        || {
            let boot_id = outside.device().ok()?.boot_id;
            (!boot_id.is_empty() && boot_id != other_than).then_some(boot_id)
        },
    )?;
    transcript.line(&format!("boot id: {boot_id}"));
    Ok(boot_id)
}

/// The package's polkit rule gives its user one right, and nobody else any.
fn check_rights(machine: &Machine, transcript: &mut Transcript) -> anyhow::Result<()> {
    let console = machine.console();
    for line in console.lines().filter(|line| line.contains("rights: ")) {
        transcript.line(line.trim());
    }
    for (words, expected) in RIGHTS {
        ensure!(
            console.contains(words) == expected,
            "polkit: `{words}` is expected to be {expected}"
        );
    }
    Ok(())
}
