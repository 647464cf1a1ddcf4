// SPDX-License-Identifier: GPL-2.0-only

//! Scrapes of `tcpstat exporter` beside node_exporter: what one costs, what memory many leave, and
//! how many connections may be held at once.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::time::{clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use tcpstat_tests::limits::allow_many_files;
use tcpstat_tests::netns;

use crate::measure::measure;
use crate::outcome::Outcome;
use crate::population::{Population, Role};
use crate::ways::NODE_EXPORTER;

/// Arguments of `scrapes`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command that is measured
    #[arg(long)]
    tcpstat: PathBuf,
    /// Sockets of the machine for the cost of a scrape
    #[arg(long, default_value_t = 1_000_000)]
    sockets: u64,
    /// Seconds of each line of the load table
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Where to put the tables
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Sockets of the machine for the load table.
const LOADED: u64 = 10_000;
/// Idle connections beside those that scrape.
const IDLE: usize = 5000;
/// Scrapes after which the memory is measured.
const MANY: usize = 1000;
/// Scrapes of which the median is taken.
const ROUNDS: usize = 7;

/// An exporter that runs in this network namespace.
struct Exporter {
    child: Child,
    address: &'static str,
}

impl Exporter {
    fn tcpstat(args: &Args) -> Outcome<Self> {
        let address = "127.0.0.1:10069";
        let mut command = Command::new(&args.tcpstat);
        command.args([
            "exporter",
            "--log.level=error",
            "--web.listen-address",
            address,
        ]);
        Self::start(command, address)
    }

    fn node() -> Outcome<Self> {
        let address = "127.0.0.1:9100";
        let mut command = Command::new(NODE_EXPORTER);
        command.args([
            "--log.level=error",
            "--collector.disable-defaults",
            "--collector.tcpstat",
            "--web.disable-exporter-metrics",
        ]);
        command.arg(format!("--web.listen-address={address}"));
        Self::start(command, address)
    }

    fn start(mut command: Command, address: &'static str) -> Outcome<Self> {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
        let exporter = Self { child, address };
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                return Err(format!("nothing listens at {address}").into());
            }
            sleep(Duration::from_millis(20));
        }
        Ok(exporter)
    }

    /// The processor time that it has taken, in seconds.
    fn cpu(&self) -> Outcome<f64> {
        let clock = clock_getcpuclockid(Pid::from_raw(self.child.id() as i32))?;
        Ok(Duration::from(clock_gettime(clock)?).as_secs_f64())
    }

    /// Its resident memory, in KiB.
    fn memory(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        Ok(number.ok_or("no VmRSS in /proc/PID/status")?.parse()?)
    }

    /// The median cost of a scrape, in seconds of processor time.
    fn cost(&self, query: &str) -> Outcome<f64> {
        let mut stream = Connection::new(self.address)?;
        stream.scrape(query)?;
        let mut costs = Vec::new();
        for _ in 0..ROUNDS {
            let before = self.cpu()?;
            if stream.scrape(query)? != 200 {
                return Err(format!("{}: the scrape failed", self.address).into());
            }
            // For the work that a scrape leaves, such as garbage collection.
            sleep(Duration::from_millis(100));
            costs.push(self.cpu()? - before);
        }
        Ok(median(costs))
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// A connection that is kept.
struct Connection(BufReader<TcpStream>);

impl Connection {
    fn new(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Scrapes once. Gives the status.
    fn scrape(&mut self, query: &str) -> io::Result<u16> {
        let request = format!("GET /metrics{query} HTTP/1.1\r\nHost: bench\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut length, mut chunked) = (0, 0, false);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest
                    .get(..3)
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(0);
            } else if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().map_err(io::Error::other)?;
            } else if line == "transfer-encoding: chunked" {
                chunked = true;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                let mut size = String::new();
                self.0.read_line(&mut size)?;
                length = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            }
            body.resize(length, 0);
            self.0.read_exact(&mut body)?;
            if chunked {
                self.0.read_line(&mut String::new())?;
            }
            if !chunked || length == 0 {
                return Ok(status);
            }
        }
    }
}

/// What connections that are held at once get.
struct Load {
    per_second: f64,
    median: Duration,
    high: Duration,
    errors: f64,
}

/// Scrapes by this many connections at once, each as soon as it has its answer.
fn load(address: &'static str, connections: usize, seconds: u64) -> Load {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let (mut times, mut errors) = (Vec::new(), 0_usize);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..connections)
            .map(|_| {
                let client = || {
                    let (mut times, mut errors) = (Vec::new(), 0_usize);
                    let mut connection = Connection::new(address);
                    while !stop.load(Relaxed) {
                        let begun = Instant::now();
                        let status = match &mut connection {
                            Ok(connection) => connection.scrape("").ok(),
                            Err(_) => None,
                        };
                        match status {
                            Some(200) => times.push(begun.elapsed()),
                            status => {
                                errors += 1;
                                if status.is_none() {
                                    connection = Connection::new(address);
                                }
                            }
                        }
                    }
                    (times, errors)
                };
                let builder = thread::Builder::new().stack_size(128 * 1024);
                builder.spawn_scoped(scope, client)
            })
            .collect();
        sleep(Duration::from_secs(seconds));
        stop.store(true, Relaxed);
        for client in clients.into_iter().flatten() {
            if let Ok((of_client, failed)) = client.join() {
                times.extend(of_client);
                errors += failed;
            }
        }
    });
    let taken = start.elapsed().as_secs_f64();
    times.sort();
    let at = |share: usize| {
        times
            .get(times.len() * share / 100)
            .copied()
            .unwrap_or_default()
    };
    Load {
        per_second: times.len() as f64 / taken,
        median: at(50),
        high: at(99),
        errors: errors as f64 / (errors + times.len()).max(1) as f64,
    }
}

