//! The engine, tested as values: scenarios against a simulated device, the same scenarios with a
//! crash at every write of the journal, and inputs in any order.

mod away;
mod clock;
mod crash;
mod disk;
mod disorder;
mod going_down;
mod ladder;
mod methods;
mod older;
mod power;
mod prepare;
mod queue;
mod silence;
mod sim;
mod verdicts;
