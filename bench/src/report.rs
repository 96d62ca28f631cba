//! Measures as a person and as a program reads them.

use std::io::{self, Write};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::measure::{Measure, Target};

/// What stands in a Markdown file before and after the figures that [`replace_figures`] writes.
const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end of figures -->";

const HEADINGS: [&str; 8] = [
    "what", "ours", "spread", "floor", "peers", "ratio", "target", "meets",
];

/// Prints a table.
pub(crate) fn print(measures: &[Measure], out: &mut impl Write) -> io::Result<()> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(measures.iter().map(cells));
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line += &format!("{cell:<width$}  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// The same for a program: an array of objects. `peer` is the best of the `peers`.
pub(crate) fn to_json(measures: &[Measure]) -> Value {
    let object = |measure: &Measure| {
        let peers = measure.peers.iter().map(|(name, figure)| {
            let figure = match figure {
                Ok(figure) => json!(figure),
                Err(why) => json!(why),
            };
            (name.clone(), figure)
        });
        json!({
            "name": measure.name,
            "ours": measure.ours.as_ref().ok(),
            "why": measure.ours.as_ref().err(),
            "spread": measure.spread.map(|(lowest, highest)| [lowest, highest]),
            "floor": measure.floor,
            "peer": measure.best_peer(),
            "peers": peers.collect::<serde_json::Map<_, _>>(),
            "ratio": measure.ratio(),
            "target": measure.target.map(target_text),
            "meets": measure.meets(),
        })
    };
    measures.iter().map(object).collect()
}

/// A Markdown file's text with a table of the figures, and where and when they were measured, in
/// the place that it keeps for them.
pub(crate) fn replace_figures(
    text: &str,
    machine: &str,
    measures: &[Measure],
) -> anyhow::Result<String> {
    let missing = || format!("find `{BEGIN}` and `{END}` in it");
    let (before, rest) = text.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    let mut table = String::new();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    table += &line(&HEADINGS.map(str::to_owned));
    table += "| --- | ---: | ---: | ---: | --- | ---: | ---: | --- |\n";
    for measure in measures {
        table += &line(&cells(measure).map(|cell| match cell.as_str() {
            "-" => String::new(),
            cell => cell.replace('|', "\\|"),
        }));
    }
    Ok(format!("{before}{BEGIN}\n{machine}\n\n{table}{END}{after}"))
}

/// A measure as the cells of a line.
fn cells(measure: &Measure) -> [String; HEADINGS.len()] {
    let optional = |figures: Option<f64>| figures.map_or("-".to_owned(), figure);
    let peers: Vec<_> = measure
        .peers
        .iter()
        .map(|(name, theirs)| match theirs {
            Ok(theirs) => format!("{name} {}", figure(*theirs)),
            Err(why) => format!("{name}: {why}"),
        })
        .collect();
    let ours = match &measure.ours {
        Ok(ours) => figure(*ours),
        Err(why) => format!("none: {why}"),
    };
    let spread = |(lowest, highest)| format!("{} to {}", figure(lowest), figure(highest));
    let meets = match measure.meets() {
        None => "-",
        Some(true) => "yes",
        Some(false) => "NO",
    };
    [
        measure.name.clone(),
        ours,
        measure.spread.map_or("-".to_owned(), spread),
        optional(measure.floor),
        if peers.is_empty() {
            "-".to_owned()
        } else {
            peers.join(", ")
        },
        optional(measure.ratio()),
        measure.target.map_or("-".to_owned(), target_text),
        meets.to_owned(),
    ]
}

fn target_text(target: Target) -> String {
    match target {
        Target::AtMost(most) => format!("<= {}", figure(most)),
        Target::AtLeast(least) => format!(">= {}", figure(least)),
    }
}

/// A figure with three digits that mean something.
fn figure(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 || small == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measures() -> Vec<Measure> {
        vec![
            Measure::new("A1 a (us)", 300.0).floor(100.0).at_most(200.0),
            Measure::new("C4 b (1/s)", 20_000.0)
                .peer("other", Some(10_000.0))
                .peer("none", None)
                .at_least(15_000.0),
            Measure::new("c (MiB)", 4.256),
            Measure::absent("d", "no machine").at_most(1.0),
        ]
    }

    #[test]
    fn a_program_reads_every_figure() {
        let json = to_json(&measures());
        assert_eq!(
            json[0],
            json!({"name": "A1 a (us)", "ours": 300.0, "why": null, "spread": null, "floor": 100.0,
                "peer": null, "peers": {}, "ratio": 3.0, "target": "<= 200", "meets": false})
        );
        assert_eq!(json[1]["peer"], 10_000.0);
        assert_eq!(
            json[1]["peers"],
            json!({"other": 10_000.0, "none": "not installed"})
        );
        assert_eq!(
            (&json[1]["ratio"], &json[1]["meets"]),
            (&json!(2.0), &json!(true))
        );
        assert_eq!(json[2]["meets"], Value::Null);
        assert_eq!(
            (&json[3]["ours"], &json[3]["meets"]),
            (&Value::Null, &Value::Null)
        );
        assert_eq!(json[3]["why"], "no machine");
    }

    #[test]
    fn a_person_reads_a_table() {
        let mut table = Vec::new();
        print(&measures(), &mut table).unwrap();
        let table = String::from_utf8(table).unwrap();
        let lines: Vec<Vec<&str>> = table
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(lines[0], HEADINGS);
        assert_eq!(
            lines[1],
            ["A1 a (us)", "300", "-", "100", "-", "3.00", "<= 200", "NO"]
        );
        assert_eq!(lines[2][4], "other 10000, none: not installed");
        assert_eq!(lines[4][1], "none: no machine");
    }

    #[test]
    fn the_figures_of_a_document_are_replaced_and_nothing_else() {
        let document = format!("# Title\n\n{BEGIN}\nold\n{END}\n\nmore\n");
        let once = replace_figures(&document, "A machine.", &measures()).unwrap();
        assert!(once.starts_with(&format!("# Title\n\n{BEGIN}\nA machine.\n\n| what |")));
        assert!(once.contains("| A1 a (us) | 300 |  | 100 |  | 3.00 | <= 200 | NO |\n"));
        assert!(once.ends_with(&format!("{END}\n\nmore\n")));
        assert!(!once.contains("old"));
        let twice = replace_figures(&once, "A machine.", &measures()).unwrap();
        assert_eq!(once, twice);
        assert!(replace_figures("# Title\n", "", &[]).is_err());
    }
}
