// SPDX-License-Identifier: MIT OR Apache-2.0

//! `monitoring/dashboard.json`: its expressions, and a picture of it with the data of a Prometheus.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use super::prometheus::Prometheus;

/// Pixels of one of the 24 columns, and of a unit of height.
const COLUMN: f64 = 50.0;
const ROW: f64 = 30.0;

/// The colours of lines, in order, and the style, light or dark as the reader's.
const COLOURS: [&str; 8] = [
    "#3274d9", "#e0752d", "#56a64b", "#e02f44", "#8f3bb8", "#b8860b", "#19a3a3", "#767676",
];
const STYLE: &str = "\
  text { font: 12px system-ui, 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .title { font-weight: 600; }
  .row { font-size: 16px; font-weight: 600; }
  .small { font-size: 10px; }
  .paper { fill: #ffffff; }
  .panel { fill: none; stroke: #d1d9e0; }
  polyline { fill: none; stroke-width: 1.5; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .paper { fill: #0d1117; }
    .panel { stroke: #30363d; }
  }
";

/// What the variables of the dashboard stand for.
pub(crate) struct Variables {
    port: String,
}

impl Variables {
    /// Every value.
    pub(crate) fn any() -> Self {
        let port = ".*".to_owned();
        Self { port }
    }

    /// One service, and every value of the others.
    pub(crate) fn of(port: u16) -> Self {
        let port = port.to_string();
        Self { port }
    }

    /// The expression with these values.
    pub(crate) fn fill(&self, expression: &str) -> String {
        let filled = expression
            .replace("$__rate_interval", "5s")
            .replace("$port", &self.port);
        ["$job", "$instance", "$unit", "$netns"]
            .iter()
            .fold(filled, |text, name| text.replace(name, ".*"))
    }
}

/// The file.
pub(crate) struct Dashboard(Value);

impl Dashboard {
    pub(crate) fn read(path: &Path) -> Self {
        Self(serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap())
    }

    /// The panels and the titles of rows, in order.
    pub(crate) fn panels(&self) -> &[Value] {
        self.0["panels"].as_array().unwrap()
    }

    /// The names of the variables.
    pub(crate) fn variables(&self) -> Vec<&str> {
        let list = self.0["templating"]["list"].as_array().unwrap();
        list.iter().map(|of| of["name"].as_str().unwrap()).collect()
    }

    /// The title of a panel and an expression of it, for every expression.
    pub(crate) fn expressions(&self, variables: &Variables) -> Vec<(&str, String)> {
        let mut all = Vec::new();
        for panel in self.panels() {
            for target in targets(panel) {
                let expression = target["expr"].as_str().unwrap();
                all.push((panel["title"].as_str().unwrap(), variables.fill(expression)));
            }
        }
        all
    }

    /// The panels in their places, as SVG, with the data of the last `length`.
    pub(crate) fn picture(
        &self,
        prometheus: &Prometheus,
        variables: &Variables,
        length: Duration,
    ) -> String {
        let bottom = |panel: &Value| place(panel, "y") + place(panel, "h");
        let height = self.panels().iter().map(bottom).fold(0.0, f64::max) * ROW;
        let width = 24.0 * COLUMN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n\
             <style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"{width}\" height=\"{height}\"/>\n"
        );
        for panel in self.panels() {
            let title = panel["title"].as_str().unwrap();
            let title = title
                .replace("$instance", "127.0.0.1:10069")
                .replace("$port", &variables.port);
            let (x, y) = (place(panel, "x") * COLUMN, place(panel, "y") * ROW);
            let kind = panel["type"].as_str().unwrap();
            if kind == "row" {
                text(&mut svg, "row", x + 8.0, y + 21.0, &title);
                continue;
            }
            let (width, height) = (
                place(panel, "w") * COLUMN - 8.0,
                place(panel, "h") * ROW - 8.0,
            );
            writeln!(
                svg,
                "<rect class=\"panel\" x=\"{}\" y=\"{}\" width=\"{width}\" height=\"{height}\" rx=\"3\"/>",
                x + 4.0,
                y + 4.0,
            )
            .unwrap();
            text(&mut svg, "title", x + 12.0, y + 20.0, &title);
            let inside = Rectangle {
                left: x + 12.0,
                top: y + 30.0,
                width: width - 16.0,
                height: height - 36.0,
            };
            if kind == "timeseries" {
                inside.draw_lines(&mut svg, panel, prometheus, variables, length);
            } else {
                inside.write_table(&mut svg, panel, prometheus, variables);
            }
        }
        svg + "</svg>\n"
    }
}

fn targets(panel: &Value) -> &[Value] {
    panel["targets"].as_array().map_or(&[], Vec::as_slice)
}

fn place(panel: &Value, name: &str) -> f64 {
    panel["gridPos"][name].as_f64().unwrap()
}

fn text(svg: &mut String, class: &str, x: f64, y: f64, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.0}\" y=\"{y:.0}\">{text}</text>"
    )
    .unwrap();
}

/// A legend such as `{{instance}} port {{port}}` for these labels. Prometheus has no labels that
/// are empty.
fn legend(format: &str, labels: &Map<String, Value>) -> String {
    let mut parts = format.split("{{");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once("}}").unwrap();
        text += labels.get(name).map_or("", |value| value.as_str().unwrap());
        text += rest;
    }
    text.trim().to_owned()
}

