// SPDX-License-Identifier: GPL-2.0-only

//! Scenarios: `/proc/net/tcpstat_services`, a row for each port that has a listener.
//!
//! Every scenario that calls [`every_source_gives`](super::reading::every_source_gives) checks the
//! rows. The scenarios here are for what only this file has.

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

use super::helper::cat_unprivileged;
use super::need::Need;
use super::parameters::repeat;
use super::reading::{
    SERVICES, command_services, every_source_gives, same, same_services, services, steady,
};
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::at_addresses::{self, AtAddresses, STATES};
use crate::limits::allow_many_files;
use crate::naive::{self, SERVICES_HEADER, Service};
use crate::netns;
use crate::sockets::{Family, Mix, repaired_between};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "services: an empty namespace has one row of zeros",
        seconds: 20,
        needs: &[],
        run: empty,
    },
    Scenario {
        name: "services: everyone can read them, and not even root can write",
        seconds: 30,
        needs: &[Need::Ipv6],
        run: permissions,
    },
    Scenario {
        name: "services: accept queue, backlog and drops of a listener that does not accept",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: overflow,
    },
    Scenario {
        name: "services: several listeners on one port are one row",
        seconds: 30,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: reuse_port,
    },
    Scenario {
        name: "services: a connection is that of a listener at its address",
        seconds: 60,
        needs: &[Need::Ipv6, Need::TcpDiag],
        run: at_addresses,
    },
    Scenario {
        name: "services: a listener that moves to another address while they are read",
        seconds: 60,
        needs: &[],
        run: moving,
    },
    Scenario {
        name: "services: thousands of listening ports",
        seconds: 120,
        needs: &[Need::Ipv6],
        run: ten_thousand,
    },
];

fn empty() -> Outcome {
    let text = fs::read_to_string(SERVICES)?;
    let want = format!("{SERVICES_HEADER}-{}\n", " 0".repeat(17));
    ensure!(text == want, "it reads {text:?}");
    Ok(())
}

fn permissions() -> Outcome {
    let fixture = Mix::of_each(Family::V6, 1).make()?;
    let unprivileged = || {
        let text = cat_unprivileged(SERVICES)?;
        Ok(naive::services_text(&text)?)
    };
    let name = "without privileges";
    let services = same_services(name, Path::new("/proc/self/net"), unprivileged)?;
    same(name, &fixture.expected(), &naive::sum(&services))?;
    // Root can open it for writing in spite of its mode 0444. Then the write must fail.
    let file = File::options().write(true).open(SERVICES);
    if file.is_ok_and(|mut file| file.write(b"0").is_ok()) {
        fail!("it can be written to");
    }
    Ok(())
}

/// The row of `port`.
fn row(port: u16) -> Result<Service, Box<dyn Error>> {
    let services = services()?;
    match services.get(&Some(port)) {
        Some(service) => Ok(*service),
        None => fail!("port {port} has no row: {services:?}"),
    }
}

/// Reads the row of `port` until it is `good`.
pub(super) fn wait_for(port: u16, what: &str, good: impl Fn(&Service) -> bool) -> Outcome {
    let start = Instant::now();
    loop {
        let row = row(port)?;
        if good(&row) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < Duration::from_secs(20),
            "timed out waiting for {what}: {row:?}"
        );
        sleep(Duration::from_millis(10));
    }
}

pub(super) fn listen(address: SocketAddr, backlog: i32) -> Result<Socket, Box<dyn Error>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

pub(super) fn port_of(socket: &Socket) -> Result<u16, Box<dyn Error>> {
    match socket.local_addr()?.as_socket() {
        Some(address) => Ok(address.port()),
        None => fail!("a listener has no port"),
    }
}