/// Measures, in network namespaces of its own, and writes the tables.
pub(crate) fn run(args: &Args) -> Outcome {
    allow_many_files()?;
    let mut text = String::new();
    netns::enter_new()?;
    costs(args, &mut text)?;
    netns::enter_new()?;
    loads(args, &mut text)?;
    print!("{text}");
    if let Some(out) = &args.out {
        fs::write(out, text)?;
    }
    Ok(())
}

fn costs(args: &Args, text: &mut String) -> Outcome {
    let mut population = Population::new(Role::Server)?;
    population.grow_to(args.sockets)?;
    let tcpstat = args.tcpstat.display().to_string();
    let command = |arguments: &[&str]| -> Outcome<f64> {
        let whole = [tcpstat.as_str()]
            .into_iter()
            .chain(arguments.iter().copied());
        let whole: Vec<String> = whole.map(str::to_owned).collect();
        let runs = (0..ROUNDS).map(|_| measure(&whole).map(|(run, _)| run.cpu));
        Ok(median(runs.collect::<Outcome<_>>()?))
    };
    let (totals, services) = (command(&[])?, command(&["services"])?);
    let exporter = Exporter::tcpstat(args)?;
    let only_totals = exporter.cost("?collect[]=totals")?;
    let both = exporter.cost("?collect[]=totals&collect[]=services")?;
    let first = exporter.memory()?;
    let mut stream = Connection::new(exporter.address)?;
    for _ in 0..MANY {
        stream.scrape("?collect[]=totals")?;
    }
    let many = exporter.memory()?;
    drop(exporter);
    let node = Exporter::node()?;
    let by_node = node.cost("")?;
    let of_node = node.memory()?;
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    let mib = |kib: u64| format!("{:.1} MiB", kib as f64 / 1024.0);
    writeln!(
        text,
        "With {} sockets, medians of {ROUNDS}, processor time:\n",
        args.sockets
    )?;
    writeln!(
        text,
        "| | processor time | resident memory |\n|---|---|---|"
    )?;
    writeln!(text, "| `tcpstat` | {} | |", ms(totals))?;
    writeln!(
        text,
        "| a scrape of totals | {} ({:.2}×) | |",
        ms(only_totals),
        only_totals / totals
    )?;
    writeln!(text, "| `tcpstat services` | {} | |", ms(services))?;
    writeln!(
        text,
        "| a scrape of totals and services | {} ({:.2}×) | {} |",
        ms(both),
        both / services,
        mib(first)
    )?;
    writeln!(text, "| after {MANY} scrapes of totals | | {} |", mib(many))?;
    writeln!(
        text,
        "| a scrape of node_exporter | {} | {} |\n",
        ms(by_node),
        mib(of_node)
    )?;
    Ok(())
}

fn loads(args: &Args, text: &mut String) -> Outcome {
    let mut population = Population::new(Role::Server)?;
    population.grow_to(LOADED)?;
    writeln!(
        text,
        "Connections that scrape all at once, each again as soon as it has its answer, with {LOADED} \
         sockets on the machine. tcpstat shows totals, services, counters and limits, node_exporter \
         its tcpstat collector alone.\n"
    )?;
    writeln!(
        text,
        "| connections | idle besides | exporter | scrapes a second | median | 99 % | errors |\n|---|---|---|---|---|---|---|"
    )?;
    for (name, start) in [
        (
            "tcpstat",
            Exporter::tcpstat as fn(&Args) -> Outcome<Exporter>,
        ),
        ("node_exporter", |_| Exporter::node()),
    ] {
        let exporter = start(args)?;
        let mut line = |connections: usize, idle: usize| -> Outcome {
            let load = load(exporter.address, connections, args.seconds);
            writeln!(
                text,
                "| {connections} | {idle} | {name} | {:.0} | {:.1} ms | {:.1} ms | {:.1} % |",
                load.per_second,
                load.median.as_secs_f64() * 1e3,
                load.high.as_secs_f64() * 1e3,
                load.errors * 100.0
            )?;
            Ok(())
        };
        for connections in (50..=450).step_by(50) {
            line(connections, 0)?;
        }
        let idle: io::Result<Vec<TcpStream>> = (0..IDLE)
            .map(|_| TcpStream::connect(exporter.address))
            .collect();
        let idle = idle?;
        line(450, idle.len())?;
    }
    Ok(())
}
