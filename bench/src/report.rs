// SPDX-License-Identifier: GPL-2.0-only

//! The document: ratios first, then what was wanted, then the figures, then how they came about.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::Outcome;
use crate::bars::{self, Bar};
use crate::contenders::{LABELS, label};
use crate::crowd::PORTS;
use crate::plot;
use crate::results::{LeftOut, Machine, Native, Row, Size, number};

/// The way that the others are compared with: what the command does by itself where there is no module.
const OWN: &str = "tcpstat-netlink";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the results are
    #[arg(long)]
    results: PathBuf,
    /// Where to put the document and the plot
    #[arg(long)]
    out: PathBuf,
}

/// Writes the document, and prints which bars were met.
pub(crate) fn write(args: &Args) -> Outcome {
    let native: Native = load(&args.results.join("native.json"))?;
    let machine = load::<Machine>(&args.results.join("machine.json"))
        .map_err(|_| last_line(&args.results.join("machine.log")));
    let walk = fs::read_to_string(args.results.join("walk.log")).unwrap_or_default();
    let bars = bars::all(&native, machine.as_ref().ok());
    let picture = plot::svg(&native.sizes);
    if let Some(picture) = &picture {
        save(&args.out.join("performance.svg"), picture)?;
    }
    let text = document(&native, &machine, &walk, &bars, picture.is_some());
    save(&args.out.join("performance.md"), &text)?;

    for bar in &bars {
        println!(
            "{}: wanted {}, measured {}: {}",
            bar.what,
            bar.wanted,
            bar.measured.as_deref().unwrap_or("nothing"),
            bar.verdict().replace('*', "")
        );
    }
    Ok(())
}

fn load<T: DeserializeOwned>(path: &Path) -> Outcome<T> {
    let text = fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?)
}

fn save(path: &Path, text: &str) -> Outcome {
    Ok(fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?)
}

fn last_line(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let last = text.trim().lines().last().unwrap_or("it was not started");
    last.to_owned()
}

fn document(
    native: &Native,
    machine: &Result<Machine, String>,
    walk: &str,
    bars: &[Bar],
    picture: bool,
) -> String {
    let mut text = String::from(
        "# Performance\n\n\
         Made by `make bench`, which measures everything below in one run; not edited by hand.\n\n",
    );
    if native.quick {
        text += "This was a short run (`make bench-quick`): fewer rounds, and the slow ones not over the most \
                 sockets.\n\n";
    }
    if picture {
        text += "![CPU time of each way to count, over the number of sockets](performance.svg)\n\n";
    }
    ratios(&mut text, &native.sizes);
    wanted(&mut text, bars);
    figures(&mut text, &native.sizes);
    clients(&mut text, native.clients.as_ref());
    in_machine(&mut text, machine);
    the_walk(&mut text, walk);
    how(&mut text, native, machine);
    text
}

/// Three digits that mean something.
fn short(value: f64) -> String {
    match value {
        v if !v.is_finite() => "–".to_owned(),
        v if v >= 100.0 => number(v.round() as u64),
        v if v >= 10.0 => format!("{v:.1}"),
        v => format!("{v:.2}"),
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), short)
}

/// Those of [`LABELS`] that took part, in that order.
fn everybody(sizes: &[Size]) -> impl Iterator<Item = &'static str> + '_ {
    LABELS
        .iter()
        .map(|(who, _)| *who)
        .filter(|who| sizes.iter().any(|size| size.row(who).is_some()))
}

