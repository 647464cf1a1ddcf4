// SPDX-License-Identifier: GPL-2.0-only

//! The cost of counting by difference while sockets come and go, beside listing every socket: a
//! state that the counters do not bear out is listed in a second dump, which must not cost much.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tcpstat_tests::limits::allow_many_files;
use tcpstat_tests::netns;

use crate::measure::measure;
use crate::outcome::Outcome;

/// Arguments of `churn`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The command that is measured
    #[arg(long)]
    tcpstat: PathBuf,
    /// Rounds of each mix
    #[arg(long, default_value_t = 25)]
    rounds: usize,
}

/// The most that counting by difference may cost, in units of listing every socket.
const MOST: f64 = 1.2;

/// Sockets that come and go beside others that stay.
#[derive(Clone, Copy)]
enum Churn {
    /// Sockets in `FIN_WAIT2` stay; connections are opened and reset.
    FinWait2,
    /// Sockets in `TIME_WAIT` stay; 190 sockets in `SYN_SENT` come and go.
    SynBursts,
    /// Connections are opened and closed, so that `TIME_WAIT` is at its limit.
    TimeWaitTurnover,
}

impl Churn {
    const ALL: [Churn; 3] = [Churn::FinWait2, Churn::SynBursts, Churn::TimeWaitTurnover];

    fn name(self) -> &'static str {
        match self {
            Churn::FinWait2 => "30,000 FIN_WAIT2, connections opened and reset",
            Churn::SynBursts => "20,000 TIME_WAIT, bursts of 190 SYN_SENT",
            Churn::TimeWaitTurnover => "TIME_WAIT turnover at a limit of 20,000",
        }
    }

    /// Makes the sockets that stay, and returns those that must be kept open.
    fn prepare(self) -> Outcome<Vec<TcpStream>> {
        netns::set_sysctl("net/ipv4/tcp_tw_reuse", "0")?;
        netns::set_sysctl("net/ipv4/ip_local_port_range", "1024 65000")?;
        let mut kept = Vec::new();
        let listener = Listener::new()?;
        match self {
            Churn::FinWait2 => {
                // Each has another end in CLOSE_WAIT, with a descriptor.
                netns::set_sysctl("net/ipv4/tcp_max_tw_buckets", "100000")?;
                for _ in 0..(30_000.min(allow_many_files()? - 200)) {
                    let (client, server) = listener.pair()?;
                    drop(client);
                    kept.push(server);
                }
            }
            Churn::SynBursts | Churn::TimeWaitTurnover => {
                let limit = match self {
                    Churn::SynBursts => "100000",
                    _ => "20000",
                };
                netns::set_sysctl("net/ipv4/tcp_max_tw_buckets", limit)?;
                for _ in 0..20_000 {
                    let (client, server) = listener.pair()?;
                    drop(client);
                    drop(server);
                }
            }
        }
        Ok(kept)
    }

    /// Opens and closes sockets until `stop` is set; counts those that were opened.
    fn run(self, stop: &AtomicBool, opened: &AtomicU64) -> Outcome {
        let listener = Listener::new()?;
        let full = full_listener()?;
        while !stop.load(Relaxed) {
            match self {
                Churn::FinWait2 | Churn::TimeWaitTurnover => {
                    let (client, server) = listener.pair()?;
                    if matches!(self, Churn::FinWait2) {
                        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
                    }
                    drop(client);
                    drop(server);
                    opened.fetch_add(1, Relaxed);
                }
                Churn::SynBursts => {
                    let mut burst = Vec::new();
                    for _ in 0..190 {
                        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
                        socket.set_nonblocking(true)?;
                        // It is in progress, which is an error to connect().
                        let _ = socket.connect(&full.address);
                        burst.push(socket);
                    }
                    opened.fetch_add(190, Relaxed);
                    thread::sleep(Duration::from_millis(15));
                    drop(burst);
                    thread::sleep(Duration::from_millis(15));
                }
            }
        }
        Ok(())
    }
}

/// A listener, and connections to it.
struct Listener(TcpListener);

impl Listener {
    fn new() -> Outcome<Self> {
        Ok(Self(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?))
    }

    fn pair(&self) -> Outcome<(TcpStream, TcpStream)> {
        let client = TcpStream::connect(self.0.local_addr()?)?;
        Ok((client, self.0.accept()?.0))
    }
}

/// A listener with a full queue, which drops every SYN.
struct FullListener {
    address: SockAddr,
    _open: (Socket, TcpStream),
}

fn full_listener() -> Outcome<FullListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(0)?;
    let address = socket.local_addr()?;
    let to = address.as_socket().ok_or("the listener has no address")?;
    Ok(FullListener {
        address,
        _open: (socket, TcpStream::connect(to)?),
    })
}

/// Measures each mix in a network namespace of its own, and prints a table.
///
/// # Errors
/// If something cannot be measured, or a mix costs more than [`MOST`].
pub(crate) fn run(args: &Args) -> Outcome {
    println!(
        "| mix | opened a second | by difference, CPU ms | listing every socket, CPU ms | ratio |"
    );
    println!("|---|---|---|---|---|");
    let mut dear = Vec::new();
    for churn in Churn::ALL {
        let ratio = netns::in_new(|| measure_one(churn, args).map_err(|e| e.to_string()))??;
        if ratio > MOST {
            dear.push(churn.name());
        }
    }
    if dear.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more than {MOST} times the cost of netlink-full: {}",
        dear.join("; ")
    )
    .into())
}

/// Measures in this network namespace. Gives the ratio of the medians.
fn measure_one(churn: Churn, args: &Args) -> Outcome<f64> {
    let _kept = churn.prepare()?;
    let (stop, opened) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        let load = scope.spawn(|| churn.run(&stop, &opened).map_err(|e| e.to_string()));
        let measured = measure_both(args);
        stop.store(true, Relaxed);
        let [by_difference, full] = measured?;
        load.join().map_err(|_| "the load panicked")??;
        let rate = opened.load(Relaxed) as f64 / start.elapsed().as_secs_f64();
        let ratio = by_difference / full;
        println!(
            "| {} | {rate:.0} | {:.2} | {:.2} | {ratio:.2} |",
            churn.name(),
            1e3 * by_difference,
            1e3 * full
        );
        Ok(ratio)
    })
}

/// The median CPU time of a reading by difference, and of one that lists every socket, in seconds.
fn measure_both(args: &Args) -> Outcome<[f64; 2]> {
    let mut cpu = [Vec::new(), Vec::new()];
    for _ in 0..args.rounds {
        for (source, cpu) in ["netlink", "netlink-full"].into_iter().zip(&mut cpu) {
            let tcpstat = args.tcpstat.display().to_string();
            let command = [tcpstat, "--source".into(), source.into()];
            cpu.push(measure(&command)?.0.cpu);
        }
    }
    Ok(cpu.map(|mut cpu| {
        cpu.sort_by(f64::total_cmp);
        cpu[cpu.len() / 2]
    }))
}