fn overflow() -> Outcome {
    const BACKLOG: i32 = 4;
    for ip in [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()] {
        netns::enter_new()?;
        // The queue takes one connection more than the backlog.
        let listener = listen(SocketAddr::new(ip, 0), BACKLOG)?;
        let port = port_of(&listener)?;
        let address = SocketAddr::new(ip, port);
        let mut clients = Vec::new();
        for waiting in 0..=BACKLOG as u64 {
            let got = row(port)?;
            let mut want = Service {
                listeners: 1,
                accept_queue: waiting,
                backlog: BACKLOG as u64,
                fullest: [waiting, BACKLOG as u64],
                ..Service::default()
            };
            want.counts.set(State::Listen, 1);
            want.counts.set(State::Established, waiting);
            ensure!(got == want, "with {waiting} waiting: {got:?}");
            clients.push(TcpStream::connect(address)?);
            // The listener may not have received the last segment of the handshake yet.
            wait_for(port, "a connection in the queue", |row| {
                row.accept_queue == waiting + 1
            })?;
        }
        // The client sends its request again until it is answered, and each time the listener drops
        // it.
        let more = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        more.set_nonblocking(true)?;
        ensure!(
            more.connect(&address.into()).is_err(),
            "a full queue takes one more"
        );
        wait_for(port, "a drop", |row| row.drops > 0)?;
        let full = row(port)?;
        ensure!(full.accept_queue == BACKLOG as u64 + 1, "{full:?}");
        for source in ["module", "netlink"] {
            let row = command_services(source)?[&Some(port)];
            ensure!(
                row.drops >= full.drops
                    && row.backlog == full.backlog
                    && row.fullest == full.fullest,
                "tcpstat services --source {source}: {row:?}, and before {full:?}"
            );
        }
        let no_listener = services()?[&None];
        ensure!(
            no_listener.counts.get(State::Established) == clients.len() as u64
                && no_listener.counts.get(State::SynSent) == 1,
            "the clients: {no_listener:?}"
        );
        drop(more);
        listener.accept()?;
        let after = row(port)?;
        ensure!(
            after.accept_queue == BACKLOG as u64 && after.drops >= full.drops,
            "after one was accepted: {after:?}"
        );
    }
    Ok(())
}

fn reuse_port() -> Outcome {
    let first = listen((Ipv4Addr::LOCALHOST, 0).into(), 10)?;
    let port = port_of(&first)?;
    let _others = [
        listen((Ipv4Addr::LOCALHOST, port).into(), 20)?,
        listen((Ipv4Addr::UNSPECIFIED, port).into(), 30)?,
        listen((Ipv6Addr::LOCALHOST, port).into(), 40)?,
    ];
    let single = listen((Ipv6Addr::UNSPECIFIED, 0).into(), 7)?;
    let _client = TcpStream::connect((Ipv6Addr::LOCALHOST, port))?;
    wait_for(port, "the connection", |row| row.accept_queue == 1)?;

    let mut want = Counts::ZERO;
    want.set(State::Listen, 4);
    want.set(State::Established, 1);
    let got = row(port)?;
    let shared = Service {
        listeners: 4,
        accept_queue: 1,
        backlog: 100,
        drops: 0,
        // That of the only one with a connection, not the first or the one with the greatest
        // backlog.
        fullest: [1, 40],
        counts: want,
    };
    ensure!(got == shared, "four listeners: {got:?}");
    for source in ["module", "netlink"] {
        let said = command_services(source)?[&Some(port)];
        ensure!(
            said == shared,
            "tcpstat services --source {source}: {said:?}"
        );
    }
    let got = row(port_of(&single)?)?;
    ensure!(got.listeners == 1 && got.backlog == 7, "another: {got:?}");
    let rows = services()?.len();
    ensure!(rows == 3, "{rows} rows, not two ports and -");
    want.set(State::Listen, 5);
    want.set(State::Established, 2);
    every_source_gives(&want)
}

fn at_addresses() -> Outcome {
    let _sockets = AtAddresses::new()?;
    for source in ["module", "netlink"] {
        let said = command_services(source)?;
        let counts: Vec<_> = said
            .iter()
            .map(|(port, row)| (*port, STATES.map(|state| row.counts.get(state))))
            .collect();
        let want = at_addresses::COUNTS.map(|(port, counts)| (Some(port), counts));
        let want: Vec<_> = [(None, at_addresses::OTHER)]
            .into_iter()
            .chain(want)
            .collect();
        ensure!(
            counts == want,
            "tcpstat services --source {source}: {counts:?}"
        );
    }
    Ok(())
}

