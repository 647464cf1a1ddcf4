// SPDX-License-Identifier: MIT OR Apache-2.0

//! The kernel's answer over `NETLINK_SOCK_DIAG`: a dump, a binary message for each socket. Counting
//! by state reads one byte of each; counting by port, three.
//!
//! A dump lists sockets in all states, or in some; at all ports, or at some.

pub(crate) mod dump;
pub(crate) mod socket;
pub(crate) mod wire;

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use nix::net::if_::if_nameindex;

use self::dump::{Query, States};
use self::socket::Answer;
use self::wire::InetDiagMsg;
use super::by_port::PortTable;
use super::namespace::{Handle, THREAD_NET, inside};
use super::root::Root;
use super::sockstat::Sockstat;
use crate::connections::{Connection, Filter};
use crate::error::Error;
use crate::listeners::{Interface, Listener, Owner};
use crate::ports::Ports;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// The kernel fills a datagram of a dump up to 32 KiB, if it fits into the reader's buffer
/// (`netlink_dump`).
pub(crate) const BUFFER: usize = 32 * 1024;

/// What a dump found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// The connections by state.
    pub(crate) counts: Counts,
    /// Those of `SYN_RECV` that are request sockets: handshakes that have no full socket yet. The
    /// others of `SYN_RECV` are full: children of Fast Open requests, and those that the last ACK
    /// has made this instant.
    pub(crate) request_sockets: u64,
    /// Those of `FIN_WAIT2` that are time-wait sockets: closed, so that no full socket is needed
    /// any longer.
    pub(crate) fin_wait2_timewait: u64,
}

impl Tally {
    /// Counts the socket that `message` is about.
    #[inline]
    pub(crate) fn add(&mut self, message: &InetDiagMsg) -> Result<(), String> {
        let state = message.state()?;
        self.counts.add_one(state);
        match state {
            State::SynRecv if !message.is_full() => self.request_sockets += 1,
            State::FinWait2 if !message.is_full() => self.fin_wait2_timewait += 1,
            _ => {}
        }
        Ok(())
    }
}

/// Lists sockets by their states.
pub(crate) trait List {
    /// Counts the connections that are in `states`. Stops early, with an incomplete tally, once
    /// `go_on` is false.
    ///
    /// A connection that changes its state meanwhile may be listed in a state that was not asked
    /// for.
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error>;

    /// The cookies of all listeners, in ascending order. The kernel walks no other table for it.
    fn listener_cookies(&mut self) -> Result<Vec<u64>, Error>;
}

/// Netlink in one network namespace.
#[derive(Debug)]
pub(crate) struct Netlink<'a> {
    namespace: Option<&'a Handle>,
    /// Whether no sockets are there, so that the kernel is not asked.
    empty: bool,
    buffer: &'a mut Vec<u8>,
}

impl List for Netlink<'_> {
    fn list(&mut self, states: States, go_on: impl Fn(&Tally) -> bool) -> Result<Tally, Error> {
        let mut tally = Tally::default();
        if self.empty {
            return Ok(tally);
        }
        let mut answer = self.ask(Query::of(states))?;
        while answer.receive(self.buffer, |message| tally.add(message))? && go_on(&tally) {}
        Ok(tally)
    }

    fn listener_cookies(&mut self) -> Result<Vec<u64>, Error> {
        let mut cookies = Vec::new();
        self.each(Query::of(States::LISTEN), |message| {
            cookies.push(message.cookie());
            Ok(())
        })?;
        cookies.sort_unstable();
        Ok(cookies)
    }
}

impl<'a> Netlink<'a> {
    /// Netlink in the calling thread's network namespace. Datagrams are received into `buffer`,
    /// which is allocated here if it is empty, and never grows.
    pub(crate) fn new(buffer: &'a mut Vec<u8>) -> Self {
        if buffer.is_empty() {
            *buffer = vec![0; BUFFER];
        }
        Self {
            namespace: None,
            empty: false,
            buffer,
        }
    }

    /// The same in another network namespace.
    ///
    /// # Errors
    /// [`Error::Namespace`] if it may not be entered.
    pub(crate) fn of(root: &'a Root, buffer: &'a mut Vec<u8>) -> Result<Self, Error> {
        Ok(Self {
            namespace: root.namespace()?,
            empty: root.is_empty(),
            ..Self::new(buffer)
        })
    }

    /// The counters of the network namespace.
    pub(crate) fn counters(&self) -> Result<Sockstat, Error> {
        // Those of the thread that opens them, like a netlink socket. A procfs that the user names
        // may be a saved one.
        inside(self.namespace, || Sockstat::open(Path::new(THREAD_NET)))
    }

