//! The command of this package.
fn main() {}
