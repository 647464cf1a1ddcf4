// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counts the TCP connections of a Linux machine by state and by service, from the cheapest source
//! that answers: the tcpstat kernel module, netlink (`NETLINK_SOCK_DIAG`), or `/proc/net/tcp`.
//!
//! Counts are those of `ss -tan`: IPv4 and IPv6 together, in one network namespace. No privilege is
//! needed for the namespace of the caller. A [`Sampler`] keeps its buffers: memory does not grow
//! with the number of connections, nor with the number of samples.
//!
//! # Totals
//!
//! ```
//! use tcpstat::{Options, Sampler, State};
//!
//! let mut sampler = Sampler::new(Options::default())?;
//! let snapshot = sampler.sample()?;
//! println!("{} established, counted by {}", snapshot.counts[State::Established], snapshot.source);
//! for (state, count) in &snapshot.counts {
//!     println!("{state} {count}");
//! }
//! # Ok::<(), tcpstat::Error>(())
//! ```
//!
//! # Services
//!
//! A service is a local port with a listener.
//!
//! ```
//! use tcpstat::{Options, Sampler};
//!
//! for service in Sampler::new(Options::default())?.services(None)?.services {
//!     println!("port {}: {} wait for accept", service.port, service.accept_queue);
//! }
//! # Ok::<(), tcpstat::Error>(())
//! ```
//!
//! # Connections
//!
//! ```
//! use tcpstat::{Filter, Options, Sampler, State};
//!
//! let mut filter = Filter::default();
//! filter.states = Some(vec![State::CloseWait, "fin-wait-2".parse()?]);
//! filter.local_ports = Some("443,8000-8100".parse()?);
//! for connection in Sampler::new(Options::default())?.connections(filter)? {
//!     let connection = connection?;
//!     println!("{} to {}: {}", connection.local, connection.remote, connection.state);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Groups
//!
//! Who has the sockets, and who is at the other end: by unit, process, peer, ... See [`Key`].
//!
//! ```
//! use tcpstat::{Filter, Key, Options, Sampler, State};
//!
//! let mut filter = Filter::default();
//! filter.states = Some(vec![State::CloseWait]);
//! let groups = Sampler::new(Options::default())?.groups(Key::Process, &filter)?;
//! for group in groups.iter().take(10) {
//!     println!("{} has not closed {} sockets", group.key, group.total);
//! }
//! # Ok::<(), tcpstat::Error>(())
//! ```
//!
//! # Another network namespace
//!
//! ```
//! use tcpstat::{Options, Sampler, Target};
//!
//! # let pid = std::process::id();
//! let mut options = Options::default();
//! options.target = Target::Process(pid);
//! println!("{} sockets", Sampler::new(options)?.sample()?.counts.total());
//! # Ok::<(), tcpstat::Error>(())
//! ```
//!
//! # Features
//!
//! `serde`: `Serialize` for the result types; `Serialize` and `Deserialize` for [`State`] and
//! [`Counts`].
#![forbid(unsafe_code)]

mod connections;
mod error;
mod grouping;
mod groups;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod kernel;
mod listeners;
mod namespaces;
mod networks;
mod options;
mod owners;
mod ports;
mod readers;
mod sampler;
mod services;
mod snapshot;
mod source;
mod units;

pub use connections::{Connection, Filter};
pub use error::{Attempt, Error};
pub use grouping::{Grouping, Groups};
pub use groups::{Family, Group, GroupKey, Key, Process, Weight};
pub use kernel::{Ceiling, Counter, Gauge, Kernel};
pub use listeners::{Interface, Listener, Listeners, Owner};
pub use namespaces::{Named, Namespace, Namespaces, Origin};
pub use networks::{Networks, NetworksError};
pub use options::{Options, Target};
pub use owners::{Processes, Units};
pub use ports::{Ports, PortsError};
pub use sampler::{Connections, Grouped, Sampler};
pub use services::{Queues, Service, Services};
pub use snapshot::{Method, Reason, Snapshot};
pub use source::Source;
pub use tcpstat_census::{counts::Counts, queue::AcceptQueue, state::State};
pub use units::Container;
