//! The programs as they are packed: small, for they travel over metered links onto small disks.
//!
//! The profile `dist` says how they are compiled, and AWS-LC leaves out what makes it large when it is
//! compiled for size. What neither says is here: what SQLite leaves out.

use std::{env, process::Command};

/// The variable that SQLite is compiled by; what it says for all builds stays.
const SQLITE: &str = "LIBSQLITE3_FLAGS";

/// What the store never asks SQLite for: full-text search, R-trees, tables about its own file, and
/// libraries loaded at run time.
const WITHOUT: &str = "-USQLITE_ENABLE_FTS3 -USQLITE_ENABLE_FTS3_PARENTHESIS \
    -USQLITE_ENABLE_FTS5 -USQLITE_ENABLE_RTREE -USQLITE_ENABLE_DBSTAT_VTAB \
    -DSQLITE_OMIT_LOAD_EXTENSION";

/// Has a cargo build the programs of some packages as they are packed.
pub(crate) fn build<'a>(cargo: &'a mut Command, packages: &[&str]) -> &'a mut Command {
    let for_all = env::var(SQLITE).unwrap_or_default();
    cargo
        .args(["build", "--profile", "dist", "--bins"])
        .env(SQLITE, format!("{for_all} {WITHOUT}"));
    for package in packages {
        cargo.args(["--package", package]);
    }
    cargo
}
