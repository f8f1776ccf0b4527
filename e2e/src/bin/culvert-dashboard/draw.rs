//! Panels as a picture.

use std::fmt::Write;

use crate::{
    panel::{Kind, Panel, SPAN},
    prometheus::Series,
};

/// Of one unit of Grafana's grid, in pixels.
const COLUMN: f64 = 60.0;
const LINE: f64 = 30.0;

const COLOURS: [&str; 10] = [
    "#3274d9", "#e0752d", "#299c46", "#a352cc", "#c4162a", "#b58900", "#0f766e", "#7c3aed", "#be185d",
    "#64748b",
];

type Drawn<'a> = (&'a Panel, Vec<(String, Series)>);

/// The whole dashboard, as it was at `end`.
pub fn picture(panels: &[Drawn<'_>], end: f64) -> String {
    let height = panels
        .iter()
        .map(|(panel, _)| panel.y + panel.height)
        .fold(0.0, f64::max);
    let (width, height) = (24.0 * COLUMN, height * LINE + 50.0);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n<title>Culvert's dashboard</title>\n<desc>A quarter of an hour of a test gateway, scraped by Prometheus: cargo xtask dashboard drew it.</desc>\n<rect width=\"{width}\" height=\"{height}\" fill=\"#f4f5f7\"/>\n<text x=\"12\" y=\"31\" font-size=\"20\" fill=\"#222\">Culvert</text>\n"
    );
    for (panel, series) in panels {
        let x = panel.x * COLUMN + 4.0;
        let y = panel.y * LINE + 50.0;
        let _ = writeln!(out, "<g transform=\"translate({x} {y})\">");
        let body = match panel.kind {
            Kind::Row => format!(
                "<text x=\"6\" y=\"20\" font-size=\"15\" fill=\"#222\">{}</text>\n",
                escaped(&panel.title)
            ),
            Kind::Stat => stat(panel, series),
            Kind::Graph => graph(panel, series, end),
        };
        out.push_str(&body);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

fn size(panel: &Panel) -> (f64, f64) {
    (panel.width * COLUMN - 8.0, panel.height * LINE - 8.0)
}

fn stat(panel: &Panel, series: &[(String, Series)]) -> String {
    let (width, height) = size(panel);
    let last = |series: &Series| series.points.last().map(|(_, value)| *value);
    let worst = series
        .iter()
        .filter_map(|(_, series)| last(series))
        .fold(f64::NAN, f64::max);
    let colour = panel
        .steps
        .iter()
        .rfind(|(from, _)| worst >= *from)
        .map_or("grey", |(_, colour)| colour);
    let colour = match colour {
        "green" => "#299c46",
        "red" => "#c4162a",
        "orange" => "#e0752d",
        "blue" => "#3274d9",
        _ => "#64748b",
    };
    let mut out = format!(
        "<rect width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"{colour}\"/>\n<text x=\"8\" y=\"18\" fill=\"#fff\">{}</text>\n",
        escaped(&panel.title)
    );
    let share = width / f64_of(series.len().max(1));
    for (n, (legend, series)) in series.iter().enumerate() {
        let x = share * (f64_of(n) + 0.5);
        let value = last(series).map_or_else(|| "no data".to_owned(), |value| shown(value, &panel.unit));
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"68\" fill=\"#fff\" text-anchor=\"middle\" font-size=\"28\">{}</text><text x=\"{x}\" y=\"92\" fill=\"#fff\" text-anchor=\"middle\">{}</text>",
            escaped(&value),
            escaped(legend)
        );
    }
    out
}

fn graph(panel: &Panel, series: &[(String, Series)], end: f64) -> String {
    let (width, height) = size(panel);
    let mut out = format!(
        "<rect width=\"{width}\" height=\"{height}\" rx=\"3\" fill=\"#fff\" stroke=\"#dcdfe4\"/>\n<text x=\"8\" y=\"18\" fill=\"#222\">{}</text>\n",
        escaped(&panel.title)
    );
    let (left, right, top, bottom) = (56.0, width - 12.0, 30.0, height - 58.0);
    let lines = stacked(panel.stacked, series);
    let most = lines
        .iter()
        .flatten()
        .map(|(_, value)| *value)
        .filter(|value| value.is_finite())
        .fold(0.0, f64::max);
    let most = if most > 0.0 { most * 1.1 } else { 1.0 };
    for share in [0.0, 0.5, 1.0] {
        let y = bottom - share * (bottom - top);
        let _ = writeln!(
            out,
            "<path d=\"M{left} {y}H{right}\" stroke=\"#e6e8ec\"/><text x=\"{}\" y=\"{}\" fill=\"#667\" text-anchor=\"end\">{}</text>",
            left - 6.0,
            y + 4.0,
            escaped(&shown(most * share, &panel.unit))
        );
    }
    for minutes in [15.0, 10.0, 5.0, 0.0] {
        let x = right - minutes * 60.0 / SPAN * (right - left);
        let _ = writeln!(
            out,
            "<text x=\"{x}\" y=\"{}\" fill=\"#667\" text-anchor=\"middle\">{}</text>",
            bottom + 16.0,
            if minutes > 0.0 {
                format!("-{minutes} min")
            } else {
                "now".to_owned()
            }
        );
    }
    if series.is_empty() {
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" fill=\"#99a\" text-anchor=\"middle\">nothing of this kind</text>",
            f64::midpoint(left, right),
            f64::midpoint(top, bottom)
        );
    }
    for (n, line) in lines.iter().enumerate() {
        let mut path = String::new();
        for (time, value) in line.iter().filter(|(_, value)| value.is_finite()) {
            let x = right - (end - time) / SPAN * (right - left);
            let y = bottom - value / most * (bottom - top);
            let _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
        }
        let colour = COLOURS[n % COLOURS.len()];
        let _ = writeln!(
            out,
            "<path d=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>"
        );
    }
    out + &legends(series, height, width)
}

