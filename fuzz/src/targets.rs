//! What is promised of each parser.

use std::fmt::{Debug, Display};
use std::str::FromStr;

pub(crate) mod bodies;
pub(crate) mod calls;
pub(crate) mod configs;
pub(crate) mod credentials;
pub(crate) mod devices;
pub(crate) mod lists;
pub(crate) mod packets;
pub(crate) mod queries;
pub(crate) mod reboots;
pub(crate) mod topics;
pub(crate) mod twins;

/// What is read prints as something that reads and prints the same.
fn reads_as_it_prints<T: FromStr<Err: Debug> + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        let printed = value.to_string();
        let again = printed.parse::<T>().expect("what was printed");
        assert_eq!(again.to_string(), printed);
    }
}
