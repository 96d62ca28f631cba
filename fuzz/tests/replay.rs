//! What is kept in the corpus, and what a fuzzer has left, keeps its promises.

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use iothubdm_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn names_in(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn every_target_has_its_corpus_and_every_corpus_its_target() {
    let targets: BTreeSet<String> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(targets, names_in(&folder("corpus")));
    for target in &targets {
        let seeds = names_in(&folder("corpus").join(target));
        assert!(!seeds.is_empty(), "{target}");
    }
}

#[test]
fn what_was_kept_keeps_its_promises() {
    for target in TARGETS {
        (target.run)(b"");
        for kind in ["corpus", "artifacts"] {
            let folder = folder(kind).join(target.name);
            for name in names_in(&folder) {
                let path = folder.join(&name);
                let data = fs::read(&path).unwrap();
                let result = catch_unwind(|| (target.run)(&data));
                assert!(result.is_ok(), "{} breaks {}", path.display(), target.name);
            }
        }
    }
}
