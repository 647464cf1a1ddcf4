// SPDX-License-Identifier: GPL-2.0-only

//! Connections that come and go, counters of them, and which counts a reading can give meanwhile.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// A lower limit of the life of a time-wait socket, which is 60 s (`TCP_TIMEWAIT_LEN`).
const TIME_WAIT_LEAST: Duration = Duration::from_secs(50);

/// What has happened to the connections so far. Each counter only grows, and counts operations that
/// have begun or that have ended, so that there are bounds for the true number of connections at
/// any moment.
#[derive(Default)]
pub struct Events {
    /// Connections whose opening has begun.
    pub begun: AtomicU64,
    /// Connections known to be open: both ends are `ESTABLISHED`.
    open: AtomicU64,
    /// Connections whose closing has begun.
    ending: AtomicU64,
    /// Those of them that will leave a time-wait socket.
    ending_orderly: AtomicU64,
    /// Connections known to have no socket in the table, except for a time-wait socket, and one in
    /// `LAST_ACK` that waits for the last segment.
    pub gone: AtomicU64,
    /// Those of them that have left a time-wait socket.
    gone_orderly: AtomicU64,
    /// When the closing of each connection that leaves a time-wait socket began.
    orderly_began: Mutex<Vec<Instant>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot {
    begun: u64,
    open: u64,
    ending: u64,
    ending_orderly: u64,
    gone: u64,
    gone_orderly: u64,
    /// Time-wait sockets that are old enough to have ended.
    old: u64,
}

impl Events {
    /// The counters if `connections` are open already, and stay open.
    pub fn with_open(connections: u64) -> Self {
        Self {
            begun: connections.into(),
            open: connections.into(),
            ..Self::default()
        }
    }

    /// The counters, now.
    pub fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let now = Instant::now();
        let began = self
            .orderly_began
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Snapshot {
            old: began
                .iter()
                .filter(|began| now - **began > TIME_WAIT_LEAST)
                .count() as u64,
            begun: get(&self.begun),
            open: get(&self.open),
            ending: get(&self.ending),
            ending_orderly: get(&self.ending_orderly),
            gone: get(&self.gone),
            gone_orderly: get(&self.gone_orderly),
        }
    }
}