    /// Counts every connection of the network namespace.
    pub(crate) fn sample(&mut self) -> Result<Counts, Error> {
        Ok(self.list(States::ALL, |_| true)?.counts)
    }

    /// Counts by port: first the listeners, whose messages are longer, then all others.
    pub(crate) fn services<'p>(
        &mut self,
        ports: Option<&'p Ports>,
    ) -> Result<PortTable<'p>, Error> {
        let mut table = PortTable::new(ports);
        let [listeners, others] = Query::by_port(ports);
        self.each(listeners, |message| add(&mut table, message))?;
        self.each(others, |message| add(&mut table, message))?;
        Ok(table)
    }

    /// Lists the sockets that listen, in the order of the kernel.
    pub(crate) fn listeners(&mut self, ports: Option<&Ports>) -> Result<Vec<Listener>, Error> {
        let mut listeners = Vec::new();
        let [query, _] = Query::by_port(ports);
        self.each(query, |message| {
            listeners.extend(listener(message)?);
            Ok(())
        })?;
        let bound = listeners.iter_mut();
        let bound: Vec<_> = bound.filter_map(|one| one.interface.as_mut()).collect();
        if !bound.is_empty() {
            // An index means nothing in another namespace. Without names, the indices are left.
            let names = inside(self.namespace, || Ok(interfaces()))?;
            for interface in bound {
                interface.name = names.get(&interface.index).cloned();
            }
        }
        Ok(listeners)
    }

    /// Whose the sockets are that listen, in the order of the kernel.
    pub(crate) fn owners(&mut self, ports: Option<&Ports>) -> Result<Vec<Owner>, Error> {
        let mut owners = Vec::new();
        self.connections(&Filter::of_listeners(ports), |connection, message| {
            owners.push(Owner::of(connection, message.cgroup()));
        })?;
        Ok(owners)
    }

    /// Hands on the connections that `filter` accepts, with their messages.
    pub(crate) fn connections(
        &mut self,
        filter: &Filter,
        mut each: impl FnMut(&Connection, &InetDiagMsg),
    ) -> Result<(), Error> {
        self.each(Query::connections(filter), |message| {
            let connection = message.connection()?;
            if filter.accepts(&connection) {
                each(&connection, message);
            }
            Ok(())
        })
    }

    /// Hands on the messages of a whole answer.
    fn each(
        &mut self,
        query: Query,
        mut each: impl FnMut(&InetDiagMsg) -> Result<(), String>,
    ) -> Result<(), Error> {
        if self.empty {
            return Ok(());
        }
        let mut answer = self.ask(query)?;
        while answer.receive(self.buffer, &mut each)? {}
        Ok(())
    }

    fn ask(&self, query: Query) -> Result<Answer, Error> {
        Answer::ask(self.namespace, query)
    }
}

/// Counts the socket that `message` is about at its local port, with its queue if it listens.
#[inline]
pub(crate) fn add(table: &mut PortTable<'_>, message: &InetDiagMsg) -> Result<(), String> {
    let (port, state) = (message.local_port(), message.state()?);
    if state == State::Listen {
        table.add_listener(port, message.listener()?);
        return Ok(());
    }
    table.add(port, state, message.queues(), || message.local_address())
}

/// The socket that `message` is about, if it listens; its interface has no name yet.
fn listener(message: &InetDiagMsg) -> Result<Option<Listener>, String> {
    let Some(listener) = Listener::of(message.connection()?) else {
        return Ok(None);
    };
    let interface = message.interface();
    Ok(Some(Listener {
        interface: interface.map(|index| Interface { index, name: None }),
        drops: message.listener()?.drops,
        cgroup: message.cgroup(),
        ..listener
    }))
}

/// The names of the interfaces of the calling thread's network namespace, by index; none if the
/// system refuses them.
fn interfaces() -> HashMap<u32, String> {
    let interfaces = if_nameindex().ok();
    let interfaces = interfaces.iter().flat_map(|all| all.iter());
    interfaces
        .map(|one| (one.index(), one.name().to_string_lossy().into_owned()))
        .collect()
}

/// The connections of an answer, received a datagram at a time.
#[derive(Debug)]
pub(crate) struct Listing {
    namespace: Option<Handle>,
    answer: Answer,
    buffer: Vec<u8>,
    /// Those of the last datagram that were not given out yet.
    received: VecDeque<Result<Connection, Error>>,
    goes_on: bool,
}

