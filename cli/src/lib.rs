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
mod namespaces;
mod ports;
mod services;
mod source;

pub use connections::{Connection, Connections, Filter};
pub use error::{Attempt, Error};
pub use namespaces::{Namespace, Namespaces};
pub use ports::Ports;
pub use services::{Service, Services};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use source::fuzzing;
pub use source::{Method, Options, Reason, Sampler, Snapshot, Source};
pub use tcpstat_census::{counts::Counts, state::State};
