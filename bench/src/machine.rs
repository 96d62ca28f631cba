//! Where and when figures were taken.

use std::fs;

use jiff::Timestamp;

/// The machine, how busy it is, and the time, for a person.
pub(crate) fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "model name").then(|| value.trim().to_owned())
    });
    let kernel = read("/proc/sys/kernel/osrelease");
    let memory = read("/proc/meminfo");
    let kib: f64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or_default();
    let load = read("/proc/loadavg");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Measured on {}: {cores} cores of {}, {:.0} GiB, Linux {}; load average before the run: {}.",
        Timestamp::now().strftime("%Y-%m-%d %H:%M UTC"),
        model.as_deref().unwrap_or("an unknown processor"),
        kib / f64::from(1 << 20),
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_described_in_one_line() {
        let text = describe();
        assert_eq!(text.lines().count(), 1);
        assert!(text.contains("cores of"), "{text}");
        assert!(text.contains("Linux "), "{text}");
    }
}
