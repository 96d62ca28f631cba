//! What is written stays, and what cannot be written is an error.

mod group;
mod power;

use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use folder::FILE;
use iot_hub::reboot::{RequestId, State};
use jiff::Timestamp;
use redb::{StorageBackend, backends::FileBackend};
use serde_json::json;
use uuid::Uuid;

use super::*;

fn device(id: &str) -> DeviceId {
    id.parse().unwrap()
}

/// Leaves nothing that can be understood of a device's journal.
pub(crate) async fn damage(storage: &Storage, device: &DeviceId) {
    let damaged = storage.write_document(JOURNAL, device, "no journal");
    damaged.await.unwrap();
}

fn ended(number: u64) -> Ended {
    Ended {
        number,
        id: RequestId(Uuid::from_u128(number.into())),
        state: State::Succeeded,
        time: Timestamp::UNIX_EPOCH,
        grade: None,
        error: None,
    }
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("new").join("state");
    let mut outbox = Outbox::default();
    outbox.set_target(json!({ "a": 1 }).as_object().unwrap().clone());
    let journal = Journal {
        seq: 7,
        ..Journal::default()
    };
    let storage = Storage::open(&state).unwrap();
    let record = Record {
        journal: journal.clone(),
        ended: vec![ended(1)],
    };
    storage.write_record(&device("d1"), record).await.unwrap();
    storage.write_outbox(&device("d1"), &outbox).await.unwrap();
    drop(storage);

    let storage = Storage::open(&state).unwrap();
    let kept = storage.load(&device("d1")).await.unwrap();
    assert_eq!((kept.journal, kept.outbox), (journal, outbox));
    assert_eq!(kept.remembered.find(ended(1).id), Some(&ended(1)));
    let other = storage.load(&device("d10")).await.unwrap();
    assert_eq!(other.journal, Journal::default());
    assert_eq!(other.remembered, Remembered::default());
}

#[tokio::test]
async fn only_so_many_ended_attempts_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    let record = Record {
        journal: Journal::default(),
        ended: (1..=1_010).map(ended).collect(),
    };
    storage.write_record(&device("d1"), record).await.unwrap();
    let kept = storage.load(&device("d1")).await.unwrap();
    assert_eq!(kept.remembered.find(ended(10).id), None);
    assert_eq!(kept.remembered.find(ended(11).id), Some(&ended(11)));
    assert_eq!(kept.remembered.find(ended(1_010).id), Some(&ended(1_010)));
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_stays_as_it_is() {
    let damaged = [
        &b""[..],
        b"no database at all",
        &[0; 4_096],
        &[255; 100_000],
    ];
    for garbage in damaged {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        fs::write(&path, garbage).unwrap();
        let storage = Storage::open(folder.path()).unwrap();
        let error = storage.load(&device("d1")).await.unwrap_err();
        assert!(error.to_string().starts_with("open "), "{error:?}");
        assert!(storage.writes().trouble().is_some());
        storage
            .write_outbox(&device("d1"), &Outbox::default())
            .await
            .unwrap_err();
        assert_eq!(fs::read(&path).unwrap(), garbage);
    }
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_used_as_soon_as_it_can_be() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fs::write(&state, "in the way").unwrap();
    let storage = Storage::open(&state).unwrap();
    storage.load(&device("d1")).await.unwrap_err();
    let trouble = storage.writes().trouble().unwrap();
    assert!(
        trouble.contains("make the folder") && trouble.contains("exists"),
        "{trouble}"
    );
    fs::remove_file(&state).unwrap();
    in_the_end(async || storage.load(&device("d1")).await).await;
    assert_eq!(storage.writes().trouble(), None);
    assert!(state.join(FILE).exists());
}

#[tokio::test]
async fn what_a_process_left_that_died_while_it_made_the_file_is_in_nobodys_way() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("gateway.redb.new"), "half a file").unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    storage.load(&device("d1")).await.unwrap();
    assert!(!folder.path().join("gateway.redb.new").exists());
}

/// What a use of the disk leads to once it can be used again.
async fn in_the_end<T>(mut used: impl AsyncFnMut() -> Result<T, StorageError>) -> T {
    let limit = Instant::now() + Duration::from_secs(30);
    loop {
        match used().await {
            Ok(done) => return done,
            Err(error) => assert!(Instant::now() < limit, "{error:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn a_file_with_a_torn_end_is_an_error_or_whole() {
    let folder = tempfile::tempdir().unwrap();
    drop(Storage::open(folder.path()).unwrap());
    let path = folder.path().join(FILE);
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(whole.len() / 16) {
        fs::write(&path, &whole[..length]).unwrap();
        let _ = Storage::open(folder.path());
    }
}

#[tokio::test]
async fn a_document_of_another_kind_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open(folder.path()).unwrap();
    damage(&storage, &device("d1")).await;
    let error = storage.load(&device("d1")).await.unwrap_err();
    assert_eq!(error.to_string(), "read the journal of d1");
}

#[test]
fn two_gateways_cannot_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let _first = Storage::open(folder.path()).unwrap();
    let error = Storage::open(folder.path()).unwrap_err();
    assert!(
        error.to_string().ends_with("another gateway does"),
        "{error}"
    );
}

/// A disk that can be full.
#[derive(Debug)]
struct Disk {
    file: FileBackend,
    full: Arc<AtomicBool>,
    syncs: Arc<group::Syncs>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.syncs.pass();
        self.check()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}

/// A memory on a disk that is full when a test says so.
pub(crate) fn on_disk(folder: &Path, full: &Arc<AtomicBool>) -> Storage {
    on_disk_with(folder, full, &Arc::default())
}

/// The same, with a say in its syncs.
fn on_disk_with(folder: &Path, full: &Arc<AtomicBool>, syncs: &Arc<group::Syncs>) -> Storage {
    let path = folder.join(FILE);
    let (full, syncs) = (full.clone(), syncs.clone());
    Storage::with_opener(move || {
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| Box::new(redb::Error::Io(error)))?;
        let disk = Disk {
            file: FileBackend::new(file).map_err(|error| Box::new(error.into()))?,
            full: full.clone(),
            syncs: syncs.clone(),
        };
        opened(Database::builder().create_with_backend(disk))
    })
}

/// A database with its tables.
fn opened(database: Result<Database, redb::DatabaseError>) -> Result<Database, StorageError> {
    let database = database.map_err(|error| Box::new(error.into()))?;
    make_tables(&database)?;
    Ok(database)
}

#[tokio::test]
async fn a_full_disk_is_an_error_until_it_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let full = Arc::new(AtomicBool::new(false));
    let storage = on_disk(folder.path(), &full);
    let write = async |seq| {
        let record = Record {
            journal: Journal {
                seq,
                ..Journal::default()
            },
            ended: Vec::new(),
        };
        storage.write_record(&device("d1"), record).await
    };
    write(1).await.unwrap();
    full.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        write(2).await.unwrap_err();
    }
    full.store(false, Ordering::SeqCst);
    let kept = in_the_end(async || storage.load(&device("d1")).await).await;
    assert_eq!(kept.journal.seq, 1);
    write(3).await.unwrap();
    assert_eq!(storage.load(&device("d1")).await.unwrap().journal.seq, 3);
}
