//! Metrics that every program has: what was built, and what the process takes from its machine.

use std::{fmt, fs, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{counter::ConstCounter, gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

/// What the kernel counts processor time in for programs, on every architecture that we build for.
const TICKS_PER_SECOND: f64 = 100.0;

/// The size of a page of memory, likewise.
const PAGE: f64 = 4096.0;

/// Registers the metrics that every program has. `prefix` is the program's name as its metrics
/// begin with it.
pub fn register(registry: &mut Registry, prefix: &str, version: &'static str) {
    let built = Info::new([("version", version)]);
    registry.register(format!("{prefix}_build"), "What was built", built);
    registry.register_collector(Box::new(Process));
}

/// Reads what Linux knows of this process; elsewhere there is nothing to read.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(usage) = Usage::read() else {
            return Ok(());
        };
        let mut gauge = |name, help, unit: Option<Unit>, value: f64| {
            let gauge = ConstGauge::new(value);
            let kind = gauge.metric_type();
            gauge.encode(encoder.encode_descriptor(name, help, unit.as_ref(), kind)?)
        };
        gauge(
            "process_resident_memory",
            "Memory in use",
            Some(Unit::Bytes),
            usage.memory,
        )?;
        gauge("process_threads", "Threads", None, usage.threads)?;
        gauge(
            "process_start_time",
            "When the process started, after the epoch",
            Some(Unit::Seconds),
            usage.started,
        )?;
        if let Some(files) = usage.open_files {
            gauge("process_open_fds", "Open file descriptors", None, files)?;
        }
        let processor = ConstCounter::new(usage.processor.as_secs_f64());
        let kind = processor.metric_type();
        processor.encode(encoder.encode_descriptor(
            "process_cpu",
            "Processor time used",
            Some(&Unit::Seconds),
            kind,
        )?)
    }
}

/// What a process takes from its machine.
#[derive(Debug, PartialEq)]
struct Usage {
    memory: f64,
    threads: f64,
    started: f64,
    processor: Duration,
    open_files: Option<f64>,
}

impl Usage {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let boot = fs::read_to_string("/proc/stat").ok()?;
        let mut usage = Self::parse(&stat, &boot)?;
        let open = fs::read_dir("/proc/self/fd").ok().map(Iterator::count);
        // As many as fit a process fit a float.
        usage.open_files = open
            .and_then(|count| u32::try_from(count).ok())
            .map(f64::from);
        Some(usage)
    }

    fn parse(stat: &str, boot: &str) -> Option<Self> {
        let booted: f64 = boot
            .lines()
            .find_map(|line| line.strip_prefix("btime "))?
            .trim()
            .parse()
            .ok()?;
        // The name of the program comes in brackets and may hold anything, brackets too.
        let (_, fields) = stat.rsplit_once(')')?;
        // The first of these is the third of the file.
        let fields: Vec<_> = fields.split_whitespace().collect();
        let number = |index: usize| fields.get(index - 3)?.parse::<f64>().ok();
        let ticks = number(14)? + number(15)?;
        Some(Self {
            memory: number(24)? * PAGE,
            threads: number(20)?,
            started: booted + number(22)? / TICKS_PER_SECOND,
            processor: Duration::try_from_secs_f64(ticks / TICKS_PER_SECOND).ok()?,
            open_files: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_process_is_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 9 0 4000 1000 25 18446744073709551615";
        let boot = "cpu 1 2 3\nbtime 1700000000\nprocesses 5\n";
        let usage = Usage {
            memory: 25.0 * 4096.0,
            threads: 9.0,
            started: 1_700_000_040.0,
            processor: Duration::from_secs(3),
            open_files: None,
        };
        assert_eq!(Usage::parse(stat, boot), Some(usage));
    }

    #[test]
    fn this_process_is_read() {
        let usage = Usage::read().unwrap();
        assert!(usage.memory > 0.0 && usage.threads >= 1.0);
        assert!(usage.open_files.is_some_and(|count| count > 2.0));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(stat in ".*", boot in ".*") {
            let _ = Usage::parse(&stat, &boot);
            let _ = Usage::parse(&format!("1 (x) {stat}"), &format!("btime {boot}"));
        }
    }
}
