//! The machine's rules as values, and a model that no sequence of inputs may break.

mod cancelling;
mod claiming;
mod dispatching;
mod ending;
mod expecting;
mod following;
mod model;
mod queueing;
mod scene;
