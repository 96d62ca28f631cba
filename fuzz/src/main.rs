//! libFuzzer's program: fuzzes the target that the environment variable `FUZZ_TARGET` names.

#![no_main]

use std::env;
use std::sync::LazyLock;

use iothubdm_fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = env::var("FUZZ_TARGET").expect("FUZZ_TARGET names a target");
    let found = TARGETS.iter().find(|target| target.name == name);
    found.expect("FUZZ_TARGET is the name of a target")
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
