// SPDX-License-Identifier: GPL-2.0-only

//! The measurement on this machine: sockets in a new namespace, and every way to count over the
//! same sockets, in rounds.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tcpstat_census::counts::Counts;
use tcpstat_tests::sockets::{Family, Mix};
use tcpstat_tests::{naive, netns};

use crate::answers;
use crate::exporter::Exporter;
use crate::measure::measure;
use crate::outcome::Outcome;
use crate::population::{Population, Role};
use crate::results::{LeftOut, Native, Row, Run, Size, number};
use crate::ways::{Method, Programs, Way};

/// The packages of the programs that are measured or needed.
const PACKAGES: &[&str] = &[
    "python3",
    "python3-psutil",
    "net-tools",
    "iproute2",
    "mawk",
    "prometheus-node-exporter",
    "bpftool",
    "clang-19",
];

/// An upper limit of the memory, in KiB, of a socket and of its entry in a way's list of all
/// sockets.
const KIB_PER_SOCKET: u64 = 6;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer rounds
    #[arg(long)]
    quick: bool,
    /// Leave out sizes with more sockets than this
    #[arg(long, value_name = "SOCKETS")]
    most: Option<u64>,
    /// The command to measure
    #[arg(long)]
    tcpstat: PathBuf,
    /// The Python program with the ways to count in Python
    #[arg(long)]
    python_ways: PathBuf,
    /// The BPF iterator, compiled
    #[arg(long)]
    iterator: Option<PathBuf>,
    /// The version of tcpstat, for the document
    #[arg(long)]
    version: String,
    /// Where to put the results
    #[arg(long)]
    out: PathBuf,
}

impl Args {
    /// The numbers of sockets, in ascending order.
    fn sizes(&self) -> impl Iterator<Item = u64> {
        let most = self.most.unwrap_or(u64::MAX);
        [10, 10_000, 100_000, 1_000_000]
            .into_iter()
            .filter(move |size| *size <= most)
    }

    /// The number of rounds, and of those with the slow ways. Counting ten sockets takes so little
    /// time that the measurement is inexact, and needs more rounds.
    fn rounds(&self, sockets: u64) -> (usize, usize) {
        match (sockets, self.quick) {
            (10, false) => (15, 3),
            (10, true) => (7, 1),
            (1_000_000, true) => (1, 0),
            (_, true) => (3, 3),
            (_, false) => (5, 3),
        }
    }
}

/// Starts the measurement as the first process of a new PID namespace: all processes that it starts
/// end with it, and the ways that read every process of the machine see only these.
pub(crate) fn outside(args: &Args) -> Outcome {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("cannot make namespaces: {e} (this must run as root)"))?;
    let status = Command::new("/proc/self/exe")
        .arg("native-inside")
        .args(std::env::args_os().skip(2))
        .stdin(Stdio::null())
        .status()?;
    if !status.success() {
        return Err(format!("the measurement ended with {status}").into());
    }
    fs::metadata(&args.out).map_err(|e| format!("{}: {e}", args.out.display()))?;
    Ok(())
}