fn header(text: &mut String, first: &str, columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    let _ = writeln!(text, "| {first} | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
}

fn line(text: &mut String, who: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    // A bar in a table's cell would end it.
    let name = label(who).replace('|', "\\|");
    let name = if who.starts_with("tcpstat-") {
        format!("**{name}**")
    } else {
        name
    };
    let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
}

fn ratios(text: &mut String, sizes: &[Size]) {
    let Some(largest) = sizes.last() else { return };
    let many: Vec<&Size> = sizes.iter().filter(|size| size.sockets >= 10_000).collect();
    let _ = writeln!(
        text,
        "## How many times as much CPU time as `{}`\n",
        label(OWN)
    );
    let columns = many
        .iter()
        .map(|size| format!("{} sockets", number(size.sockets)))
        .chain([format!("peak memory at {}, MiB", number(largest.sockets))]);
    header(text, "", columns);
    for who in everybody(sizes) {
        let times = many.iter().map(|size| {
            cell(
                size.row(who)
                    .zip(size.row(OWN))
                    .map(|(who, own)| who.times(own)),
            )
        });
        let peak = largest.row(who).and_then(Row::peak_mib);
        line(text, who, times.chain([cell(peak)]));
    }
    text.push('\n');
}

fn wanted(text: &mut String, bars: &[Bar]) {
    text.push_str("## Wanted, and measured\n\n| | wanted | measured | |\n|---|---:|---:|---|\n");
    for bar in bars {
        let measured = bar.measured.as_deref().unwrap_or("–");
        let what = bar.what.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| {what} | {} | {measured} | {} |",
            bar.wanted,
            bar.verdict()
        );
    }
    text.push('\n');
}

fn figures(text: &mut String, sizes: &[Size]) {
    text.push_str("## CPU time, time and memory\n");
    for size in sizes {
        let _ = writeln!(text, "\n### {} sockets\n", number(size.sockets));
        figures_of(text, size);
    }
    text.push('\n');
}

fn clients(text: &mut String, size: Option<&Size>) {
    let Some(size) = size else { return };
    let _ = writeln!(
        text,
        "### {} sockets, connections from many ports\n\n\
         Those above are to one port, as a server's are: their peers decide where the kernel's hash table has them, which \
         is in no order. These are from {} ports to each peer, as a client's or a proxy's are. The kernel adds the \
         local port to the hash (`inet_ehashfn`), so that consecutive ones are in consecutive buckets, and a walk comes \
         to sockets that were made one after the other.\n",
        number(size.sockets),
        number(PORTS),
    );
    figures_of(text, size);
    text.push('\n');
}

fn figures_of(text: &mut String, size: &Size) {
    let columns = ["CPU time, ms", "time, ms", "peak memory, MiB", "runs"];
    header(text, "", columns.into_iter().map(str::to_owned));
    for who in everybody(std::slice::from_ref(size)) {
        let Some(row) = size.row(who) else { continue };
        let cells = [
            short(row.cpu() * 1e3),
            short(row.wall() * 1e3),
            cell(row.peak_mib()),
            row.runs.len().to_string(),
        ];
        line(text, who, cells.into_iter());
    }
}

fn in_machine(text: &mut String, machine: &Result<Machine, String>) {
    text.push_str("## The module, in a virtual machine\n\n");
    let machine = match machine {
        Ok(machine) => machine,
        Err(why) => {
            let _ = writeln!(text, "Left out: {why}\n");
            return;
        }
    };
    const MODULE: &str = "module-drain";
    let _ = writeln!(
        text,
        "{} sockets, kernel {}, instructions of the emulated processor as QEMU counts them (`-icount`): the latency of \
         memory does not count, so that the walk's own advantage is not seen, and its cost is. The readings and the \
         dumps are the kernel's part only; `tcpstat` is the whole process.\n",
        number(machine.size.sockets),
        machine.kernel
    );
    let columns = [
        format!("times “{}”", label(MODULE)),
        "million instructions".to_owned(),
    ];
    header(text, "", columns.into_iter());
    for who in everybody(std::slice::from_ref(&machine.size)) {
        let Some(row) = machine.size.row(who) else {
            continue;
        };
        let times = machine.size.row(MODULE).map(|module| row.times(module));
        // An instruction is 1 ns of CPU time there.
        let cells = [cell(times), short(row.cpu() * 1e3)];
        line(text, who, cells.into_iter());
    }
    left_out(text, &machine.left_out);
    text.push('\n');
}