impl Snapshot {
    /// The most connections that may have been opening or closing at some time since `before`.
    pub fn moving_since(&self, before: &Snapshot) -> u64 {
        (self.begun - before.open) + (self.ending - before.gone)
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

/// Fails unless a reading between the snapshots can have given `counts`. The number of listeners is
/// in `listening` at every moment.
///
/// A socket stays in its bucket as long as it lives. A walk that sees each bucket at a single
/// moment, like the module's, counts each socket that exists during the whole reading once, and
/// each that comes or goes at most once. Other walks may miss up to `missed` sockets, or count as
/// many twice.
pub fn possible(
    counts: &Counts,
    before: &Snapshot,
    after: &Snapshot,
    listening: &RangeInclusive<u64>,
    missed: u64,
) -> Result<(), String> {
    let between = |what: &str, value: u64, least: u64, most: u64| {
        if (least..=most).contains(&value) {
            Ok(())
        } else {
            Err(format!(
                "{what} is {value}, but can only be {least} to {most}: {counts:?}, {before:?}, {after:?}"
            ))
        }
    };
    let most = 2 * (after.begun - before.gone);
    let least = (2 * before.open).saturating_sub(2 * after.ending);
    let waiting = before.gone_orderly.saturating_sub(after.old);
    let listen = counts.get(State::Listen);
    between("LISTEN", listen, *listening.start(), *listening.end())?;
    let between = |what: &str, value: u64, least: u64, most: u64| {
        between(what, value, least.saturating_sub(missed), most + missed)
    };
    between("ESTABLISHED", counts.get(State::Established), least, most)?;
    between(
        "TIME_WAIT",
        counts.get(State::TimeWait),
        waiting,
        after.ending_orderly,
    )?;
    let last_ack = counts.get(State::LastAck);
    between("LAST_ACK", last_ack, 0, after.ending_orderly)?;
    between(
        "everything but LISTEN and LAST_ACK",
        counts.total() - listen - last_ack,
        least + waiting,
        most + before.gone_orderly,
    )
}

/// Both ends of a connection.
pub type Pair = (TcpStream, TcpStream);

/// Opens a connection; both ends are `ESTABLISHED`.
pub fn open(listener: &TcpListener, events: &Events) -> io::Result<Pair> {
    add(&events.begun);
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    // A socket from accept() may not be in the table yet. It is once data has arrived through it.
    client.write_all(b"?")?;
    server.read_exact(&mut [0])?;
    add(&events.open);
    Ok((client, server))
}

/// Closes the client's end first, which then is in `TIME_WAIT`.
pub fn close(mut client: TcpStream, mut server: TcpStream, events: &Events) -> io::Result<()> {
    events
        .orderly_began
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Instant::now());
    add(&events.ending_orderly);
    add(&events.ending);
    client.shutdown(std::net::Shutdown::Write)?;
    expect_end(server.read(&mut [0])?)?;
    server.shutdown(std::net::Shutdown::Write)?;
    // The client becomes a time-wait socket in the same step in which it receives the server's FIN.
    expect_end(client.read(&mut [0])?)?;
    drop((client, server));
    add(&events.gone);
    add(&events.gone_orderly);
    Ok(())
}

fn expect_end(bytes: usize) -> io::Result<()> {
    match bytes {
        0 => Ok(()),
        _ => Err(io::Error::other("data where the end should be")),
    }
}

/// Closes with a reset, which leaves no socket.
pub fn reset(client: TcpStream, mut server: TcpStream, events: &Events) -> io::Result<()> {
    add(&events.ending);
    SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
    drop(client);
    match server.read(&mut [0]) {
        Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {}
        other => return Err(io::Error::other(format!("{other:?} after a reset"))),
    }
    drop(server);
    add(&events.gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(of: [u64; 6]) -> Snapshot {
        let [begun, open, ending, ending_orderly, gone, gone_orderly] = of;
        Snapshot {
            begun,
            open,
            ending,
            ending_orderly,
            gone,
            gone_orderly,
            old: 0,
        }
    }

    #[test]
    fn what_is_possible_and_what_is_not() {
        // Ten open; meanwhile one more is opened, and one of the ten closed.
        let before = snapshot([12, 12, 2, 2, 2, 2]);
        let after = snapshot([13, 13, 3, 3, 3, 3]);
        let missing = |missed, established, time_wait, listen| {
            let mut counts = Counts::ZERO;
            counts.set(State::Established, established);
            counts.set(State::TimeWait, time_wait);
            counts.set(State::Listen, listen);
            possible(&counts, &before, &after, &(1..=2), missed)
        };
        let check = |established, time_wait, listen| missing(0, established, time_wait, listen);
        for established in 18..=22 {
            assert_eq!(check(established, 2, 1), Ok(()));
        }
        assert_eq!(check(19, 3, 1), Ok(()));
        assert!(check(17, 3, 1).is_err(), "one too few");
        assert!(check(23, 2, 1).is_err(), "one too many");
        assert!(check(20, 1, 1).is_err(), "a time-wait socket is lost");
        assert!(check(20, 4, 1).is_err(), "a time-wait socket too many");
        assert_eq!(check(20, 2, 2), Ok(()));
        assert!(check(20, 2, 0).is_err(), "the listener is lost");
        assert!(check(20, 2, 3).is_err(), "a listener too many");
        let old = Snapshot { old: 1, ..after };
        let mut counts = Counts::ZERO;
        counts.set(State::Established, 20);
        counts.set(State::TimeWait, 1);
        counts.set(State::Listen, 1);
        assert_eq!(
            possible(&counts, &before, &old, &(1..=1), 0),
            Ok(()),
            "it may have expired"
        );
        assert!(check(u64::MAX, 2, 1).is_err(), "a negative count");

        assert_eq!(after.moving_since(&before), 2);
        for (established, time_wait) in [(17, 3), (23, 2), (20, 1), (20, 4)] {
            assert_eq!(missing(1, established, time_wait, 1), Ok(()));
        }
        assert!(missing(1, 16, 3, 1).is_err(), "two too few");
        assert!(missing(1, 20, 0, 1).is_err(), "time-wait sockets are lost");
        assert!(missing(1, 20, 2, 0).is_err(), "the listener is lost");
    }
}
