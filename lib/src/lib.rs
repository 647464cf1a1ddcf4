// SPDX-License-Identifier: MIT OR Apache-2.0

//! How many TCP connections are in each state: one snapshot, from the cheapest source that answers.
//!
//! ```no_run
//! use tcpstat::{Options, Sampler, State};
//!
//! let mut sampler = Sampler::new(Options::default())?;
//! let snapshot = sampler.sample()?;
//! println!("{} established, says {}", snapshot.counts.get(State::Established), snapshot.source);
//! # Ok::<(), tcpstat::Error>(())
//! ```
//!
//! A [`Sampler`] keeps its buffers: memory does not grow with the number of connections, nor with that of samples.
#![forbid(unsafe_code)]

mod connections;
mod error;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod namespaces;
mod options;
mod ports;
mod readers;
mod sampler;
mod services;
mod snapshot;
mod source;

pub use connections::{Connection, Filter};
pub use error::{Attempt, Error};
pub use namespaces::{Namespace, Namespaces};
pub use options::Options;
pub use ports::Ports;
pub use sampler::{Connections, Sampler};
pub use services::{Service, Services};
pub use snapshot::{Method, Reason, Snapshot};
pub use source::Source;
pub use tcpstat_census::{counts::Counts, state::State};
