//! The machine's disk: a small Debian, made from Debian's packages, with nothing of the project in it
//! but a unit that installs what a second disk brings.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    steps::{root, run},
    tools,
};

/// What is installed beside Debian's essential packages.
const PACKAGES: &str =
    "systemd-sysv,udev,kmod,dbus,polkitd,initramfs-tools,zstd,linux-image-cloud-amd64";

/// Where they come from.
const MIRROR: &str = "http://deb.debian.org/debian";

/// The release to take where this machine runs no Debian.
const RELEASE: &str = "bookworm";

/// The initial ramdisk holds what the disk needs, for an emulated machine unpacks it slowly.
const RAMDISK: &str = "mkdir -p \"$1/etc/initramfs-tools/conf.d\" \
     && printf 'MODULES=list\\nRESUME=none\\n' > \"$1/etc/initramfs-tools/conf.d/small\" \
     && printf 'virtio_pci\\nvirtio_blk\\next4\\n' > \"$1/etc/initramfs-tools/modules\"";

/// What is written over the packages' files.
const FILES: [(&str, &str); 5] = [
    ("etc/hostname", "edge-1\n"),
    ("etc/hosts", "127.0.0.1 localhost\n127.0.1.1 edge-1\n"),
    ("etc/fstab", "/dev/vda / ext4 defaults 0 1\n"),
    // A person who presses the button reboots the machine without asking the gateway.
    (
        "etc/systemd/logind.conf.d/button.conf",
        "[Login]\nHandlePowerKey=reboot\n",
    ),
    // The console tells what happened when something goes wrong, and nobody signs in there.
    (
        "etc/systemd/journald.conf.d/console.conf",
        "[Journal]\nForwardToConsole=yes\nMaxLevelConsole=info\n",
    ),
];

/// The project's own files in the image, from `xtask/guest`.
const OWN: [(&str, &str); 3] = [
    ("seed", "usr/local/sbin/seed"),
    ("seed.service", "etc/systemd/system/seed.service"),
    ("20-wired.network", "etc/systemd/network/20-wired.network"),
];

/// What is started at boot.
const ENABLED: [(&str, &str); 2] = [
    ("/etc/systemd/system/seed.service", "seed.service"),
    (
        "/lib/systemd/system/systemd-networkd.service",
        "systemd-networkd.service",
    ),
];

/// A disk that a machine can start from, and what starts it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) disk: PathBuf,
    pub(crate) kernel: PathBuf,
    pub(crate) ramdisk: PathBuf,
}

impl Image {
    /// Makes the image. Debian's part of it, which takes long, is kept from an earlier run by the
    /// same recipe.
    pub(crate) fn make(folder: &Path) -> anyhow::Result<Self> {
        let tree = folder.join("tree");
        let made_by = folder.join("recipe");
        let recipe = recipe();
        if fs::read_to_string(&made_by).is_ok_and(|made_by| made_by == recipe) {
            tools::say("Debian is there from an earlier run");
        } else {
            let _ = fs::remove_file(&made_by);
            // mmdebstrap makes the tree, and nothing above it.
            fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
            bootstrap(&tree)?;
            fs::write(&made_by, recipe).context("note the recipe")?;
        }
        furnish(&tree)?;
        write_disk(&tree, &folder.join("disk.ext4"))?;
        Ok(Self {
            disk: folder.join("disk.ext4"),
            kernel: newest(&tree.join("boot"), "vmlinuz-")?,
            ramdisk: newest(&tree.join("boot"), "initrd.img-")?,
        })
    }
}

/// All that decides what Debian's part is, and where the rest goes: what is written there in one run
/// would stay for the next, were it not written again.
fn recipe() -> String {
    let mut recipe = format!("{MIRROR} {} {PACKAGES}\n{RAMDISK}\n", release());
    let files = FILES.iter().map(|(path, _)| path);
    let own = OWN.iter().map(|(_, path)| path);
    let enabled = ENABLED.iter().map(|(_, name)| name);
    for name in files.chain(own).chain(enabled) {
        recipe += name;
        recipe += "\n";
    }
    recipe
}

fn bootstrap(tree: &Path) -> anyhow::Result<()> {
    if tree.exists() {
        fs::remove_dir_all(tree).with_context(|| format!("remove {}", tree.display()))?;
    }
    if !tools::is_root() {
        bail!("making the image takes root's rights, for it holds other users' files");
    }
    run(Command::new("mmdebstrap")
        .args(["--mode=root", "--variant=essential"])
        .arg(format!("--include={PACKAGES}"))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(
            ["doc", "man", "locale"]
                .map(|what| format!("--dpkgopt=path-exclude=/usr/share/{what}/*")),
        )
        .arg(format!("--essential-hook={RAMDISK}"))
        .arg(release())
        .arg(tree)
        .arg(MIRROR))
}

/// The release of this machine, whose libraries the program was linked with.
fn release() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
            .map(|value| value.trim_matches('"').to_owned())
    };
    let debian = field("ID").as_deref() == Some("debian");
    let codename = field("VERSION_CODENAME").filter(|_| debian);
    codename.unwrap_or_else(|| RELEASE.to_owned())
}

fn furnish(tree: &Path) -> anyhow::Result<()> {
    let make_room = |path: &Path| match path.parent() {
        Some(parent) => fs::create_dir_all(parent),
        None => Ok(()),
    };
    for (path, text) in FILES {
        let path = tree.join(path);
        make_room(&path)
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("write {}", path.display()))?;
    }
    for (from, to) in OWN {
        let to = tree.join(to);
        make_room(&to)
            .and_then(|()| fs::copy(own(from), &to))
            .with_context(|| format!("write {}", to.display()))?;
    }
    for (unit, name) in ENABLED {
        let link = tree
            .join("etc/systemd/system/multi-user.target.wants")
            .join(name);
        // It is there when the tree is an earlier run's.
        let _ = fs::remove_file(&link);
        make_room(&link)
            .and_then(|()| symlink(unit, &link))
            .with_context(|| format!("enable {name}"))?;
    }
    Ok(())
}

fn write_disk(tree: &Path, disk: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_file(disk);
    run(Command::new("mke2fs")
        .args(["-q", "-t", "ext4", "-L", "root", "-d"])
        .args([tree, disk])
        .arg("600M"))
}

fn own(name: &str) -> PathBuf {
    root().join("xtask/guest").join(name)
}

fn newest(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().starts_with(prefix)
        })
        .max()
        .with_context(|| format!("find {prefix}* in {}", folder.display()))
}
