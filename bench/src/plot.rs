// SPDX-License-Identifier: GPL-2.0-only

//! The plot: CPU time over the number of sockets, both logarithmic, as an SVG that follows a
//! reader's light or dark theme.

use std::fmt::Write as _;

use crate::results::{Size, number};
use crate::ways::Way;

/// The picture, and the rectangle of the plot in it, in pixels.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 690.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 545.0;

/// The least distance between labels.
const LINE: f64 = 18.0;

/// The colours are repeated, without CSS variables, which some viewers do not support.
const STYLE: &str = "\
  text { font: 13px system-ui, 'DejaVu Sans', sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .paper { fill: #ffffff; }
  .grid { stroke: #d1d9e0; }
  .line { fill: none; stroke: #6e7781; stroke-width: 1.5; }
  .dot { fill: #6e7781; }
  .leader { fill: none; stroke: #6e7781; stroke-width: 0.75; opacity: 0.6; }
  .floor .line { stroke-dasharray: 2 4; }
  .own .line { stroke: #0969da; stroke-width: 2.5; }
  .own .leader { stroke: #0969da; }
  .own .dot, .own text { fill: #0969da; }
  .own text { font-weight: 600; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .paper { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .line, .leader { stroke: #9198a1; }
    .dot { fill: #9198a1; }
    .own .line, .own .leader { stroke: #4493f8; }
    .own .dot, .own text { fill: #4493f8; }
  }
";

/// The line of one way.
struct Series {
    way: Way,
    /// Sockets and seconds, the fewest sockets first.
    points: Vec<(f64, f64)>,
}

/// The plot of the measurements; `None` if they are too few for a line.
pub(crate) fn svg(sizes: &[Size]) -> Option<String> {
    let series: Vec<Series> = Way::ALL
        .into_iter()
        .map(|way| Series {
            way,
            points: sizes
                .iter()
                .filter_map(|size| Some((size.sockets as f64, size.row(way)?.cpu())))
                .collect(),
        })
        .filter(|series| series.points.len() > 1)
        .collect();
    let values = || series.iter().flat_map(|series| &series.points);
    let decades = |of: fn(&(f64, f64)) -> f64| {
        let logs = || values().map(of).map(f64::log10);
        let (low, high) = (logs().reduce(f64::min)?, logs().reduce(f64::max)?);
        Some((low.floor(), high.ceil()))
    };
    let (x_low, x_high) = decades(|point| point.0)?;
    let (y_low, y_high) = decades(|point| point.1)?;
    let x = |sockets: f64| LEFT + (sockets.log10() - x_low) / (x_high - x_low) * (RIGHT - LEFT);
    let y = |cpu: f64| BOTTOM - (cpu.log10() - y_low) / (y_high - y_low) * (BOTTOM - TOP);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\">\n<title>CPU time of one counting over the number of sockets</title>\n\
         <style>\n{STYLE}</style>\n<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text class=\"title\" x=\"{LEFT}\" y=\"28\">CPU time to count the connections once (log-log; lower is better)\
         </text>\n"
    );
    let mut decade = x_low;
    while decade <= x_high {
        let at = x(10f64.powf(decade));
        let name = number(10f64.powf(decade) as u64);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{at:.1} {TOP}V{BOTTOM}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
            BOTTOM + 20.0
        );
        decade += 1.0;
    }
    let mut decade = y_low;
    while decade <= y_high {
        let at = y(10f64.powf(decade));
        let name = duration(decade as i32);
        let _ = writeln!(
            svg,
            "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            LEFT - 8.0,
            at + 4.0
        );
        decade += 1.0;
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">sockets</text>",
        (LEFT + RIGHT) / 2.0,
        BOTTOM + 42.0
    );

    let ends: Vec<f64> = series
        .iter()
        .map(|series| series.points.last().map_or(BOTTOM, |end| y(end.1)))
        .collect();
    for (series, label_y) in series.iter().zip(apart(&ends)) {
        line(&mut svg, series, label_y, &x, &y);
    }
    svg += "</svg>\n";
    Some(svg)
}

fn line(
    svg: &mut String,
    series: &Series,
    label_y: f64,
    x: &impl Fn(f64) -> f64,
    y: &impl Fn(f64) -> f64,
) {
    let class = match series.way {
        way if way.is_tcpstat() => "own",
        way if way.is_drain() => "floor",
        _ => "other",
    };
    let _ = write!(svg, "<g class=\"{class}\"><path class=\"line\" d=\"");
    for (nth, point) in series.points.iter().enumerate() {
        let command = if nth == 0 { 'M' } else { 'L' };
        let _ = write!(svg, "{command}{:.1} {:.1}", x(point.0), y(point.1));
    }
    svg.push_str("\"/>");
    for point in &series.points {
        let _ = write!(
            svg,
            "<circle class=\"dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>",
            x(point.0),
            y(point.1)
        );
    }
    if let Some(end) = series.points.last() {
        let _ = writeln!(
            svg,
            "<path class=\"leader\" d=\"M{:.1} {:.1}L{:.1} {label_y:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            x(end.0) + 4.0,
            y(end.1),
            RIGHT + 20.0,
            RIGHT + 24.0,
            label_y + 4.0,
            series.way.label()
        );
    }
}

/// Moves labels apart that are too close to each other, as little as possible. Keeps the order of
/// `wanted`.
fn apart(wanted: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|&a, &b| wanted[a].total_cmp(&wanted[b]));
    let mut at = wanted.to_vec();
    // Each pass moves both of a pair by half of what is missing between them.
    for _ in 0..1000 {
        for pair in order.windows(2) {
            let missing = LINE - (at[pair[1]] - at[pair[0]]);
            if missing > 0.0 {
                at[pair[0]] -= missing / 2.0;
                at[pair[1]] += missing / 2.0;
            }
        }
    }
    at
}

/// `10 ms` for -2.
fn duration(decade: i32) -> String {
    let (unit, zeros) = match decade {
        0.. => ("s", decade),
        -3..=-1 => ("ms", decade + 3),
        _ => ("µs", (decade + 6).max(0)),
    };
    format!("{} {unit}", 10u64.pow(zeros as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::{Row, Run};

    fn size(sockets: u64, cpu: f64) -> Size {
        let run = Run {
            cpu,
            wall: cpu,
            peak_kib: None,
        };
        let row = |way| Row {
            way,
            runs: vec![run],
        };
        Size {
            sockets,
            counts: String::new(),
            rows: vec![row(Way::Ss), row(Way::Netlink)],
        }
    }

    #[test]
    fn labels_do_not_overlap() {
        let at = apart(&[100.0, 101.0, 102.0, 300.0]);
        for pair in at.windows(2) {
            assert!(pair[1] - pair[0] > LINE - 0.1, "{at:?}");
        }
        assert_eq!(at[3], 300.0);
    }

    #[test]
    fn a_line_takes_two_points() {
        assert!(svg(&[]).is_none());
        assert!(svg(&[size(10, 0.001)]).is_none());
        let svg = svg(&[size(10, 0.001), size(1000, 0.02)]).unwrap();
        assert_eq!(svg.matches("class=\"line\"").count(), 2);
        assert!(svg.contains(">100 ms<") && svg.contains(">1,000<"));
    }

    #[test]
    fn decades_have_names() {
        assert_eq!(
            [-4, -3, -1, 0, 2].map(duration),
            ["100 µs", "1 ms", "100 ms", "1 s", "100 s"]
        );
    }
}