/// What [`outside`] starts.
pub(crate) fn inside(args: &Args) -> Outcome {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    mount_fs(None, Path::new("/"), MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
    mount_fs(Some("proc"), Path::new("/proc"), MsFlags::empty())?;
    let directory = std::env::temp_dir().join("tcpstat-bench");
    fs::create_dir_all(&directory)?;
    mount_fs(Some("tmpfs"), &directory, MsFlags::empty())?;

    let iterator = match &args.iterator {
        Some(object) => pin_iterator(object, &directory),
        None => Err("it was not compiled: no clang, or no bpf/bpf_helpers.h, here".to_owned()),
    };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let programs = Programs {
        tcpstat: path(&args.tcpstat),
        python_ways: path(&args.python_ways),
        iterator,
    };
    let mut benchmark = Benchmark::new(programs, directory);

    let machine = machine()?;
    let (agreed, agreeing) = benchmark.agree()?;
    let sizes = benchmark.measure(args)?;
    let clients = benchmark.measure_clients(args, &sizes)?;
    let results = Native {
        quick: args.quick,
        machine,
        versions: versions(&args.version),
        agreed: agreed.to_string(),
        agreeing,
        sizes,
        clients,
        left_out: benchmark.left_out,
    };
    fs::write(&args.out, serde_json::to_string_pretty(&results)?)?;
    Ok(())
}

struct Benchmark {
    programs: Programs,
    /// The ways that can still be measured.
    ways: Vec<Way>,
    left_out: Vec<LeftOut>,
    /// For temporary files.
    directory: PathBuf,
    exporter: Option<Exporter>,
}

impl Benchmark {
    fn new(programs: Programs, directory: PathBuf) -> Benchmark {
        let mut benchmark = Benchmark {
            programs,
            ways: Way::NATIVE.to_vec(),
            left_out: Vec::new(),
            directory,
            exporter: None,
        };
        for way in Way::NATIVE {
            if let Some(problem) = way.problem(&benchmark.programs) {
                benchmark.leave_out(way, problem);
            }
        }
        benchmark
    }

    /// Enters a new namespace without sockets, and starts an exporter in it.
    fn enter_new_namespace(&mut self) -> Outcome {
        self.exporter = None;
        netns::enter_new()?;
        for way in self.ways.clone() {
            if way.method() == Method::Scrape {
                match Exporter::start(&self.directory) {
                    Ok(exporter) => self.exporter = Some(exporter),
                    Err(e) => self.leave_out(way, e.to_string()),
                }
            }
        }
        Ok(())
    }

    /// Counts sockets in every state, including those that a timer ends within a minute: all ways
    /// must give the same counts. Gives these, and the number of ways.
    fn agree(&mut self) -> Outcome<(Counts, usize)> {
        self.enter_new_namespace()?;
        let mut population = Population::new(Role::Server)?;
        population.grow_to(10_000)?;
        for family in Family::ALL {
            population.add(&Mix::of_each(family, 3))?;
        }
        let expected = population.expected();
        let mut agreeing = 0;
        for way in self.ways.clone() {
            if way.is_drain() {
                continue;
            }
            match self.run(way, &expected)? {
                Ok(_) => agreeing += 1,
                Err(reason) => self.leave_out(way, reason),
            }
        }
        say(&format!(
            "{} sockets in all states: all {agreeing} give the same counts",
            expected.total()
        ));
        Ok((expected, agreeing))
    }

    fn measure(&mut self, args: &Args) -> Outcome<Vec<Size>> {
        self.enter_new_namespace()?;
        // Sockets must stay in SYN_SENT for longer than the measurement takes.
        netns::set_sysctl("net/ipv4/tcp_syn_retries", "127")?;
        let mut population = Population::new(Role::Server)?;
        let listeners = Mix {
            listen: 2,
            ..Mix::default()
        };
        let mut sizes = Vec::new();
        for sockets in args.sizes() {
            if let Some(reason) = too_little_memory(sockets)? {
                self.note(format!("{sockets} sockets"), reason);
                break;
            }
            if sockets == 10 {
                population.add(&listeners)?;
            } else if sizes.len() == 1 {
                for family in [Family::V4, Family::V6] {
                    population.add(&lasting(family))?;
                }
            }
            population.grow_to(sockets)?;
            let size = self.measure_over(&population.expected(), args.rounds(sockets))?;
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// Measures the ways with a required ratio over as many connections of a client as the largest
    /// size has sockets. Then the other ways cannot be measured any more.
    fn measure_clients(&mut self, args: &Args, sizes: &[Size]) -> Outcome<Option<Size>> {
        let Some(largest) = sizes.last().filter(|_| !args.quick) else {
            return Ok(None);
        };
        self.ways.retain(|way| way.has_required_ratio());
        self.enter_new_namespace()?;
        let mut population = Population::new(Role::Client)?;
        population.grow_to(largest.sockets)?;
        let size = self.measure_over(&population.expected(), args.rounds(largest.sockets))?;
        Ok(Some(size))
    }

    /// Runs each way once in each round. The rounds start at different places in the order of the
    /// ways.
    fn measure_over(&mut self, expected: &Counts, (rounds, slow): (usize, usize)) -> Outcome<Size> {
        let sockets = format!("with {} sockets", number(expected.total()));
        let ways = self.ways.clone();
        let mut rows: Vec<Row> = ways
            .iter()
            .map(|&way| Row {
                way,
                runs: Vec::new(),
            })
            .collect();
        for round in 0..rounds {
            for place in 0..ways.len() {
                let which = (place + round * ways.len() / rounds) % ways.len();
                let way = ways[which];
                // A way that has failed once is left out: the cost of a failure compares with
                // nothing.
                if !self.ways.contains(&way) || (way.is_slow() && round >= slow) {
                    continue;
                }
                match self.run(way, expected)? {
                    Ok(run) => rows[which].runs.push(run),
                    Err(reason) => self.leave_out(way, format!("{sockets}: {reason}")),
                }
            }
            say(&format!(
                "{} sockets: round {} of {rounds}",
                expected.total(),
                round + 1
            ));
        }
        rows.retain(|row| self.ways.contains(&row.way));
        for row in rows.iter().filter(|row| row.runs.is_empty()) {
            self.left_out.push(LeftOut {
                what: row.way.label().to_owned(),
                reason: format!("{sockets}: a short run has no time for it"),
            });
        }
        rows.retain(|row| !row.runs.is_empty());
        for row in &rows {
            say(&format!(
                "  {:<40} {:>10.2} ms",
                row.way.label(),
                row.cpu() * 1e3
            ));
        }
        Ok(Size {
            sockets: expected.total(),
            counts: expected.to_string(),
            rows,
        })
    }

    /// Goes on without a way.
    fn leave_out(&mut self, way: Way, reason: String) {
        self.note(way.label().to_owned(), reason);
        self.ways.retain(|other| *other != way);
    }

    /// Reports a missing part, here and in the results.
    fn note(&mut self, what: String, reason: String) {
        say(&format!("left out: {what}: {reason}"));
        self.left_out.push(LeftOut { what, reason });
    }

    /// Counts once. The inner error is that the way failed; the outer one that its counts are not
    /// `expected`, in which case no figure is worth anything.
    fn run(&self, way: Way, expected: &Counts) -> Outcome<Result<Run, String>> {
        let result = match (way.command(&self.programs), &self.exporter) {
            (Some(command), _) => measure(&command),
            (None, Some(exporter)) => exporter.scrape(),
            (None, None) => Err("it was not started".into()),
        };
        let (run, text) = match result {
            Ok(result) => result,
            Err(e) => return Ok(Err(e.to_string())),
        };
        if !way.is_drain() {
            let label = way.label();
            let counts = answers::counts(&text).map_err(|e| format!("{label}: {e}"))?;
            if let Some(difference) = naive::difference(expected, &counts) {
                return Err(format!("counts differ: {label}: {difference}").into());
            }
        }
        Ok(Ok(run))
    }
}

/// Some sockets in every state that no timer ends: not `TIME_WAIT`, not `SYN_RECV`.
fn lasting(family: Family) -> Mix {
    Mix {
        family,
        listen: 5,
        syn_sent: 2,
        established: 3,
        fin_wait1: 2,
        fin_wait2_full: 3,
        close_wait: 4,
        last_ack: 2,
        closing: 2,
        ..Mix::default()
    }
}

/// The reason why this many sockets cannot be measured, if there is too little memory for them.
fn too_little_memory(sockets: u64) -> Outcome<Option<String>> {
    let available = memory("MemAvailable")?;
    let needed = sockets * KIB_PER_SOCKET;
    Ok((available < needed).then(|| {
        format!(
            "they take {} MiB of memory, of which {} MiB are available",
            needed / 1024,
            available / 1024
        )
    }))
}

fn memory(what: &str) -> Outcome<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix(what));
    let number = line.and_then(|line| line.strip_prefix(':')?.trim().strip_suffix(" kB"));
    Ok(number
        .ok_or_else(|| format!("no {what} in /proc/meminfo"))?
        .parse()?)
}

fn machine() -> Outcome<Vec<(String, String)>> {
    // The kernel counts a process's peak of memory from what its parent had.
    let (nothing, _) = measure(&["true".to_owned()])?;
    let floor = nothing.peak_kib.unwrap_or_default() as f64 / 1024.0;
    let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let virtual_machine = cpuinfo
        .lines()
        .any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"));
    let load = fs::read_to_string("/proc/loadavg")?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    // Negative if the table is shared with the parent namespace.
    let buckets: i64 = netns::sysctl("net/ipv4/tcp_ehash_entries")?.parse()?;
    let pair = |name: &str, value: String| (name.to_owned(), value);
    Ok(vec![
        pair("processor", model.to_owned()),
        pair(
            "processors",
            format!(
                "{}{}",
                std::thread::available_parallelism()?,
                if virtual_machine {
                    ", of a virtual machine"
                } else {
                    ""
                }
            ),
        ),
        pair(
            "memory",
            format!("{:.1} GiB", memory("MemTotal")? as f64 / 1024.0 / 1024.0),
        ),
        pair("kernel", release.trim().to_owned()),
        pair(
            "load average before",
            load.split(' ').next().unwrap_or_default().to_owned(),
        ),
        pair(
            "buckets of the kernel's hash table",
            buckets.abs().to_string(),
        ),
        pair(
            "a process that does nothing",
            format!(
                "{:.2} ms CPU time, {floor:.2} MiB: the measurement floor",
                nothing.cpu * 1e3
            ),
        ),
    ])
}

fn versions(own: &str) -> Vec<(String, String)> {
    let mut versions = vec![("tcpstat".to_owned(), own.to_owned())];
    for package in PACKAGES {
        let output = Command::new("dpkg-query")
            .args(["--show", "--showformat=${Version}", package])
            .output();
        let version = match output {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
            _ => "not installed".to_owned(),
        };
        versions.push(((*package).to_owned(), version));
    }
    versions
}

/// Loads the BPF iterator. Gives the file whose reader runs it.
fn pin_iterator(object: &Path, directory: &Path) -> Result<String, String> {
    let bpffs = directory.join("bpf");
    fs::create_dir_all(&bpffs).map_err(|e| e.to_string())?;
    mount_fs(Some("bpf"), &bpffs, MsFlags::empty()).map_err(|e| e.to_string())?;
    let pinned = bpffs.join("tcp");
    let output = Command::new("bpftool")
        .args(["iter", "pin"])
        .args([object, &pinned])
        .output()
        .map_err(|e| format!("cannot start bpftool: {e}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        let last = errors.trim().lines().last().unwrap_or_default().to_owned();
        return Err(format!("bpftool cannot load it: {last}"));
    }
    Ok(pinned.to_string_lossy().into_owned())
}

fn mount_fs(kind: Option<&str>, at: &Path, flags: MsFlags) -> Outcome {
    mount(kind, at, kind, flags, None::<&str>)
        .map_err(|e| format!("mounting {}: {e}", at.display()).into())
}

fn say(text: &str) {
    eprintln!("tcpstat: {text}");
}
