//! A figure, and what it is compared to.

use serde_json::Value;

use crate::{
    peers::Peers,
    plot::{Plot, Point},
    statistics::median,
};

/// A figure and what it is compared to, all in the unit that its name ends with.
///
/// A name begins with the target's id in the tables of docs/performance.md, where it has one.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    pub(crate) name: String,
    /// The figure, or why there is none.
    pub(crate) ours: Result<f64, String>,
    /// The lowest and the highest, where it was measured more than once.
    pub(crate) spread: Option<(f64, f64)>,
    pub(crate) floor: Option<f64>,
    /// Other people's programs, each with its figure, or why it has none.
    pub(crate) peers: Vec<(String, Result<f64, String>)>,
    pub(crate) target: Option<Target>,
    /// What it adds to plots.
    pub(crate) points: Vec<Point>,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Measure {
    pub(crate) fn new(name: impl Into<String>, ours: f64) -> Self {
        Self {
            name: name.into(),
            ours: Ok(ours),
            spread: None,
            floor: None,
            peers: Vec::new(),
            target: None,
            points: Vec::new(),
        }
    }

    /// What was not measured, and why.
    pub(crate) fn absent(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            ours: Err(why.into()),
            ..Self::new(name, f64::NAN)
        }
    }

    /// The memory, in KiB, of a program of ours that holds so many of something, and of one that
    /// holds none or hardly any.
    pub(crate) fn memory_with(id: &str, of: &str, count: usize, kib: f64, none: f64) -> Self {
        let point = |plot, y| Point {
            plot,
            curve: of.to_owned(),
            x: count as f64,
            y,
        };
        let name = format!("{id} memory with {count} {of} (MiB)");
        Self {
            points: vec![
                point(Plot::Memory, kib / 1024.0),
                point(Plot::MemoryOfOne, (kib - none) / count as f64),
            ],
            ..Self::new(name, kib / 1024.0)
        }
    }

    /// What the machine itself takes for it, measured in the same run.
    pub(crate) fn floor(self, floor: f64) -> Self {
        Self {
            floor: Some(floor),
            ..self
        }
    }

    /// What somebody else's program takes for it, measured in the same run, where it is installed.
    pub(crate) fn peer(mut self, name: &str, figure: Option<f64>) -> Self {
        let figure = figure.ok_or_else(|| "not installed".to_owned());
        self.peers.push((name.to_owned(), figure));
        self
    }

    /// What other people's programs take for it, out of what each of them said.
    pub(crate) fn peers(mut self, peers: &Peers, figure: impl Fn(&Value) -> Option<f64>) -> Self {
        for (name, said) in peers {
            let found = said.as_ref().map_err(Clone::clone).and_then(|said| {
                let found = figure(said).filter(|found| found.is_finite());
                found.ok_or_else(|| "it did not say".to_owned())
            });
            self.peers.push(((*name).to_owned(), found));
        }
        self
    }

    pub(crate) fn at_most(self, most: f64) -> Self {
        Self {
            target: Some(Target::AtMost(most)),
            ..self
        }
    }

    pub(crate) fn at_least(self, least: f64) -> Self {
        Self {
            target: Some(Target::AtLeast(least)),
            ..self
        }
    }

    /// The best figure of a peer.
    pub(crate) fn best_peer(&self) -> Option<f64> {
        let figures = self
            .peers
            .iter()
            .filter_map(|(_, figure)| figure.as_ref().ok());
        let figures = figures.copied();
        match self.target {
            Some(Target::AtLeast(_)) => figures.max_by(f64::total_cmp),
            Some(Target::AtMost(_)) | None => figures.min_by(f64::total_cmp),
        }
    }

    /// Ours to the best peer's, or to the floor where there is no peer.
    pub(crate) fn ratio(&self) -> Option<f64> {
        let other = self.best_peer().or(self.floor)?;
        let ours = *self.ours.as_ref().ok()?;
        (other > 0.0).then(|| ours / other)
    }

    pub(crate) fn meets(&self) -> Option<bool> {
        let ours = *self.ours.as_ref().ok()?;
        Some(match self.target? {
            Target::AtMost(most) => ours <= most,
            Target::AtLeast(least) => ours >= least,
        })
    }

    /// Whether it is about the target of this id.
    pub(crate) fn is_about(&self, id: &str) -> bool {
        self.name.split(' ').next() == Some(id)
    }
}

