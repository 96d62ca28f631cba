//! A plot with logarithmic axes, as SVG.

use crate::{CURVES, Point};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 210.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 55.0;

/// From where to where each axis goes.
const OPEN: (f64, f64) = (10.0, 2_000.0);
const SECONDS: (f64, f64) = (0.5, 30.0);

/// Told apart by people who see few colours, too.
const COLOURS: [&str; CURVES.len()] = ["#666666", "#d55e00", "#0072b2", "#009e73", "#cc79a7"];

/// Draws the 99th percentile over the number of open reboots.
pub(crate) fn draw(points: &[&Point]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"14\">How late the end of a reboot is seen: 99th percentile, hub S1 (100 twin reads a second)</text>\n"
    );
    for open in [10.0, 30.0, 100.0, 300.0, 1_000.0, 2_000.0] {
        let (x, bottom) = (across(open), HEIGHT - BOTTOM);
        svg += &format!(
            "<line x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{bottom}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{open}</text>\n",
            bottom + 18.0
        );
    }
    for seconds in [0.5, 1.0, 2.0, 5.0, 10.0, 20.0] {
        let (y, right) = (up(seconds), WIDTH - RIGHT);
        svg += &format!(
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#dddddd\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{seconds} s</text>\n",
            LEFT - 8.0,
            y + 4.0
        );
    }
    svg += &format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">open reboots</text>\n",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 15.0
    );
    for (index, (curve, colour)) in CURVES.iter().zip(COLOURS).enumerate() {
        let places: Vec<_> = points
            .iter()
            .filter(|point| point.curve == index)
            .map(|point| (across(point.open as f64), up(point.outcome.p99)))
            .collect();
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
        if let Some((x, y)) = places.last() {
            svg += &format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{}</text>\n",
                x + 8.0,
                y + 4.0,
                curve.name
            );
        }
    }
    svg + "</svg>\n"
}

fn across(open: f64) -> f64 {
    LEFT + part(open, OPEN) * (WIDTH - LEFT - RIGHT)
}

fn up(seconds: f64) -> f64 {
    HEIGHT - BOTTOM - part(seconds, SECONDS) * (HEIGHT - TOP - BOTTOM)
}

/// How far along an axis a value lies.
fn part(value: f64, (from, to): (f64, f64)) -> f64 {
    (value / from).ln() / (to / from).ln()
}
