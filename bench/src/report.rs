// SPDX-License-Identifier: GPL-2.0-only

//! The document: the ratios, the requirements, the figures, and how these were measured.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::outcome::Outcome;
use crate::plot;
use crate::population::PORTS;
use crate::requirements::{self, Requirement};
use crate::results::{LeftOut, Machine, Native, Row, Size, number};
use crate::ways::Way;

/// The way that the others are compared with: the command's default without the module.
const OWN: Way = Way::Netlink;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where the results are
    #[arg(long)]
    results: PathBuf,
    /// Where to put the document and the plot
    #[arg(long)]
    out: PathBuf,
}

/// Writes the document, and prints which requirements were met.
pub(crate) fn write(args: &Args) -> Outcome {
    let native: Native = load(&args.results.join("native.json"))?;
    let machine = load::<Machine>(&args.results.join("machine.json"))
        .map_err(|_| last_line(&args.results.join("machine.log")));
    let walk = fs::read_to_string(args.results.join("walk.log")).unwrap_or_default();
    let scrapes = fs::read_to_string(args.results.join("scrapes.md")).unwrap_or_default();
    let requirements = requirements::all(&native, machine.as_ref().ok());
    let picture = plot::svg(&native.sizes);
    if let Some(picture) = &picture {
        save(&args.out.join("performance.svg"), picture)?;
    }
    let logs = [walk.as_str(), scrapes.as_str()];
    let text = document(&native, &machine, logs, &requirements, picture.is_some());
    save(&args.out.join("performance.md"), &text)?;

    for requirement in &requirements {
        println!(
            "{}: wanted {}, measured {}: {}",
            requirement.what,
            requirement.wanted,
            requirement.measured.as_deref().unwrap_or("nothing"),
            requirement.verdict().replace('*', "")
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
    [walk, scrapes]: [&str; 2],
    requirements: &[Requirement],
    picture: bool,
) -> String {
    let mut text = String::from(
        "# Performance\n\n\
         Made by `make bench`, which measures everything below in one run. Do not edit it.\n\n",
    );
    if native.quick {
        text += "This was a short run (`make bench-quick`): fewer rounds, and without the slow ways where there \
                 are most sockets.\n\n";
    }
    if picture {
        text += "![CPU time of each way to count, over the number of sockets](performance.svg)\n\n";
    }
    ratios(&mut text, &native.sizes);
    wanted(&mut text, requirements);
    figures(&mut text, &native.sizes);
    clients(&mut text, native.clients.as_ref());
    in_machine(&mut text, machine);
    the_walk(&mut text, walk);
    the_scrapes(&mut text, scrapes);
    method(&mut text, native, machine);
    text
}

/// About three significant digits.
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

/// The ways that were measured, in the order of the document.
fn measured_ways(sizes: &[Size]) -> impl Iterator<Item = Way> + '_ {
    Way::ALL
        .into_iter()
        .filter(|way| sizes.iter().any(|size| size.row(*way).is_some()))
}

fn header(text: &mut String, first: &str, columns: impl Iterator<Item = String>) {
    let columns: Vec<String> = columns.collect();
    let _ = writeln!(text, "| {first} | {} |", columns.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(columns.len()));
}

fn line(text: &mut String, way: Way, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    // An unescaped | would end the table's cell.
    let name = way.label().replace('|', "\\|");
    let name = if way.is_tcpstat() {
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
        OWN.label()
    );
    let columns = many
        .iter()
        .map(|size| format!("{} sockets", number(size.sockets)))
        .chain([format!("peak memory at {}, MiB", number(largest.sockets))]);
    header(text, "", columns);
    for way in measured_ways(sizes) {
        let times = many.iter().map(|size| {
            cell(
                size.row(way)
                    .zip(size.row(OWN))
                    .map(|(row, own)| row.times(own)),
            )
        });
        let peak = largest.row(way).and_then(Row::peak_mib);
        line(text, way, times.chain([cell(peak)]));
    }
    text.push('\n');
}

fn wanted(text: &mut String, requirements: &[Requirement]) {
    text.push_str("## Wanted, and measured\n\n| | wanted | measured | |\n|---|---:|---:|---|\n");
    for requirement in requirements {
        let measured = requirement.measured.as_deref().unwrap_or("–");
        let what = requirement.what.replace('|', "\\|");
        let _ = writeln!(
            text,
            "| {what} | {} | {measured} | {} |",
            requirement.wanted,
            requirement.verdict()
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
         The connections above are to one port, like a server's: the remote addresses decide their places in the \
         kernel's hash table, which are in no order. These are from {} ports to each remote address, like a client's \
         or a proxy's. The kernel adds the local port to the hash (`inet_ehashfn`), so that connections from \
         consecutive ports are in consecutive buckets, and a walk reads sockets in the order in which they were \
         made.\n",
        number(size.sockets),
        number(PORTS),
    );
    figures_of(text, size);
    text.push('\n');
}

fn figures_of(text: &mut String, size: &Size) {
    let columns = ["CPU time, ms", "time, ms", "peak memory, MiB", "runs"];
    header(text, "", columns.into_iter().map(str::to_owned));
    for way in measured_ways(std::slice::from_ref(size)) {
        let Some(row) = size.row(way) else { continue };
        let cells = [
            short(row.cpu() * 1e3),
            short(row.wall() * 1e3),
            cell(row.peak_mib()),
            row.runs.len().to_string(),
        ];
        line(text, way, cells.into_iter());
    }
}

fn in_machine(text: &mut String, machine: &Result<Machine, String>) {
    text.push_str("## The module, in a virtual machine\n\n");
    let machine = match machine {
        Ok(machine) => machine,
        Err(reason) => {
            let _ = writeln!(text, "Left out: {reason}\n");
            return;
        }
    };
    const MODULE: Way = Way::ModuleDrain;
    let _ = writeln!(
        text,
        "{} sockets, kernel {}, instructions of the emulated processor as QEMU counts them (`-icount`). They do not \
         include the latency of memory, so that they show the cost of the walk's prefetching and not its gain. The \
         readings and the dumps are the kernel's part only; `tcpstat` is the whole process.\n",
        number(machine.size.sockets),
        machine.kernel
    );
    let columns = [
        format!("times “{}”", MODULE.label()),
        "million instructions".to_owned(),
    ];
    header(text, "", columns.into_iter());
    for way in measured_ways(std::slice::from_ref(&machine.size)) {
        let Some(row) = machine.size.row(way) else {
            continue;
        };
        let times = machine.size.row(MODULE).map(|module| row.times(module));
        // An instruction is 1 ns of CPU time there.
        let cells = [cell(times), short(row.cpu() * 1e3)];
        line(text, way, cells.into_iter());
    }
    all_namespaces(text, &machine.namespaces);
    if let Some(rust) = &machine.rust {
        compared_rust(text, rust);
    }
    left_out(text, &machine.left_out);
    text.push('\n');
}

/// All network namespaces and one of them, in one walk each.
fn all_namespaces(text: &mut String, size: &Size) {
    let _ = writeln!(
        text,
        "\nWith connections in 200 more network namespaces, {} sockets in all:\n",
        number(size.sockets)
    );
    let columns = ["times one namespace", "million instructions"];
    header(text, "", columns.into_iter().map(str::to_owned));
    for way in [Way::ModuleDrain, Way::NamespacesDrain] {
        let (Some(row), Some(one)) = (size.row(way), size.row(Way::ModuleDrain)) else {
            continue;
        };
        let times = format!("{:.3}", row.times(one));
        line(text, way, [times, short(row.cpu() * 1e3)].into_iter());
    }
}

/// The module with the kernel's Rust and with its own, on the same kernel and by the same compiler.
fn compared_rust(text: &mut String, size: &Size) {
    let _ = writeln!(
        text,
        "\nThe module is built with the kernel's own `kernel` crate, or with its own where the kernel has none. Here \
         both are built by the same compiler and read {} sockets, of which they give the same counts.\n",
        number(size.sockets)
    );
    let columns = ["times the kernel's", "million instructions"];
    header(text, "", columns.into_iter().map(str::to_owned));
    for (way, of_kernel) in [
        (Way::ModuleDrain, Way::ModuleDrain),
        (Way::OwnDrain, Way::ModuleDrain),
        (Way::ServicesDrain, Way::ServicesDrain),
        (Way::OwnServicesDrain, Way::ServicesDrain),
    ] {
        let (Some(row), Some(of_kernel)) = (size.row(way), size.row(of_kernel)) else {
            continue;
        };
        let times = format!("{:.3}", row.times(of_kernel));
        line(text, way, [times, short(row.cpu() * 1e3)].into_iter());
    }
}

fn the_scrapes(text: &mut String, tables: &str) {
    text.push_str("## Scrapes of the exporter\n\n");
    match tables.is_empty() {
        true => text.push_str("They were not measured.\n\n"),
        false => text.push_str(tables),
    }
    text.push('\n');
}

fn the_walk(text: &mut String, log: &str) {
    text.push_str(
        "## The module's walk, natively\n\n\
         The source files of the module, run over a table of realistic layout in user space (`cargo bench -p \
         tcpstat-census`). It is compared with the obvious walk, which locks and reads one bucket after the other, and \
         with the limit: loading the same cache lines in random order, prefetched, without lists or locks. The services \
         are a whole reading of them, compared with the walk alone: finding the ports that have a listener, the same \
         walk with a row for each of these ports, and the text. A reading of services has more instructions, as the \
         virtual machine shows, but waits no longer for memory.\n\n",
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
    for LeftOut { what, reason } in left_out {
        let _ = writeln!(text, "- {what}: {reason}");
    }
}

fn method(text: &mut String, native: &Native, machine: &Result<Machine, String>) {
    let _ = writeln!(
        text,
        "## What was measured, and how\n\n\
         - The sockets are in a new network namespace: connections made by `TCP_REPAIR` (bind, connect; \
         `ESTABLISHED` at once and without packets), a quarter of them IPv6, and a few real connections in each state \
         that no timer ends.\n\
         - Before the measurement, all {1} ways that give counts gave the same counts for {0} sockets in every state, \
         including time-wait and request sockets. They also did in each measured run; otherwise there would be no \
         document.\n\
         - CPU time is the user and system time of the whole process and its children, from its start to its end \
         (`wait4`); memory is the largest peak among these processes. node_exporter runs already and does \
         nothing else; its CPU time is the difference of its process clock over one scrape over a Unix socket and the \
         100 ms after it.\n\
         - The BPF iterator is loaded and pinned already; the reading is measured, by a program that does nothing \
         else. psutil's generator is its parser of a line, one connection at a time; it does not find the process of \
         a connection, for which the list reads the descriptors of every process (here only those of the \
         benchmark's PID namespace).\n\
         - Each way runs once in each round, over the same sockets; the slow ones only in the first rounds. The rounds \
         start at different places in the order of the ways. Figures are medians of the rounds, ratios are medians of \
         the rounds' ratios.\n",
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
            "\nThe {} sockets:\n\n```\n{}```\n\nThe sockets on which all ways had to agree before:\n\n```\n{}```\n",
            number(largest.sockets),
            largest.counts,
            native.agreed
        );
    }
    left_out(text, &native.left_out);
}

/// The sum of counts in the form of `/proc/tcpstat`.
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
