// SPDX-License-Identifier: MIT OR Apache-2.0

//! Makes a million established sockets in a network namespace of its own, counts and lists them in every way, and
//! compares the CPU time and the peak memory of each, in the same rounds.
//!
//!     cargo build --release && cargo run --release --example million [SOCKETS [ROUNDS]]
//!
//! Needs root, about 3 GiB for a million sockets, and `ss` and `awk` to compare with.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::errno::Errno;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6, connect, recv, send, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeValLike;
use tcpstat_tests::netns;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// So many sockets of a family go to one address, so that its ephemeral ports do not run out.
const PER_PROCESS: usize = 18_000;

const SS: &str = "ss -Htan | awk '{n[$1]++} END {for (s in n) print s, n[s]}'";

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["hold", count, index] => hold(count.parse()?, index.parse()?),
        ["receive"] => receive(),
        ["read"] => read(),
        [] => netns::in_new(|| compare(1_000_000, 5))?,
        [sockets] => {
            let sockets = sockets.parse()?;
            netns::in_new(|| compare(sockets, 5))?
        }
        [sockets, rounds] => {
            let (sockets, rounds) = (sockets.parse()?, rounds.parse()?);
            netns::in_new(|| compare(sockets, rounds))?
        }
        _ => Err("usage: million [SOCKETS [ROUNDS]]".into()),
    }
}

/// A way of counting, or of reading without counting.
struct Way {
    name: &'static str,
    command: Vec<String>,
    /// Its CPU time in each round, in microseconds.
    times: Vec<i64>,
    /// What it must say.
    expected: String,
}

fn compare(sockets: usize, rounds: usize) -> Result<()> {
    let this = env::current_exe()?;
    let tcpstat = tcpstat(&this)?;
    let _holders = Holders::new(&this, sockets)?;

    let way = |name, command: &[&str], expected: String| Way {
        name,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        times: Vec::new(),
        expected,
    };
    let this = this.to_str().ok_or("this program has a strange name")?;
    let tcpstat = tcpstat.to_str().ok_or("tcpstat has a strange name")?;
    let json = format!("{{\"ESTABLISHED\":{sockets},");
    let by_service = |source| {
        let name = match source {
            "procfs" => "procfs, services",
            _ => "netlink, services",
        };
        let other = format!("\"other\":{{\"total\":{sockets},");
        let command = [tcpstat, "services", "--format", "json", "--source", source];
        way(name, &command, other)
    };
    // What it writes is as much as what it reads, so there is somebody who takes it.
    let list = format!("{tcpstat} connections | wc -l");
    let mut ways = [
        way("ss | awk", &["sh", "-c", SS], format!("ESTAB {sockets}\n")),
        way("procfs", &[tcpstat, "--source", "procfs"], json.clone()),
        way("  its files, thrown away", &[this, "read"], String::new()),
        way(
            "netlink-full",
            &[tcpstat, "--source", "netlink-full"],
            json.clone(),
        ),
        way("  its dump, thrown away", &[this, "receive"], String::new()),
        by_service("procfs"),
        by_service("netlink"),
        way(
            "netlink, connections",
            &["sh", "-c", &list],
            format!("{sockets}\n"),
        ),
        way("netlink", &[tcpstat, "--source", "netlink"], json),
    ];
    for _ in 0..rounds {
        for way in &mut ways {
            let before = cpu()?;
            let output = Command::new(&way.command[0])
                .args(&way.command[1..])
                .output()?;
            way.times.push(cpu()? - before);
            let answer = String::from_utf8_lossy(&output.stdout);
            if !output.status.success() || !answer.contains(&way.expected) {
                return Err(format!("{} answers {answer:.200}", way.name).into());
            }
        }
    }

    let median = |way: &mut Way| {
        way.times.sort_unstable();
        way.times[way.times.len() / 2] as f64 / 1000.0
    };
    println!("{sockets} sockets, CPU time of the whole process, median of {rounds}:");
    let times: Vec<f64> = ways.iter_mut().map(median).collect();
    let best = times[times.len() - 1];
    for (way, time) in ways.iter().zip(&times) {
        let ratio = time / best;
        let from_to = [way.times[0], way.times[way.times.len() - 1]].map(|time| time / 1000);
        println!(
            "{:<24} {time:>9.1} ms  {ratio:>6.1} × netlink   {from_to:?} ms",
            way.name
        );
    }
    let time = |name| {
        let way = ways.iter().position(|way| way.name == name);
        way.map_or(f64::NAN, |way| times[way])
    };
    for (of, to) in [
        ("procfs", "  its files, thrown away"),
        ("procfs, services", "procfs"),
        ("netlink-full", "  its dump, thrown away"),
        ("netlink, services", "netlink-full"),
        ("netlink, connections", "netlink-full"),
    ] {
        println!("{of} / {}: {:.3}", to.trim_start(), time(of) / time(to));
    }
    for source in ["procfs", "netlink-full", "netlink"] {
        let [totals, services] = [
            &["--source", source][..],
            &["services", "--format", "json", "--source", source],
        ]
        .map(|arguments| peak(tcpstat, arguments));
        println!(
            "peak memory of {source}: {}, services: {}",
            totals?, services?
        );
    }
    let explained = Command::new(tcpstat)
        .args(["-v", "--source", "netlink"])
        .output()?;
    print!("{}", String::from_utf8_lossy(&explained.stderr));
    Ok(())
}