/// A reading finds the addresses of the listeners before it counts connections: so all of those of
/// one address are the port's, or none of them.
fn moving() -> Outcome {
    const PORT: u16 = 7120;
    const CONNECTIONS: u64 = 50;
    let addresses = [1, 2].map(|last| SocketAddr::from(([127, 0, 0, last], PORT)));
    let remote = |nth| SocketAddr::from(([127, 0, 0, 9], 10_000 + nth as u16));
    let _connections = (0..CONNECTIONS)
        .map(|nth| repaired_between(Some(addresses[0]), remote(nth)))
        .collect::<io::Result<Vec<_>>>()?;
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        let moved = scope.spawn(|| {
            let mut moves = 0u64;
            while !end.load(Ordering::Relaxed) {
                for address in addresses {
                    listen_again(address)?;
                    moves += 1;
                }
            }
            io::Result::Ok(moves)
        });
        let read = places(PORT, CONNECTIONS);
        end.store(true, Ordering::Relaxed);
        let moves = moved.join().map_err(|_| "the listener panicked")??;
        let [theirs, absent, elsewhere] = read?;
        println!(
            "measured: {moves} moves; the listener was at their address in {theirs} readings, at \
             another in {elsewhere}, at none in {absent}"
        );
        ensure!(theirs > 0 && elsewhere > 0, "a case was never seen");
        Ok(())
    })
}

/// In how many readings all of `connections` are those of a listener at `port`, in how many there
/// is no listener, and in how many one at another address.
fn places(port: u16, connections: u64) -> Result<[u64; 3], Box<dyn Error>> {
    let mut readings = [0; 3];
    for _ in 0..repeat(300) {
        let rows = services()?;
        let established = |row: &Service| row.counts.get(State::Established);
        // A port that was found, and whose listener has gone since, has a row, too.
        let row = rows.get(&Some(port)).filter(|row| row.listeners > 0);
        let theirs = row.map(established);
        let others = rows.get(&None).map(established).unwrap_or_default();
        let place = match theirs {
            Some(theirs) if theirs == connections => 0,
            None => 1,
            Some(_) => 2,
        };
        ensure!(
            others == [0, connections, connections][place]
                && theirs.unwrap_or_default() == connections - others,
            "{theirs:?} connections of the port, and {others} others"
        );
        readings[place] += 1;
    }
    Ok(readings)
}

/// Listens at `address` for a moment.
fn listen_again(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    // The port has connections.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(16)?;
    thread::sleep(Duration::from_millis(3));
    Ok(())
}

fn ten_thousand() -> Outcome {
    let many = repeat(10_000);
    let ports = 10_000..10_000 + many as u16;
    allow_many_files()?;
    let mut listeners = Vec::new();
    for port in ports.clone() {
        listeners.push(match port % 2 {
            0 => TcpListener::bind((Ipv4Addr::LOCALHOST, port))?,
            _ => TcpListener::bind((Ipv6Addr::LOCALHOST, port))?,
        });
    }
    let _clients = [
        TcpStream::connect((Ipv4Addr::LOCALHOST, ports.start))?,
        TcpStream::connect((Ipv6Addr::LOCALHOST, ports.end - 1))?,
    ];
    let (_, (whole, pieces)) = steady(|| {
        let start = Instant::now();
        let whole = fs::read(SERVICES)?;
        println!(
            "measured: {} listening ports, {} bytes, read in {} ms",
            ports.len(),
            whole.len(),
            start.elapsed().as_millis()
        );
        let (mut file, mut pieces, mut buffer) =
            (File::open(SERVICES)?, Vec::<u8>::new(), [0; 100]);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                n => pieces.extend(&buffer[..n]),
            }
        }
        // From near the end, in a newly opened file.
        let mut end = vec![0; 100];
        let offset = whole.len() as u64 - 100;
        File::open(SERVICES)?.read_exact_at(&mut end, offset)?;
        ensure!(whole.ends_with(&end), "its last 100 bytes are not its end");
        Ok((whole, pieces))
    })?;
    ensure!(
        whole == pieces,
        "{} bytes, but others in pieces of 100: {}",
        whole.len(),
        pieces.len()
    );
    let services = naive::services_text(std::str::from_utf8(&whole)?)?;
    ensure!(
        services
            .keys()
            .copied()
            .eq([None].into_iter().chain(ports.map(Some))),
        "there are {} rows, not one for each port and -",
        services.len()
    );
    let got = same_services(SERVICES, Path::new("/proc/self/net"), self::services)?;
    let listening = naive::sum(&got).get(State::Listen);
    ensure!(listening == listeners.len() as u64, "{listening} listen");
    Ok(())
}
