//! What was taken from a section, to tell whether another reading of it gave the same.

use std::{
    cell::RefCell,
    fmt,
    hash::{BuildHasher as _, DefaultHasher, Hash as _, Hasher as _, RandomState},
    rc::Rc,
    sync::OnceLock,
};

use toml::Value;

/// What was taken from a section so far, the sections within it included.
#[derive(Clone)]
pub struct Taken {
    hash: Rc<RefCell<DefaultHasher>>,
    /// The section that this one is in.
    around: Option<Rc<Self>>,
}

/// Equal for settings that say the same, in this process only. It tells nothing about secrets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Taken {
    /// What tells it from others.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(self.hash.borrow().finish())
    }

    pub(super) fn within(&self, name: &str) -> Self {
        let inner = Self {
            around: Some(Rc::new(self.clone())),
            ..Self::default()
        };
        inner.add_bytes(name, b"section");
        inner
    }

    pub(super) fn add(&self, key: &str, value: Option<&Value>) {
        if let Some(value) = value {
            self.add_bytes(key, value.to_string().as_bytes());
        }
    }

    pub(super) fn add_bytes(&self, key: &str, value: &[u8]) {
        (key, value).hash(&mut *self.hash.borrow_mut());
        if let Some(around) = &self.around {
            around.add_bytes(key, value);
        }
    }
}

impl Default for Taken {
    fn default() -> Self {
        // One secret for the process: an attacker who sees a fingerprint can try no values on it.
        static STATE: OnceLock<RandomState> = OnceLock::new();
        let hash = STATE.get_or_init(RandomState::new).build_hasher();
        Self {
            hash: Rc::new(RefCell::new(hash)),
            around: None,
        }
    }
}

impl fmt::Debug for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Taken")
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}
