// SPDX-License-Identifier: GPL-2.0-only

//! The measurement on this machine: sockets in a namespace of their own, and everybody over the same sockets, in
//! rounds.

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

use crate::Outcome;
use crate::contenders::{self, Contender, How};
use crate::crowd::{Crowd, Role};
use crate::exporter::Exporter;
use crate::measure::measure;
use crate::results::{LeftOut, Native, Row, Run, Size, number};

/// The packages whose programs take part.
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

/// Who is compared where that is wanted at some ratio.
const WITH_A_BAR: &[&str] = &[
    "ss",
    "bpf",
    "netlink-drain",
    "tcpstat-netlink-full",
    "tcpstat-netlink",
    "tcpstat-services-netlink",
];

/// Memory that a socket takes, and what those who list it take, in KiB; generously.
const KIB_PER_SOCKET: u64 = 6;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Fewer rounds
    #[arg(long)]
    quick: bool,
    /// Up to so many sockets only
    #[arg(long)]
    most: Option<u64>,
    /// The command to measure
    #[arg(long)]
    tcpstat: PathBuf,
    /// The Python program of the other ways
    #[arg(long)]
    rivals: PathBuf,
    /// The BPF iterator, compiled
    #[arg(long)]
    iterator: Option<PathBuf>,
    /// What to call the version of tcpstat
    #[arg(long)]
    version: String,
    /// Where to put the results
    #[arg(long)]
    out: PathBuf,
}

impl Args {
    /// How many sockets, each time more.
    fn sizes(&self) -> impl Iterator<Item = u64> {
        let most = self.most.unwrap_or(u64::MAX);
        [10, 10_000, 100_000, 1_000_000]
            .into_iter()
            .filter(move |size| *size <= most)
    }

    /// How many rounds, and how many of them with the slow ones. Ten sockets are counted in no time, which is hard
    /// to measure, so that takes more of them.
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

/// Starts the measurement as the first process of a PID namespace: whatever happens to it, nothing that it started
/// outlives it, and who looks at every process of the machine sees only those.
pub(crate) fn outside(args: &Args) -> Outcome {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS)
        .map_err(|e| format!("a namespace of its own: {e} (this has to run as root)"))?;
    let mut words = std::env::args_os();
    words.next();
    words.next();
    let status = Command::new("/proc/self/exe")
        .arg("native-inside")
        .args(words)
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
    let (contenders, left_out) =
        contenders::present(&path(&args.tcpstat), &path(&args.rivals), iterator);
    let mut arena = Arena {
        contenders,
        left_out,
        directory,
        exporter: None,
    };
    for LeftOut { who, why } in &arena.left_out {
        say(&format!("left out: {who}: {why}"));
    }

    let machine = machine()?;
    let (agreed, agreeing) = arena.agree()?;
    let sizes = arena.measure(args)?;
    let clients = arena.measure_clients(args, &sizes)?;
    let results = Native {
        quick: args.quick,
        machine,
        versions: versions(&args.version),
        agreed: agreed.to_string(),
        agreeing,
        sizes,
        clients,
        left_out: arena.left_out,
    };
    fs::write(&args.out, serde_json::to_string_pretty(&results)?)?;
    Ok(())
}

struct Arena {
    contenders: Vec<Contender>,
    left_out: Vec<LeftOut>,
    directory: PathBuf,
    exporter: Option<Exporter>,
}

impl Arena {
    /// A new namespace without sockets, with an exporter of its own in it.
    fn clear(&mut self) -> Outcome {
        self.exporter = None;
        netns::enter_new()?;
        if self
            .contenders
            .iter()
            .any(|contender| matches!(contender.how, How::Scrape))
        {
            match Exporter::start(&self.directory) {
                Ok(exporter) => self.exporter = Some(exporter),
                Err(e) => self.leave_out("node_exporter", e.to_string()),
            }
        }
        Ok(())
    }

    /// Sockets in every state, those included that a timer ends within a minute: all must give the same counts.
    /// Gives these, and how many gave them.
    fn agree(&mut self) -> Outcome<(Counts, usize)> {
        self.clear()?;
        let mut crowd = Crowd::new(Role::Server)?;
        crowd.grow_to(10_000)?;
        for family in Family::ALL {
            crowd.add(&Mix::of_each(family, 3))?;
        }
        let expected = crowd.expected();
        let mut agreeing = 0;
        let mut failed = Vec::new();
        for contender in self.contenders.iter().filter(|c| c.answers) {
            match self.run(contender, &expected)? {
                Ok(_) => agreeing += 1,
                Err(why) => failed.push((contender.who, why)),
            }
        }
        for (who, why) in failed {
            self.leave_out(who, why);
        }
        say(&format!(
            "{} sockets in all states: all {agreeing} give the same counts",
            expected.total()
        ));
        Ok((expected, agreeing))
    }