/// A number as a label of an axis.
fn label(value: f64, unit: &str) -> String {
    match unit {
        "percentunit" if value < 0.1 => format!("{:.2} %", value * 100.0),
        "percentunit" => format!("{:.0} %", value * 100.0),
        "s" => format!("{:.1} ms", value * 1e3),
        _ if value < 10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The inside of a panel, in pixels.
struct Rectangle {
    left: f64,
    top: f64,
    width: f64,
    height: f64,
}

impl Rectangle {
    fn draw_lines(
        &self,
        svg: &mut String,
        panel: &Value,
        prometheus: &Prometheus,
        variables: &Variables,
        length: Duration,
    ) {
        let mut lines = Vec::new();
        for target in targets(panel) {
            let expression = variables.fill(target["expr"].as_str().unwrap());
            let format = target["legendFormat"].as_str().unwrap();
            for (labels, points) in prometheus.query_range(&expression, length) {
                lines.push((legend(format, &labels), points));
            }
        }
        // Those with the greatest last value first, as in the legend of a reader's interest.
        let last = |points: &[(f64, f64)]| points.last().map_or(0.0, |(_, value)| *value);
        lines.sort_by(|one, other| last(&other.1).total_cmp(&last(&one.1)));
        lines.truncate(COLOURS.len());
        let points = || lines.iter().flat_map(|(_, points)| points);
        let most = points().map(|(_, value)| *value).fold(0.0, f64::max);
        let unit = panel["fieldConfig"]["defaults"]["unit"].as_str().unwrap();
        let end = points().map(|(time, _)| *time).fold(0.0, f64::max);
        let start = end - length.as_secs_f64();
        let plot = Rectangle {
            height: self.height - 34.0,
            ..*self
        };
        let shown = |time: f64, value: f64| {
            let x = plot.left + plot.width * ((time - start) / (end - start)).max(0.0);
            let y = plot.top + plot.height * (1.0 - value / most.max(f64::MIN_POSITIVE));
            format!("{x:.1},{y:.1}")
        };
        text(svg, "small", self.left, self.top + 4.0, &label(most, unit));
        let (mut x, mut y) = (self.left, plot.top + plot.height + 16.0);
        for ((name, points), colour) in lines.iter().zip(COLOURS) {
            let points: Vec<_> = points
                .iter()
                .map(|(time, value)| shown(*time, *value))
                .collect();
            writeln!(
                svg,
                "<polyline stroke=\"{colour}\" points=\"{}\"/>",
                points.join(" ")
            )
            .unwrap();
            let width = 24.0 + 6.0 * name.chars().count() as f64;
            if x + width > self.left + self.width {
                (x, y) = (self.left, y + 14.0);
            }
            if y > self.top + self.height + 2.0 {
                continue;
            }
            writeln!(
                svg,
                "<circle cx=\"{:.0}\" cy=\"{:.0}\" r=\"4\" fill=\"{colour}\"/>",
                x + 4.0,
                y - 3.0
            )
            .unwrap();
            text(svg, "small", x + 12.0, y, name);
            x += width;
        }
    }

    fn write_table(
        &self,
        svg: &mut String,
        panel: &Value,
        prometheus: &Prometheus,
        variables: &Variables,
    ) {
        let mut y = self.top + 12.0;
        for target in targets(panel) {
            let expression = variables.fill(target["expr"].as_str().unwrap());
            let format = target["legendFormat"].as_str().unwrap();
            for (labels, value) in prometheus.query(&expression, None) {
                if y > self.top + self.height {
                    return;
                }
                text(
                    svg,
                    "",
                    self.left,
                    y,
                    &format!("{} {value}", legend(format, &labels)),
                );
                y += 16.0;
            }
        }
    }
}
