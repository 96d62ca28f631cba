//! Many figures as a few.

use std::time::Duration;

/// What is below so much of the figures, in microseconds: 0.5 for the median.
pub(crate) fn percentile(times: &mut [Duration], share: f64) -> f64 {
    times.sort_unstable();
    let last = times.len().saturating_sub(1) as f64;
    // The share is at most one, so the index is one of theirs.
    let index = (last * share).round() as usize;
    times.get(index).map_or(f64::NAN, micros)
}

/// The middle one.
pub(crate) fn median(figures: &mut [f64]) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

pub(crate) fn micros(time: &Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_figures_that_were_measured() {
        let mut times: Vec<_> = (1..=101).rev().map(Duration::from_micros).collect();
        for (share, expected) in [(0.0, 1.0), (0.5, 51.0), (0.99, 100.0), (1.0, 101.0)] {
            let found = percentile(&mut times, share);
            assert!((found - expected).abs() < 1e-6, "{share}: {found}");
        }
        assert!(percentile(&mut [], 0.5).is_nan());
        assert!((median(&mut [3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }
}
