//! A figure, what it is compared to, and a table of them.

use std::io::{self, Write};

use serde_json::{Value, json};

/// A figure and what it is compared to, all in the unit that its name ends with.
#[derive(Clone, Debug)]
pub(crate) struct Measure {
    name: String,
    /// The figure, or why there is none.
    ours: Result<f64, &'static str>,
    floor: Option<f64>,
    peer: Option<(&'static str, f64)>,
    target: Option<Target>,
}

/// What a figure has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Target {
    AtMost(f64),
    AtLeast(f64),
}

impl Measure {
    pub(crate) fn new(name: impl Into<String>, ours: f64) -> Self {
        Self {
            name: name.into(),
            ours: Ok(ours),
            floor: None,
            peer: None,
            target: None,
        }
    }

    /// What cannot be measured here, and why.
    pub(crate) fn absent(name: impl Into<String>, why: &'static str) -> Self {
        Self {
            ours: Err(why),
            ..Self::new(name, f64::NAN)
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
    pub(crate) fn peer(self, name: &'static str, figure: Option<f64>) -> Self {
        Self {
            peer: figure.map(|figure| (name, figure)),
            ..self
        }
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

    /// Ours to the floor's, or to the peer's where there is no floor.
    fn ratio(&self) -> Option<f64> {
        let other = self.floor.or(self.peer.map(|(_, figure)| figure))?;
        let ours = self.ours.ok()?;
        (other > 0.0).then(|| ours / other)
    }

    fn meets(&self) -> Option<bool> {
        let ours = self.ours.ok()?;
        Some(match self.target? {
            Target::AtMost(most) => ours <= most,
            Target::AtLeast(least) => ours >= least,
        })
    }

    fn target_text(&self) -> String {
        match self.target {
            None => "-".to_owned(),
            Some(Target::AtMost(most)) => format!("<= {}", figure(most)),
            Some(Target::AtLeast(least)) => format!(">= {}", figure(least)),
        }
    }
}

/// Prints a table.
pub(crate) fn print(measures: &[Measure], out: &mut impl Write) -> io::Result<()> {
    let optional = |figures: Option<f64>| figures.map_or("-".to_owned(), figure);
    let width = measures.iter().map(|measure| measure.name.chars().count());
    let width = width.max().unwrap_or_default();
    writeln!(
        out,
        "{:<width$}  {:>10}  {:>10}  {:>20}  {:>7}  {:>10}  meets",
        "name", "ours", "floor", "peer", "ratio", "target"
    )?;
    for measure in measures {
        let peer = match measure.peer {
            None => "-".to_owned(),
            Some((name, peer)) => format!("{} {name}", figure(peer)),
        };
        let meets = match measure.meets() {
            None => "-",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        let why = measure.ours.err().map(|why| format!("  {why}"));
        let why = why.unwrap_or_default();
        writeln!(
            out,
            "{:<width$}  {:>10}  {:>10}  {peer:>20}  {:>7}  {:>10}  {meets}{why}",
            measure.name,
            optional(measure.ours.ok()),
            optional(measure.floor),
            optional(measure.ratio()),
            measure.target_text(),
        )?;
    }
    Ok(())
}

/// The same for a program: an array of objects.
pub(crate) fn to_json(measures: &[Measure]) -> Value {
    let object = |measure: &Measure| {
        json!({
            "name": measure.name,
            "ours": measure.ours.ok(),
            "why": measure.ours.err(),
            "floor": measure.floor,
            "peer": measure.peer.map(|(_, figure)| figure),
            "ratio": measure.ratio(),
            "target": measure.target.map(|_| measure.target_text()),
            "meets": measure.meets(),
        })
    };
    measures.iter().map(object).collect()
}

/// A figure with three digits that mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_meets_its_target_or_not_and_has_its_ratio() {
        let slow = Measure::new("a (us)", 300.0).floor(100.0).at_most(200.0);
        let large = Measure::new("b (1/s)", 20_000.0)
            .peer("other", Some(10_000.0))
            .at_least(15_000.0);
        let plain = Measure::new("c (MiB)", 4.256);
        let json = to_json(&[slow.clone(), large.clone(), plain.clone()]);
        assert_eq!(
            json[0],
            json!({"name": "a (us)", "ours": 300.0, "why": null, "floor": 100.0, "peer": null,
                "ratio": 3.0, "target": "<= 200", "meets": false})
        );
        assert_eq!(
            json[1],
            json!({"name": "b (1/s)", "ours": 20_000.0, "why": null, "floor": null, "peer": 10_000.0,
                "ratio": 2.0, "target": ">= 15000", "meets": true})
        );
        assert_eq!(json[2]["meets"], Value::Null);

        let absent = Measure::absent("d", "no machine").at_most(1.0);
        let row = &to_json(&[absent])[0];
        assert_eq!((&row["ours"], &row["meets"]), (&Value::Null, &Value::Null));
        assert_eq!(row["why"], "no machine");

        let mut table = Vec::new();
        print(&[slow, large, plain], &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(
            lines[1],
            ["a", "(us)", "300", "100", "-", "3.00", "<=", "200", "NO"]
        );
        assert_eq!(lines[3], ["c", "(MiB)", "4.26", "-", "-", "-", "-", "-"]);
    }
}
