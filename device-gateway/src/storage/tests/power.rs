//! A thousand times the power goes while the journal is written.
//!
//! The disk keeps what was synced. Of what was written since, any part may have arrived, in any order,
//! and the last of it torn.

use std::sync::atomic::AtomicUsize;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;

const RUNS: u64 = 1_000;

/// Where the power goes, in uses of the disk after the file is there.
const LONGEST: usize = 40;

/// A disk that loses its power.
#[derive(Debug, Clone)]
struct Plate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    synced: Vec<u8>,
    /// As the operating system shows it.
    seen: Vec<u8>,
    pending: Vec<Pending>,
    /// How many more uses there is power for.
    power: usize,
}

#[derive(Debug, Clone)]
enum Pending {
    Length(usize),
    Write(usize, Vec<u8>),
}

impl Plate {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            synced: Vec::new(),
            seen: Vec::new(),
            pending: Vec::new(),
            power: usize::MAX,
        })))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Uses the disk for something that a loss of power may prevent.
    fn with_power<T>(&self, work: impl FnOnce(&mut State) -> T) -> io::Result<T> {
        let mut state = self.state();
        if state.power == 0 {
            return Err(io::Error::other("the power is gone"));
        }
        state.power -= 1;
        Ok(work(&mut state))
    }

    /// The power is back: what was not synced arrived in part.
    fn restart(&self, random: &mut StdRng) {
        let mut state = self.state();
        let mut image = std::mem::take(&mut state.synced);
        let mut pending = std::mem::take(&mut state.pending);
        // The length first: what is written behind the end makes the file longer in any case.
        for index in (1..pending.len()).rev() {
            pending.swap(index, random.random_range(0..=index));
        }
        for pending in pending {
            match pending {
                Pending::Length(length) if random.random_bool(0.5) => image.resize(length, 0),
                Pending::Write(offset, data) if random.random_bool(0.6) => {
                    let torn = random.random_bool(0.3);
                    let whole = data.len();
                    let length = if torn {
                        random.random_range(0..=whole)
                    } else {
                        whole
                    };
                    if image.len() < offset + length {
                        image.resize(offset + length, 0);
                    }
                    image[offset..offset + length].copy_from_slice(&data[..length]);
                }
                Pending::Length(_) | Pending::Write(..) => {}
            }
        }
        state.seen = image.clone();
        state.synced = image;
        state.power = usize::MAX;
    }
}

impl StorageBackend for Plate {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.state();
        let offset = place(offset);
        let there = state.seen.get(offset..offset + out.len());
        out.copy_from_slice(there.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = place(len);
        self.with_power(|state| {
            state.seen.resize(len, 0);
            state.pending.push(Pending::Length(len));
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with_power(|state| {
            state.synced = state.seen.clone();
            state.pending.clear();
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = place(offset);
        self.with_power(|state| {
            state.seen[offset..offset + data.len()].copy_from_slice(data);
            state.pending.push(Pending::Write(offset, data.to_vec()));
        })
    }
}

fn place(at: u64) -> usize {
    usize::try_from(at).unwrap()
}

fn open(plate: &Plate) -> Result<Storage, StorageError> {
    let plate = plate.clone();
    let cache = 256 * 1024;
    let storage = Storage::with_opener(move || {
        let mut builder = Database::builder();
        builder.set_cache_size(cache);
        opened(builder.create_with_backend(plate.clone()))
    });
    storage.with_database(|_| Ok(()))?;
    Ok(storage)
}

/// What a device's journal says when it was written for the nth time.
fn record(seq: u64) -> Record {
    Record {
        journal: Journal {
            seq,
            boot_id: Some("x".repeat(usize::try_from(seq % 7).unwrap() * 100)),
            ..Journal::default()
        },
        ended: vec![ended(seq)],
    }
}

#[test]
fn what_was_written_survives_a_thousand_losses_of_power() {
    let lost_in_flight = AtomicUsize::new(0);
    for run in 0..RUNS {
        let mut random = StdRng::seed_from_u64(run);
        let devices = [device("d1"), device("d2")];
        let plate = Plate::new();
        let mut written = [0_u64; 2];
        let mut storage = open(&plate).unwrap();
        for life in 0..2 {
            plate.state().power = random.random_range(0..LONGEST);
            let mut attempted = written;
            let together = loop {
                // One of the two, or both at the same moment.
                let first = random.random_range(0..2);
                let group = match random.random_bool(0.5) {
                    true => vec![first],
                    false => vec![first, 1 - first],
                };
                let works = group.iter().map(|which| {
                    attempted[*which] = written[*which] + 1;
                    record_of(&devices[*which], &record(attempted[*which])).unwrap()
                });
                let works = works.collect();
                if storage.commit(works, true).is_err() {
                    break group.len() == 2;
                }
                written = attempted;
            };
            // The process goes with the power.
            drop(storage);
            plate.restart(&mut random);
            storage = open(&plate).unwrap_or_else(|error| panic!("run {run}, {life}: {error:?}"));
            let mut arrived = Vec::new();
            for (which, id) in devices.iter().enumerate() {
                let kept = storage.with_database(|database| load(database, id));
                let kept = kept.unwrap_or_else(|error| panic!("run {run}, {life}: {error:?}"));
                let seq = kept.journal.seq;
                // What was under way is there whole or not at all, and so is what was with it.
                arrived.push(seq == attempted[which]);
                assert!(
                    seq == written[which] || seq == attempted[which],
                    "run {run}, {life}: {seq} of {written:?}, {attempted:?}"
                );
                if seq > 0 {
                    assert_eq!(kept.journal, record(seq).journal, "run {run}, {life}");
                    let newest = kept.remembered.find(ended(seq).id);
                    assert_eq!(newest, Some(&ended(seq)), "run {run}, {life}");
                }
                if seq != attempted[which] {
                    lost_in_flight.fetch_add(1, Ordering::Relaxed);
                }
                written[which] = seq;
            }
            if together {
                assert_eq!(arrived[0], arrived[1], "run {run}, {life}");
            }
        }
    }
    let lost = lost_in_flight.into_inner();
    assert!(
        lost > 100,
        "the power goes while something is written: {lost}"
    );
}
