//! Plots with logarithmic axes, as SVG.

use crate::measure::Measure;

/// A plot that some measures have points in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plot {
    /// The memory of a program over how many of something it holds.
    Memory,
    /// The same for each of them, without what the program takes that holds none.
    MemoryOfOne,
    /// How late the end of a reboot is seen over how many are open.
    Staleness,
}

/// A point of a curve.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Point {
    pub(crate) plot: Plot,
    pub(crate) curve: String,
    pub(crate) x: f64,
    pub(crate) y: f64,
}

impl Plot {
    pub(crate) const ALL: [Self; 3] = [Self::Memory, Self::MemoryOfOne, Self::Staleness];

    /// The name of its file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Memory => "memory.svg",
            Self::MemoryOfOne => "memory-of-one.svg",
            Self::Staleness => "polling.svg",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Memory => "Memory of a program that holds many",
            Self::MemoryOfOne => "Memory of one of many",
            Self::Staleness => {
                "How late the end of a reboot is seen: 99th percentile, hub S1 (100 twin reads a second)"
            }
        }
    }

    /// What stands below the axis, and the unit beside the other one.
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Memory => ("held", "MiB"),
            Self::MemoryOfOne => ("held", "KiB"),
            Self::Staleness => ("open reboots", "s"),
        }
    }

    /// Draws the curves that measures have in it; nothing without a point.
    pub(crate) fn draw(self, measures: &[Measure]) -> Option<String> {
        let points = measures.iter().flat_map(|measure| &measure.points);
        // Neither has a place on such an axis.
        let drawable = |point: &&Point| point.x > 0.0 && point.y > 0.0;
        let points: Vec<&Point> = points
            .filter(|point| point.plot == self)
            .filter(drawable)
            .collect();
        let across = Axis::around(points.iter().map(|point| point.x), &[1.0, 3.0])?;
        let up = Axis::around(points.iter().map(|point| point.y), &[1.0, 2.0, 5.0])?;
        Some(draw(self, &points, &across, &up))
    }
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;

/// Told apart by people who see few colours, too.
const COLOURS: [&str; 7] = [
    "#666666", "#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
];

/// How far apart the names of two curves are, at least.
const LINE: f64 = 15.0;

/// The marks of an axis, the first and the last of which are its ends.
#[derive(Debug, PartialEq)]
struct Axis {
    marks: Vec<f64>,
}

impl Axis {
    /// The marks around some values, at these steps of each power of ten.
    fn around(values: impl Iterator<Item = f64> + Clone, steps: &[f64]) -> Option<Self> {
        let least = values.clone().min_by(f64::total_cmp)?;
        let most = values.max_by(f64::total_cmp)?;
        let all =
            (-6..=9).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        let all: Vec<f64> = all.collect();
        let first = all.iter().rposition(|mark| *mark <= least)?;
        let last = all.iter().position(|mark| *mark >= most)?;
        let last = last.max(first + 1);
        let marks = all.get(first..=last)?.to_vec();
        Some(Self { marks })
    }

    /// How far along it a value lies, from 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let from = self.marks.first().copied().unwrap_or(1.0);
        let to = self.marks.last().copied().unwrap_or(10.0);
        (value / from).ln() / (to / from).ln()
    }
}

fn draw(plot: Plot, points: &[&Point], across: &Axis, up: &Axis) -> String {
    let (label, unit) = plot.labels();
    let x = |value: f64| LEFT + across.part(value) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - up.part(value) * (HEIGHT - TOP - BOTTOM);
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">{}</text>\n",
        plot.title()
    );
    for mark in &across.marks {
        let x = x(*mark);
        svg += &format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            bottom + 18.0,
            round(*mark)
        );
    }
    for mark in &up.marks {
        let y = y(*mark);
        svg += &format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} {unit}</text>\n",
            LEFT - 8.0,
            y + 4.0,
            round(*mark)
        );
    }
    svg += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>\n",
        f64::midpoint(LEFT, right),
        HEIGHT - 15.0
    );
    let mut names: Vec<(f64, f64, &str, &str)> = Vec::new();
    for (name, colour) in curves(points).into_iter().zip(COLOURS.iter().cycle()) {
        let curve = points.iter().filter(|point| point.curve == name);
        let places: Vec<_> = curve.map(|point| (x(point.x), y(point.y))).collect();
        let line: Vec<_> = places
            .iter()
            .map(|(x, y)| format!("{x:.1},{y:.1}"))
            .collect();
        svg += &format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n",
            line.join(" ")
        );
        for (x, y) in &places {
            svg += &format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>\n");
        }
        names.extend(places.last().map(|(x, y)| (*x, *y, name, *colour)));
    }
    names.sort_by(|one, other| one.1.total_cmp(&other.1));
    let mut lowest = 0.0;
    for (x, y, name, colour) in names {
        lowest = y.max(lowest + LINE);
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{name}</text>\n",
            x + 8.0,
            lowest + 4.0
        );
    }
    svg + "</svg>\n"
}

/// The names of the curves, in the order in which they first appear.
fn curves<'a>(points: &[&'a Point]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for point in points {
        if !names.contains(&point.curve.as_str()) {
            names.push(point.curve.as_str());
        }
    }
    names
}

/// A mark without the noise of its power of ten.
fn round(mark: f64) -> f64 {
    (mark * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(curve: &str, x: f64, y: f64) -> Point {
        Point {
            plot: Plot::Memory,
            curve: curve.to_owned(),
            x,
            y,
        }
    }

    fn measures(points: Vec<Point>) -> [Measure; 1] {
        [Measure {
            points,
            ..Measure::new("a", 1.0)
        }]
    }

    #[test]
    fn an_axis_reaches_around_its_values() {
        let axis = Axis::around([3.0, 40.0].into_iter(), &[1.0, 2.0, 5.0]).unwrap();
        let marks: Vec<f64> = axis.marks.iter().copied().map(round).collect();
        assert_eq!(marks, [2.0, 5.0, 10.0, 20.0, 50.0]);
        assert!((axis.part(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(Axis::around([].into_iter(), &[1.0]), None);
        let one = Axis::around([10.0].into_iter(), &[1.0]).unwrap();
        assert_eq!(one.marks.len(), 2);
    }

    #[test]
    fn every_curve_is_drawn_with_its_points_and_its_name_in_a_place_of_its_own() {
        let measures = measures(vec![
            point("devices", 10.0, 5.0),
            point("watchers", 10.0, 4.0),
            point("devices", 1_000.0, 20.0),
            point("watchers", 1_000.0, 20.0),
            point("none", 0.0, 3.0),
        ]);
        let svg = Plot::Memory.draw(&measures).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 4);
        let place = |name: &str| {
            let line = svg.lines().find(|line| line.contains(&format!(">{name}<")));
            let (_, rest) = line.unwrap().split_once(" y=\"").unwrap();
            rest.split('"').next().unwrap().parse::<f64>().unwrap()
        };
        assert!((place("devices") - place("watchers")).abs() >= LINE);
        assert!(svg.ends_with("</svg>\n"));
        assert_eq!(Plot::Staleness.draw(&measures), None);
    }
}
