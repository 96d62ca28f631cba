//! Writes that wait at the same moment share a sync, and each is answered after it.

use std::{sync::Condvar, time::Duration};

use tokio::{task::JoinHandle, time};

use super::*;

/// The syncs of a disk: counted, and held up while a test says so.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    count: usize,
    held: bool,
    /// One is held up.
    waits: bool,
}

impl Syncs {
    /// The disk has to sync.
    pub(super) fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.count += 1;
        while state.held {
            state.waits = true;
            state = self.changed.wait(state).unwrap();
        }
        state.waits = false;
    }

    fn hold(&self, held: bool) {
        self.state.lock().unwrap().held = held;
        self.changed.notify_all();
    }

    fn waits(&self) -> bool {
        self.state.lock().unwrap().waits
    }

    fn count(&self) -> usize {
        self.state.lock().unwrap().count
    }
}

struct World {
    storage: Storage,
    syncs: Arc<Syncs>,
    full: Arc<AtomicBool>,
    _folder: tempfile::TempDir,
}

type Writing = JoinHandle<Result<(), StorageError>>;

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (syncs, full) = (Arc::default(), Arc::default());
        let world = Self {
            storage: on_disk_with(folder.path(), &full, &syncs),
            syncs,
            full,
            _folder: folder,
        };
        // From here on the file is open.
        assert_eq!(world.seq("alone").await, 0);
        world
    }

    fn write(&self, id: &str) -> Writing {
        let (storage, id) = (self.storage.clone(), device(id));
        tokio::spawn(async move {
            let journal = Journal {
                seq: 1,
                ..Journal::default()
            };
            let ended = Vec::new();
            storage.write_record(&id, Record { journal, ended }).await
        })
    }

    /// A write that is under way, and so many others that wait behind it.
    async fn crowd(&self, count: usize) -> Vec<Writing> {
        self.syncs.hold(true);
        let mut writing = vec![self.write("first")];
        until(|| self.syncs.waits()).await;
        writing.extend((0..count).map(|number| self.write(&format!("d{number}"))));
        until(|| self.storage.group.len() == count).await;
        writing
    }

    async fn seq(&self, id: &str) -> u64 {
        self.storage.load(&device(id)).await.unwrap().journal.seq
    }
}

impl Drop for World {
    /// A test that fails does not wait for the disk.
    fn drop(&mut self) {
        self.syncs.hold(false);
    }
}

async fn until(happened: impl Fn() -> bool) {
    let happening = async {
        while !happened() {
            task::yield_now().await;
        }
    };
    let limit = Duration::from_secs(30);
    time::timeout(limit, happening).await.unwrap();
}

#[tokio::test]
async fn writes_that_wait_together_share_a_sync_and_none_is_answered_before_it() {
    let world = World::new().await;
    let before = world.syncs.count();
    world.write("alone").await.unwrap().unwrap();
    let each = world.syncs.count() - before;

    let before = world.syncs.count();
    let writing = world.crowd(20).await;
    assert!(writing.iter().all(|writing| !writing.is_finished()));
    world.syncs.hold(false);
    for writing in writing {
        writing.await.unwrap().unwrap();
    }
    assert_eq!(world.syncs.count() - before, 2 * each);
    for id in ["alone", "first", "d0", "d19"] {
        assert_eq!(world.seq(id).await, 1, "{id}");
    }
}

#[tokio::test]
async fn a_failed_sync_fails_every_write_that_waits_for_it_and_none_of_them_happened() {
    let world = World::new().await;
    let writing = world.crowd(5).await;
    world.full.store(true, Ordering::SeqCst);
    world.syncs.hold(false);
    for writing in writing {
        writing.await.unwrap().unwrap_err();
    }
    world.full.store(false, Ordering::SeqCst);
    let kept = in_the_end(async || world.storage.load(&device("d0")).await).await;
    assert_eq!(kept.journal.seq, 0);
    world.write("d0").await.unwrap().unwrap();
    assert_eq!(world.seq("d0").await, 1);
}

#[tokio::test]
async fn a_file_that_has_its_tables_is_opened_without_a_sync_for_them() {
    let world = World::new().await;
    let before = world.syncs.count();
    world.storage.with_database(make_tables).unwrap();
    assert_eq!(world.syncs.count(), before);
}
