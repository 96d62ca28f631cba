//! The Debian package of the gateway: built, and looked at by Debian's and systemd's own checkers.
//!
//! The folder `packaging/debian` holds what the package is made of beside the program. The builder is
//! this file rather than debhelper, for a program that cargo builds needs none of what that does.
//!
//! - [`architecture`]: what it is built for, and what building for another machine needs.

mod architecture;

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, bail};

use crate::{
    dist,
    steps::{output, root, run, target_folder},
    tools::{self, Needed},
};

pub(crate) use architecture::Architecture;

/// The package, its unit, its user and its program.
const NAME: &str = "device-gateway";

/// What the program may weigh: it travels over metered links onto small disks.
const TARGET_BYTES: u64 = 3 * 1024 * 1024;

/// Settings to try the program out with, which the package's own are not: they name no device.
const TRY_OUT: &str = r#"
state_dir = "/var/lib/device-gateway"
[[device]]
id = "edge-1"
connection_string = "HostName=hub.example;DeviceId=edge-1;SharedAccessKey=MDEyMzQ1Njc4OTAxMjM0NQ=="
[device.host]
dry_run = true
"#;

/// What building and checking needs.
const NEEDED: [Needed; 3] = [
    ("dpkg-dev", &["dpkg-shlibdeps", "--version"]),
    ("lintian", &["lintian", "--version"]),
    ("systemd", &["systemd-analyze", "--version"]),
];

/// What goes where, and with which rights; below `packaging/debian` unless it begins with `..`.
const FILES: [(&str, &str, u32); 6] = [
    (
        "device-gateway.service",
        "lib/systemd/system/device-gateway.service",
        0o644,
    ),
    (
        "device-gateway.sysusers",
        "usr/lib/sysusers.d/device-gateway.conf",
        0o644,
    ),
    (
        "50-device-gateway.rules",
        "usr/share/polkit-1/rules.d/50-device-gateway.rules",
        0o644,
    ),
    (
        "device-gateway.toml",
        "etc/iothub-dm/device-gateway.toml",
        0o644,
    ),
    ("copyright", "usr/share/doc/device-gateway/copyright", 0o644),
    (
        "lintian-overrides",
        "usr/share/lintian/overrides/device-gateway",
        0o644,
    ),
];

/// What is compressed on the way.
const COMPRESSED: [(&str, &str); 2] = [
    ("device-gateway.8", "usr/share/man/man8/device-gateway.8"),
    ("changelog", "usr/share/doc/device-gateway/changelog"),
];

/// What somebody at the box looks up, of `docs`; it is compressed, too. Of a folder all that is in it.
const DOCUMENTS: [&str; 4] = ["drivers.md", "drivers", "native-mqtt.md", "identities.md"];

/// `cargo xtask deb` and `cargo xtask deb-arm64`: builds the package and has it checked.
pub(crate) fn build_and_check(architecture: Architecture) -> anyhow::Result<()> {
    let package = build(architecture)?;
    check(&package)
}

/// Builds the package; returns where it is.
pub(crate) fn build(architecture: Architecture) -> anyhow::Result<PathBuf> {
    tools::install(&NEEDED)?;
    architecture.prepare()?;
    run(dist::build(&mut architecture.cargo(), &[NAME]))?;
    let program = architecture.target_folder().join("dist").join(NAME);
    weigh(&program)?;

    let folder = target_folder().join("debian");
    let settings = folder.join("try-out.toml");
    write(&settings, TRY_OUT)?;
    architecture.try_out(&program, &settings)?;
    let stage = folder.join("stage");
    if stage.exists() {
        fs::remove_dir_all(&stage).with_context(|| format!("remove {}", stage.display()))?;
    }
    stage_files(&stage, &program)?;
    let version = env!("CARGO_PKG_VERSION");
    let name = architecture.name()?;
    write_control(
        &stage,
        version,
        &name,
        &depends(architecture, &folder, &stage)?,
    )?;

    let package = folder.join(format!("{NAME}_{version}_{name}.deb"));
    run(Command::new("dpkg-deb")
        // The same sources make the same package.
        .env("SOURCE_DATE_EPOCH", commit_time()?)
        .args(["--root-owner-group", "-Zxz", "--build"])
        .args([&stage, &package]))?;
    Ok(package)
}

/// Says what the program weighs.
fn weigh(program: &Path) -> anyhow::Result<()> {
    let bytes = fs::metadata(program)
        .with_context(|| format!("look at {}", program.display()))?
        .len();
    let verdict = if bytes <= TARGET_BYTES {
        "within"
    } else {
        "above"
    };
    tools::say(&format!(
        "{}: {bytes} bytes, {verdict} the target of {TARGET_BYTES}",
        program.display()
    ));
    Ok(())
}

