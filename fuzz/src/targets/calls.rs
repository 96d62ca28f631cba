//! Request lines, job requests, configurations and bulk requests of the hub's REST API.

pub(crate) fn run(data: &[u8]) {
    hub_emulator::fuzzing::rest(data);
}