/// The command, where cargo puts it beside its examples.
fn tcpstat(this: &Path) -> Result<PathBuf> {
    let path = this
        .parent()
        .and_then(Path::parent)
        .map(|dir| dir.join("tcpstat"));
    match path {
        Some(path) if path.exists() => Ok(path),
        _ => Err("there is no tcpstat beside the examples: cargo build --release".into()),
    }
}

/// The CPU time of the children that ended, in microseconds.
fn cpu() -> Result<i64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    Ok((usage.user_time() + usage.system_time()).num_microseconds())
}

/// The most memory that was resident at once, by the kernel's account.
fn peak(tcpstat: &str, arguments: &[&str]) -> Result<String> {
    let mut child = Command::new(tcpstat)
        .args(arguments)
        .args(["--interval", "1h"])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().ok_or("no stdout")?;
    BufReader::new(stdout).read_line(&mut line)?;
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    child.kill()?;
    child.wait()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(peak.ok_or("no VmHWM")?.trim().to_owned())
}

/// Processes that hold sockets until this is dropped.
struct Holders(Vec<Child>);

impl Holders {
    fn new(this: &Path, sockets: usize) -> Result<Self> {
        let (_, files) = getrlimit(Resource::RLIMIT_NOFILE)?;
        setrlimit(Resource::RLIMIT_NOFILE, files, files)?;
        let most = PER_PROCESS.min(usize::try_from(files)?.saturating_sub(100));
        let mut holders = Self(Vec::new());
        for index in 0..sockets.div_ceil(most) {
            let count = most.min(sockets - index * most);
            let child = Command::new(this)
                .args(["hold", &count.to_string(), &index.to_string()])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            holders.0.push(child);
            let stdout = holders.0[index].stdout.as_mut().ok_or("no stdout")?;
            stdout
                .read_exact(&mut [0])
                .map_err(|error| format!("process {index} did not make its sockets: {error}"))?;
        }
        Ok(holders)
    }
}

impl Drop for Holders {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // It ends when its standard input does.
            drop(child.stdin.take());
        }
        for child in &mut self.0 {
            let _ = child.wait();
        }
    }
}

/// Makes `count` sockets by `TCP_REPAIR`, half of each family, and holds them until standard input ends.
fn hold(count: usize, index: u8) -> Result<()> {
    let mut sockets = Vec::with_capacity(count);
    let v4 = SockaddrIn::new(127, 1, index, 1, 1);
    let v6 =
        std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, 1000 + u16::from(index), 0, 0);
    let v6 = SockaddrIn6::from(v6);
    for i in 0..count {
        let family = if i % 2 == 0 {
            AddressFamily::Inet
        } else {
            AddressFamily::Inet6
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
        setsockopt(&socket, sockopt::TcpRepair, &1)?;
        match family {
            AddressFamily::Inet => connect(socket.as_raw_fd(), &v4)?,
            _ => connect(socket.as_raw_fd(), &v6)?,
        }
        sockets.push(socket);
    }
    std::io::stdout().write_all(b"\n")?;
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Receives a full dump and throws it away.
fn receive() -> Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    )?;
    connect(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    // struct nlmsghdr: TCPDIAG_GETSOCK, NLM_F_REQUEST | NLM_F_DUMP; struct inet_diag_req: all states.
    let mut request = [0; 76];
    request[..4].copy_from_slice(&76u32.to_ne_bytes());
    request[4..6].copy_from_slice(&18u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    request[68..72].copy_from_slice(&0x1ffeu32.to_ne_bytes());
    send(socket.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut buffer = vec![0; 32 * 1024];
    loop {
        // The kernel makes the next part while it hands out the one before: when there is none, that was the last.
        match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(_) => {}
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Reads the files of the procfs source and throws them away.
fn read() -> Result<()> {
    let mut buffer = vec![0; 1 << 20];
    for path in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