    fn measure(&mut self, args: &Args) -> Outcome<Vec<Size>> {
        self.clear()?;
        // Connecting is to go on for longer than this takes.
        netns::set_sysctl("net/ipv4/tcp_syn_retries", "127")?;
        let mut crowd = Crowd::new(Role::Server)?;
        let listeners = Mix {
            listen: 2,
            ..Mix::default()
        };
        let mut sizes = Vec::new();
        for sockets in args.sizes() {
            if let Some(why) = no_room(sockets)? {
                say(&format!("left out: {sockets} sockets: {why}"));
                let who = format!("{sockets} sockets");
                self.left_out.push(LeftOut { who, why });
                break;
            }
            if sockets == 10 {
                crowd.add(&listeners)?;
            } else if sizes.len() == 1 {
                for family in [Family::V4, Family::V6] {
                    crowd.add(&lasting(family))?;
                }
            }
            crowd.grow_to(sockets)?;
            let size = self.measure_over(&crowd.expected(), args.rounds(sockets))?;
            sizes.push(size);
        }
        Ok(sizes)
    }

    /// As many sockets again as there were most, this time of a client, and only those with whom a bar was set.
    /// Nobody takes part in anything after this.
    fn measure_clients(&mut self, args: &Args, sizes: &[Size]) -> Outcome<Option<Size>> {
        let Some(largest) = sizes.last().filter(|_| !args.quick) else {
            return Ok(None);
        };
        self.contenders
            .retain(|contender| WITH_A_BAR.contains(&contender.who));
        self.clear()?;
        let mut crowd = Crowd::new(Role::Client)?;
        crowd.grow_to(largest.sockets)?;
        let size = self.measure_over(&crowd.expected(), args.rounds(largest.sockets))?;
        Ok(Some(size))
    }

    /// Everybody in each round, every time from another place in the order on.
    fn measure_over(&mut self, expected: &Counts, (rounds, slow): (usize, usize)) -> Outcome<Size> {
        let mut rows: Vec<Row> = self.contenders.iter().map(row).collect();
        let many = self.contenders.len();
        let mut failed: Vec<(&'static str, String)> = Vec::new();
        for round in 0..rounds {
            for place in 0..many {
                let which = (place + round * many / rounds) % many;
                let contender = &self.contenders[which];
                if contender.slow && round >= slow {
                    continue;
                }
                if failed.iter().any(|(who, _)| *who == contender.who) {
                    continue;
                }
                match self.run(contender, expected)? {
                    Ok(run) => rows[which].runs.push(run),
                    Err(why) => failed.push((contender.who, why)),
                }
            }
            say(&format!(
                "{} sockets: round {} of {rounds}",
                expected.total(),
                round + 1
            ));
        }
        // Who fails once is left out from here on: what it costs to fail is nothing to compare with.
        rows.retain(|row| !failed.iter().any(|(who, _)| *who == row.who));
        for (who, why) in failed {
            self.leave_out(
                who,
                format!("with {} sockets: {why}", number(expected.total())),
            );
        }
        rows.retain(|row| {
            if row.runs.is_empty() {
                self.left_out.push(LeftOut {
                    who: contenders::label(&row.who).to_owned(),
                    why: format!(
                        "with {} sockets: a short run has no time for it",
                        number(expected.total())
                    ),
                });
            }
            !row.runs.is_empty()
        });
        for row in &rows {
            say(&format!(
                "  {:<40} {:>10.2} ms",
                contenders::label(&row.who),
                row.cpu() * 1e3
            ));
        }
        Ok(Size {
            sockets: expected.total(),
            counts: expected.to_string(),
            rows,
        })
    }

    /// Goes on without a contender.
    fn leave_out(&mut self, who: &str, why: String) {
        let who_for_people = contenders::label(who).to_owned();
        say(&format!("left out: {who_for_people}: {why}"));
        self.left_out.push(LeftOut {
            who: who_for_people,
            why,
        });
        self.contenders.retain(|contender| contender.who != who);
    }

    /// Has one count. The inner error is that it could not; the outer one, that what it says is not `expected`,
    /// and all figures are worth nothing.
    fn run(&self, contender: &Contender, expected: &Counts) -> Outcome<Result<Run, String>> {
        let done = match (&contender.how, &self.exporter) {
            (How::Process(command), _) => measure(command),
            (How::Scrape, Some(exporter)) => exporter.scrape(),
            (How::Scrape, None) => Err("it was not started".into()),
        };
        let (run, text) = match done {
            Ok(done) => done,
            Err(e) => return Ok(Err(e.to_string())),
        };
        if contender.answers {
            let label = contenders::label(contender.who);
            let counts = contenders::counts(&text).map_err(|e| format!("{label}: {e}"))?;
            if let Some(difference) = naive::difference(expected, &counts) {
                return Err(format!("counts differ: {label}: {difference}").into());
            }
        }
        Ok(Ok(run))
    }
}

fn row(contender: &Contender) -> Row {
    Row {
        who: contender.who.to_owned(),
        runs: Vec::new(),
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

/// Says so if there is not memory enough for so many sockets.
fn no_room(sockets: u64) -> Outcome<Option<String>> {
    let available = memory("MemAvailable")?;
    let needed = sockets * KIB_PER_SOCKET;
    Ok((available < needed).then(|| {
        format!(
            "they take {} MiB of memory, of which {} MiB are left",
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
    // The kernel counts a process's peak from what the one that started it had.
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
    // Negative where the table is the one of the parent namespace.
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
                "{:.2} ms CPU time, {floor:.2} MiB: less cannot be told",
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

/// Loads the BPF iterator and gives the file whose reader runs it.
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