fn the_walk(text: &mut String, log: &str) {
    text.push_str(
        "## The module's walk, natively\n\n\
         The same source as in the module, over a table of realistic layout in user space (`cargo bench -p \
         tcpstat-census`): beside the obvious walk, a bucket at a time under its lock, and beside the limit, the same \
         cache lines in random order, prefetched, without lists or locks. The services are all that a \
         reading of them does, beside the walk alone: the ports that have a listener, the same walk with a row for each \
         of these, and the text. That has more instructions, as the virtual machine shows, while memory is waited for \
         no longer.\n\n",
    );
    let table: Vec<&str> = log.lines().filter(|line| line.starts_with('|')).collect();
    if table.is_empty() {
        let last = log.trim().lines().last().unwrap_or("it was not started");
        let _ = writeln!(text, "Left out: {last}\n");
        return;
    }
    let _ = writeln!(text, "{}\n", table.join("\n"));
}

fn left_out(text: &mut String, left_out: &[LeftOut]) {
    if left_out.is_empty() {
        return;
    }
    text.push_str("\nLeft out:\n\n");
    for LeftOut { who, why } in left_out {
        let _ = writeln!(text, "- {who}: {why}");
    }
}

fn how(text: &mut String, native: &Native, machine: &Result<Machine, String>) {
    let _ = writeln!(
        text,
        "## What was measured, and how\n\n\
         - The sockets are in a network namespace of their own: connections made by `TCP_REPAIR` (bind, connect; \
         `ESTABLISHED` at once and without packets), a quarter of them IPv6, and some real ones in each state that \
         no timer ends.\n\
         - Before that, {} sockets in every state, time-wait and request sockets included: all {} that give counts \
         gave the same ones. So they did in every run that was measured, or there would be no document.\n\
         - CPU time is the user and system time of the whole process and its helpers, from its start to its end \
         (`wait4`), and memory the largest peak among these processes. node_exporter runs already and does \
         nothing else; its CPU time is its own clock's difference over one scrape and 100 ms after it, over a Unix \
         socket.\n\
         - The BPF iterator is loaded and pinned already; reading it is measured, by a program that does nothing \
         else. psutil's generator is its own parser of a line, an item at a time; it does not find out whose a \
         connection is, for which the list reads the descriptors of every process (here: only those of the \
         benchmark's PID namespace).\n\
         - Everybody has a turn in each round over the same sockets, every time from another place in the order on, \
         the slow ones in the first rounds only. Figures are medians of the rounds, ratios are medians of the \
         rounds' ratios.\n",
        number(total(&native.agreed)),
        native.agreeing,
    );
    let mut rows: Vec<(String, String)> = native.machine.clone();
    if let Ok(machine) = machine {
        rows.push((
            "kernel of the virtual machine".to_owned(),
            machine.kernel.clone(),
        ));
    }
    rows.extend(native.versions.iter().cloned());
    text.push_str("| | |\n|---|---|\n");
    for (name, value) in rows {
        let _ = writeln!(text, "| {name} | {value} |");
    }
    if let Some(largest) = native.sizes.last() {
        let _ = write!(
            text,
            "\nThe {} sockets:\n\n```\n{}```\n\nThose over which everybody had to agree before:\n\n```\n{}```\n",
            number(largest.sockets),
            largest.counts,
            native.agreed
        );
    }
    left_out(text, &native.left_out);
}

/// The sum of counts as `/proc/tcpstat` writes them.
fn total(counts: &str) -> u64 {
    counts
        .lines()
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(
            [0, 12, 999, 1000, 1_000_000].map(number),
            ["0", "12", "999", "1,000", "1,000,000"]
        );
        assert_eq!(
            [0.123, 1.0, 12.34, 123.4, 12345.6].map(short),
            ["0.12", "1.00", "12.3", "123", "12,346"]
        );
    }

    #[test]
    fn counts_add_up() {
        assert_eq!(total("ESTABLISHED : 5\nLISTEN      : 14\n"), 19);
    }
}