/// The names of the lines, in two rows.
fn legends(series: &[(String, Series)], height: f64, width: f64) -> String {
    let mut out = String::new();
    let (mut x, mut y) = (10.0, height - 26.0);
    for (n, (legend, _)) in series.iter().enumerate() {
        let wide = 22.0 + 6.6 * f64_of(legend.chars().count());
        if x + wide > width {
            (x, y) = (10.0, y + 16.0);
        }
        let colour = COLOURS[n % COLOURS.len()];
        let _ = writeln!(
            out,
            "<rect x=\"{x}\" y=\"{}\" width=\"10\" height=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\" fill=\"#445\" font-size=\"11\">{}</text>",
            y - 6.0,
            x + 14.0,
            escaped(legend)
        );
        x += wide;
    }
    out
}

/// The lines, each on top of those before where the panel says so.
fn stacked(is_stacked: bool, series: &[(String, Series)]) -> Vec<Vec<(f64, f64)>> {
    let mut lines: Vec<Vec<(f64, f64)>> = Vec::new();
    for (_, series) in series {
        let mut line = series.points.clone();
        if let Some(below) = lines.last().filter(|_| is_stacked) {
            for (time, value) in &mut line {
                let under = below.iter().find(|(at, _)| (at - *time).abs() < 1.0);
                *value += under.map_or(0.0, |(_, value)| *value);
            }
        }
        lines.push(line);
    }
    lines
}

fn shown(value: f64, unit: &str) -> String {
    match unit {
        _ if !value.is_finite() => "none".to_owned(),
        "percentunit" if value < 0.000_1 && value > 0.0 => format!("{:.4} %", value * 100.0),
        "percentunit" => format!("{:.2} %", value * 100.0),
        "s" if value > 0.0 && value < 0.01 => format!("{:.1} ms", value * 1000.0),
        "s" if value > 0.0 && value < 1.0 => format!("{:.0} ms", value * 1000.0),
        "s" => format!("{value:.0} s"),
        "ops" if value > 0.0 && value < 0.01 => format!("{value:.4}/s"),
        "ops" => format!("{value:.2}/s"),
        _ if value >= 1e15 => format!("{value:.1e}"),
        _ if value >= 1e6 => format!("{:.2} M", value / 1e6),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        _ => format!("{value:.1}"),
    }
}

/// Counts of panels and letters.
#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn f64_of(number: usize) -> f64 {
    number as f64
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