/// Several rounds of the same measures as one: the middle of each figure, and its spread.
pub(crate) fn middle(rounds: Vec<Vec<Measure>>) -> Vec<Measure> {
    let mut measures: Vec<Measure> = Vec::new();
    let all: Vec<Measure> = rounds.into_iter().flatten().collect();
    for measure in &all {
        if measures.iter().any(|known| known.name == measure.name) {
            continue;
        }
        let same: Vec<&Measure> = all.iter().filter(|one| one.name == measure.name).collect();
        let mut ours: Vec<f64> = same
            .iter()
            .filter_map(|one| one.ours.clone().ok())
            .collect();
        let mut floors: Vec<f64> = same.iter().filter_map(|one| one.floor).collect();
        let mut merged = measure.clone();
        if !ours.is_empty() {
            merged.ours = Ok(median(&mut ours));
        }
        if let [lowest, .., highest] = ours.as_slice() {
            merged.spread = Some((*lowest, *highest));
        }
        if !floors.is_empty() {
            merged.floor = Some(median(&mut floors));
        }
        for (name, figure) in &mut merged.peers {
            let theirs = same.iter().flat_map(|one| &one.peers);
            let mut theirs: Vec<f64> = theirs
                .filter(|(other, _)| other == name)
                .filter_map(|(_, figure)| figure.clone().ok())
                .collect();
            if !theirs.is_empty() {
                *figure = Ok(median(&mut theirs));
            }
        }
        measures.push(merged);
    }
    measures
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_figure_meets_its_target_or_not() {
        let meets = |measure: Measure| measure.meets();
        assert_eq!(meets(Measure::new("a", 2.0).at_most(2.0)), Some(true));
        assert_eq!(meets(Measure::new("a", 2.1).at_most(2.0)), Some(false));
        assert_eq!(meets(Measure::new("a", 2.0).at_least(2.0)), Some(true));
        assert_eq!(meets(Measure::new("a", 1.9).at_least(2.0)), Some(false));
        assert_eq!(meets(Measure::new("a", 1.9)), None);
        assert_eq!(meets(Measure::absent("a", "why").at_most(2.0)), None);
    }

    #[test]
    fn the_ratio_is_to_the_best_peer_and_without_one_to_the_floor() {
        let plain = Measure::new("a", 6.0).floor(3.0);
        assert_eq!(plain.ratio(), Some(2.0));
        let peers = |measure: Measure| {
            measure
                .peer("slow", Some(24.0))
                .peer("fast", Some(12.0))
                .peer("absent", None)
        };
        assert_eq!(peers(plain.clone().at_most(1.0)).ratio(), Some(0.5));
        assert_eq!(peers(plain.at_least(1.0)).ratio(), Some(0.25));
        assert_eq!(Measure::new("a", 6.0).floor(0.0).ratio(), None);
    }

    #[test]
    fn what_a_peer_does_not_say_is_said_of_it() {
        let peers: Peers = vec![
            ("one", Ok(json!({"p50": 3}))),
            ("two", Ok(json!({"p50": "much"}))),
            ("three", Err("no npm".to_owned())),
        ];
        let measure = Measure::new("a", 1.0).peers(&peers, |said| said["p50"].as_f64());
        assert_eq!(
            measure.peers,
            [
                ("one".to_owned(), Ok(3.0)),
                ("two".to_owned(), Err("it did not say".to_owned())),
                ("three".to_owned(), Err("no npm".to_owned())),
            ]
        );
    }

    #[test]
    fn rounds_become_their_middle_and_their_spread() {
        let round = |ours, floor, peer| {
            vec![
                Measure::new("a", ours).floor(floor).peer("p", Some(peer)),
                Measure::absent("b", "why"),
            ]
        };
        let rounds = vec![
            round(5.0, 1.0, 50.0),
            round(1.0, 3.0, 10.0),
            round(3.0, 2.0, 30.0),
        ];
        let merged = middle(rounds);
        assert_eq!(merged.len(), 2);
        assert_eq!(merged[0].ours, Ok(3.0));
        assert_eq!(merged[0].spread, Some((1.0, 5.0)));
        assert_eq!(merged[0].floor, Some(2.0));
        assert_eq!(merged[0].peers, [("p".to_owned(), Ok(30.0))]);
        assert_eq!(merged[1].ours, Err("why".to_owned()));
        assert_eq!(middle(vec![round(1.0, 1.0, 1.0)])[0].spread, None);
    }

    #[test]
    fn a_name_begins_with_the_id_of_what_it_is_about() {
        let measure = Measure::new("A1 service: a reboot (us)", 1.0);
        assert!(measure.is_about("A1"));
        assert!(!measure.is_about("A"));
        assert!(!Measure::new("A11 x", 1.0).is_about("A1"));
    }
}
