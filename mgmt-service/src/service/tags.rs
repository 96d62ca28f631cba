//! The tags of devices, of which some callers' rights depend.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use iot_hub::{identity::DeviceId, twin::Twin};
use serde_json::{Map, Value};

use super::Service;
use crate::{access::Caller, error::Error};

/// How old tags may be that decide what is shown.
const RECENT: Duration = Duration::from_secs(30);

/// Of how many devices tags are remembered.
const REMEMBERED: usize = 10_000;

/// How many devices one query asks for, which is the hub's limit for a page.
const PAGE: usize = 100;

/// Tags by device.
pub type Tags = Arc<Map<String, Value>>;

/// How old tags may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// They are read now.
    Fresh,
    /// They may be half a minute old.
    Recent,
}

/// Remembers tags for a moment, so that a caller who looks again and again costs the hub little.
#[derive(Debug, Default)]
pub(super) struct Memory {
    seen: Mutex<HashMap<DeviceId, (Instant, Tags)>>,
}

impl Memory {
    fn recent(&self, device: &DeviceId, now: Instant) -> Option<Tags> {
        let seen = self.lock();
        let (at, tags) = seen.get(device)?;
        (now.saturating_duration_since(*at) < RECENT).then(|| tags.clone())
    }

    fn add(&self, device: DeviceId, tags: Tags, now: Instant) {
        let mut seen = self.lock();
        if seen.len() >= REMEMBERED {
            seen.retain(|_, (at, _)| now.saturating_duration_since(*at) < RECENT);
        }
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(device, (now, tags));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DeviceId, (Instant, Tags)>> {
        match self.seen.lock() {
            Ok(seen) => seen,
            // Whatever is in it is whole.
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

impl Service {
    /// The tags of a device.
    pub async fn tags(&self, device: &DeviceId, age: Age, caller: &Caller) -> Result<Tags, Error> {
        let memory = &self.inner.tags;
        if age == Age::Recent
            && let Some(tags) = memory.recent(device, Instant::now())
        {
            return Ok(tags);
        }
        let twin = self.twin(device, caller).await?;
        let tags = Arc::new(twin.tags.clone());
        memory.add(device.clone(), tags.clone(), Instant::now());
        Ok(tags)
    }

    /// The recent tags of many devices; those that the hub does not know are left out. They come from
    /// the hub's queries, which may lag behind the twins.
    pub async fn tags_of(
        &self,
        devices: BTreeSet<DeviceId>,
        caller: &Caller,
    ) -> Result<HashMap<DeviceId, Tags>, Error> {
        let memory = &self.inner.tags;
        let now = Instant::now();
        let mut found = HashMap::new();
        let mut unknown = Vec::new();
        for device in devices {
            match memory.recent(&device, now) {
                Some(tags) => {
                    found.insert(device, tags);
                }
                None => unknown.push(device),
            }
        }
        for devices in unknown.chunks(PAGE) {
            let page = self.query(&query(devices), 100, None, caller).await?;
            for twin in page
                .rows
                .iter()
                .filter_map(|row| Twin::from_value(row).ok())
            {
                let tags = Arc::new(twin.tags);
                memory.add(twin.device.clone(), tags.clone(), now);
                found.insert(twin.device, tags);
            }
        }
        Ok(found)
    }
}

/// Asks for some devices. No id has a double quote or a backslash in it, so none ends its text.
fn query(devices: &[DeviceId]) -> String {
    let quoted = |device: &DeviceId| format!("\"{device}\"");
    let ids: Vec<_> = devices.iter().map(quoted).collect();
    format!(
        "SELECT * FROM devices WHERE deviceId IN [{}]",
        ids.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(id: &str) -> DeviceId {
        id.parse().unwrap()
    }

    #[test]
    fn tags_are_remembered_for_a_moment() {
        let memory = Memory::default();
        let now = Instant::now();
        memory.add(device("a"), Tags::default(), now);
        assert!(memory.recent(&device("a"), now + RECENT / 2).is_some());
        assert!(memory.recent(&device("a"), now + RECENT).is_none());
        assert!(memory.recent(&device("b"), now).is_none());
        for n in 0..=REMEMBERED {
            memory.add(device(&format!("d{n}")), Tags::default(), now);
        }
        assert!(memory.lock().len() <= REMEMBERED);
    }

    #[test]
    fn a_quote_does_not_end_the_text() {
        for end in ["a\"b", "a\\b"] {
            assert!(end.parse::<DeviceId>().is_err(), "{end}");
        }
        let text = query(&[device("a"), device("b')")]);
        assert_eq!(
            text,
            "SELECT * FROM devices WHERE deviceId IN [\"a\", \"b')\"]"
        );
    }
}
