//! The machine's rules as values, and a model that no sequence of inputs may break.

mod model;
mod scenes;