fn stage_files(stage: &Path, program: &Path) -> anyhow::Result<()> {
    let source = root().join("packaging/debian");
    place(program, &stage.join("usr/sbin").join(NAME), 0o755)?;
    for (from, to, mode) in FILES {
        place(&source.join(from), &stage.join(to), mode)?;
    }
    for (from, to) in COMPRESSED {
        compress(&source.join(from), &stage.join(to))?;
    }
    let docs = source.join("../../docs");
    for document in documents(&docs)? {
        let to = Path::new("usr/share/doc/device-gateway").join(&document);
        compress(&docs.join(document), &stage.join(to))?;
    }
    // Only root looks in there; systemd hands the gateway its copies.
    let credentials = stage.join("etc/iothub-dm/credentials");
    fs::create_dir_all(&credentials).context("make the folder of the credentials")?;
    set_mode(&credentials, 0o700)?;
    for script in ["postinst", "prerm", "postrm"] {
        place(
            &source.join(script),
            &stage.join("DEBIAN").join(script),
            0o755,
        )?;
    }
    place(
        &source.join("conffiles"),
        &stage.join("DEBIAN/conffiles"),
        0o644,
    )
}

/// The files of [`DOCUMENTS`], below `docs`.
fn documents(docs: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for document in DOCUMENTS.map(PathBuf::from) {
        let path = docs.join(&document);
        if path.is_dir() {
            let doing = || format!("list {}", path.display());
            for entry in fs::read_dir(&path).with_context(doing)? {
                files.push(document.join(entry.with_context(doing)?.file_name()));
            }
        } else {
            files.push(document);
        }
    }
    Ok(files)
}

fn compress(from: &Path, to: &Path) -> anyhow::Result<()> {
    place(from, to, 0o644)?;
    run(Command::new("gzip").args(["-9", "--no-name"]).arg(to))
}

/// The libraries that the program was linked with, as Debian names them.
fn depends(architecture: Architecture, folder: &Path, stage: &Path) -> anyhow::Result<String> {
    // It reads the name of the source package here.
    let control = folder.join("debian/control");
    write(
        &control,
        "Source: device-gateway\n\nPackage: device-gateway\nArchitecture: any\n",
    )?;
    let program = stage.join("usr/sbin").join(NAME);
    let found = output(
        architecture
            .shlibdeps()
            .current_dir(folder)
            .arg("-O")
            .arg(program),
    )?;
    match found.strip_prefix("shlibs:Depends=") {
        Some(depends) => Ok(architecture.depends(depends)),
        None => bail!("dpkg-shlibdeps says {found:?}"),
    }
}

fn write_control(
    stage: &Path,
    version: &str,
    architecture: &str,
    depends: &str,
) -> anyhow::Result<()> {
    let bytes = bytes_below(stage)?;
    let template = root().join("packaging/debian/control");
    let control = fs::read_to_string(&template)
        .with_context(|| format!("read {}", template.display()))?
        .replace("@VERSION@", version)
        .replace("@ARCHITECTURE@", architecture)
        .replace("@INSTALLED_SIZE@", &bytes.div_ceil(1024).to_string())
        .replace("@DEPENDS@", depends);
    write(&stage.join("DEBIAN/control"), &control)?;
    let sums = output(Command::new("sh").current_dir(stage).args([
        "-c",
        "find etc lib usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum | grep -v ' etc/'",
    ]))?;
    write(&stage.join("DEBIAN/md5sums"), &format!("{sums}\n"))
}

/// Has the package looked at.
fn check(package: &Path) -> anyhow::Result<()> {
    let stage = target_folder().join("debian/stage");
    let unit = stage.join("lib/systemd/system/device-gateway.service");
    // A copy that names the staged program, for the checker wants to find it.
    let staged = fs::read_to_string(&unit)
        .context("read the unit")?
        .replace("=/usr/sbin/", &format!("={}/usr/sbin/", stage.display()));
    let copy = target_folder().join("debian/verify/device-gateway.service");
    write(&copy, &staged)?;
    run(Command::new("systemd-analyze")
        .args(["verify", "--man=no", "--recursive-errors=no"])
        .arg(&copy))?;
    // In tenths: 2.0 is what systemd calls well contained, its scale ends at 10.
    run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--no-pager", "--threshold=20"])
        .arg(&unit))?;
    run(Command::new("lintian")
        .args(["--fail-on", "error,warning"])
        .args(if tools::is_root() {
            &["--allow-root"][..]
        } else {
            &[]
        })
        .arg(package))?;
    tools::say(&format!("{} is good", package.display()));
    Ok(())
}

fn commit_time() -> anyhow::Result<String> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(time) => Ok(time),
        Err(_) => {
            output(
                Command::new("git")
                    .current_dir(root())
                    .args(["log", "-1", "--format=%ct"]),
            )
        }
    }
}

fn place(from: &Path, to: &Path, mode: u32) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
    set_mode(path, 0o644)
}

fn set_mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the rights of {}", path.display()))
}

fn bytes_below(folder: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() {
            bytes_below(&entry.path())?
        } else {
            metadata.len()
        };
    }
    Ok(bytes)
}
