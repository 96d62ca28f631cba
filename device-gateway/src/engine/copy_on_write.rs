//! A value that is copied when somebody changes one of its copies.
//!
//! The engine keeps what it was before each step, and so does whoever may have to take a step back; and
//! nearly no step changes the journal.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

/// See the module. Looking at the value through `&mut` copies it, too.
#[derive(Debug, Clone)]
pub(super) struct CopyOnWrite<T>(Arc<T>);

impl<T> From<T> for CopyOnWrite<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(value))
    }
}

impl<T> Deref for CopyOnWrite<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for CopyOnWrite<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T: PartialEq> PartialEq for CopyOnWrite<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_one_until_one_of_them_changes() {
        let mut changed = CopyOnWrite::from(vec![1]);
        let before = changed.clone();
        assert!(std::ptr::eq(&*changed, &*before), "nothing is copied yet");
        changed.push(2);
        assert_eq!((&*before, &*changed), (&vec![1], &vec![1, 2]));
        assert!(before != changed);
        changed.pop();
        assert!(before == changed, "two of the same value");
    }
}