impl Listing {
    /// Lists connections, of which the kernel may leave out those that `filter` does not accept.
    ///
    /// Receives the first datagram too: if the kernel refuses, it says so there.
    pub(crate) fn start(namespace: Option<&Handle>, filter: &Filter) -> Result<Self, Error> {
        let mut listing = Self {
            namespace: namespace.cloned(),
            answer: Answer::ask(namespace, Query::connections(filter))?,
            buffer: vec![0; BUFFER],
            received: VecDeque::new(),
            goes_on: true,
        };
        listing.receive()?;
        Ok(listing)
    }

    /// The names of the interfaces of the network namespace, by index; none if they are refused.
    pub(crate) fn interfaces(&self) -> HashMap<u32, String> {
        inside(self.namespace.as_ref(), || Ok(interfaces())).unwrap_or_default()
    }

    fn receive(&mut self) -> Result<(), Error> {
        self.goes_on = false;
        self.goes_on = self.answer.receive(&mut self.buffer, |message| {
            self.received.push_back(Ok(Connection {
                cgroup: message.cgroup(),
                ..message.connection()?
            }));
            Ok(())
        })?;
        Ok(())
    }
}

impl Iterator for Listing {
    type Item = Result<Connection, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.received.is_empty() && self.goes_on {
            if let Err(error) = self.receive() {
                self.received.push_back(Err(error));
            }
        }
        self.received.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::FromBytes;

    use super::wire::tests::{SOCKET, listener as listener_message, socket};
    use super::*;

    fn view(payload: &[u8]) -> &InetDiagMsg {
        InetDiagMsg::ref_from_bytes(payload).unwrap()
    }

    #[test]
    fn only_full_sockets_have_a_shutdown() {
        // INET_DIAG_MARK, which is all that the others have, for those who may see it.
        let mark = [8, 0, 15, 0, 0, 0, 0, 0];
        let shutdown = [5, 0, 8, 0, 0, 0, 0, 0];
        let mut tally = Tally::default();
        for (code, attributes) in [
            (3, &[][..]),
            (3, &mark),
            (3, &shutdown),
            (3, &[5, 0, 8]),
            (5, &[]),
            (5, &mark),
            (5, &[shutdown, mark].concat()),
            (5, &[mark, shutdown].concat()),
            (6, &mark),
            (1, &shutdown),
        ] {
            tally.add(view(&socket(code, attributes))).unwrap();
        }
        let Tally {
            counts,
            request_sockets,
            fin_wait2_timewait,
        } = tally;
        assert_eq!((counts.get(State::SynRecv), request_sockets), (4, 3));
        assert_eq!((counts.get(State::FinWait2), fin_wait2_timewait), (4, 3));
    }

    #[test]
    fn lists_what_a_message_says_of_a_listener() {
        let mut memory = [0; 36];
        memory[32..].copy_from_slice(&42u32.to_ne_bytes());
        let mut message = listener_message(&memory);
        let bound = |message: &[u8]| listener(view(message)).unwrap().unwrap();
        let unbound = bound(&message);
        assert_eq!(
            unbound,
            Listener {
                local: "[::1]:80".parse().unwrap(),
                interface: None,
                accept_queue: 3,
                backlog: Some(16),
                drops: Some(42),
                uid: Some(1000),
                inode: Some(4711),
                cgroup: None,
            }
        );
        // `idiag_if`
        message[40..44].copy_from_slice(&7u32.to_ne_bytes());
        let interface = Some(Interface {
            index: 7,
            name: None,
        });
        assert_eq!(
            bound(&message),
            Listener {
                interface,
                ..unbound
            }
        );
        message[1] = State::Close.code();
        assert_eq!(listener(view(&message)), Ok(None));
    }

    #[test]
    fn reads_what_a_message_says_of_a_listener() {
        let mut memory = [0; 36];
        memory[32..].copy_from_slice(&42u32.to_ne_bytes());
        let message = listener_message(&memory);
        let mut table = PortTable::new(None);
        add(&mut table, view(&message)).unwrap();
        let (services, ..) = table.services();
        let service = services[0];
        assert_eq!((service.port, service.accept_queue), (80, 3));
        assert_eq!((service.backlog, service.drops), (Some(16), Some(42)));

        let problem = |message: &[u8]| add(&mut PortTable::new(None), view(message)).unwrap_err();
        assert_eq!(
            problem(&message[..SOCKET]),
            "a listener without INET_DIAG_SKMEMINFO"
        );
        assert_eq!(
            problem(&listener_message(&memory[..32])),
            "INET_DIAG_SKMEMINFO has no SK_MEMINFO_DROPS"
        );
        // The attributes cut anywhere: the same is read, or it is refused.
        for cut in SOCKET..message.len() {
            let mut table = PortTable::new(None);
            if add(&mut table, view(&message[..cut])).is_ok() {
                assert_eq!(table.services().0, services, "cut at byte {cut}");
            }
        }
    }
}
