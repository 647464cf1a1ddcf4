// SPDX-License-Identifier: GPL-2.0-only

//! The module: the files that it publishes, and the contents that a reader gets.

use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::ffi::c_int;
use kernel::prelude::*;

mod bindings;
pub mod census; // `pub`, since the module does not use all of it.
mod interrupt;
mod net;
mod proc_net;
mod same_kernel;
mod table;

use census::counts::Counts;
use census::namespaces;
use census::services;
use census::state::UnknownState;
use census::totals;
use net::{Namespaces, Net};
use proc_net::{ensure_free, show, NetFiles, Show, Symlink, Text};
use table::Hashinfo;

module! {
    type: Tcpstat,
    name: "tcpstat",
    authors: ["The tcpstat maintainers"],
    description: "Counts of TCP sockets by state, by service and by network namespace, in /proc/tcpstat, /proc/net/tcpstat_services and /proc/tcpstat_namespaces",
    license: "GPL v2",
}

/// `/proc/net/tcpstat`: the number of TCP sockets in each state, in the file's network namespace.
struct States;

impl Show for States {
    fn show(net: &Net, text: &mut Text) -> Result {
        text.set(&count(net)?)
    }
}

/// Called by `files.c` for a reader of `/proc/net/tcpstat`.
///
/// # Safety
///
/// As for [`show`].
#[no_mangle]
unsafe extern "C" fn tcpstat_show_states(
    net: *mut bindings::net,
    file: *mut bindings::tcpstat_file,
) -> c_int {
    // SAFETY: The caller promises what `show` asks for.
    unsafe { show::<States>(net, file) }
}

/// The errno for a state that is none of the eleven.
fn unknown(UnknownState(code): UnknownState) -> Error {
    // SAFETY: It only writes to the kernel's log.
    unsafe { bindings::tcpstat_warn_unknown_state(code) };
    ERANGE
}

/// Counts the TCP sockets of `net`. A socket that changes its bucket meanwhile may be counted twice
/// or not at all.
fn count(net: &Net) -> Result<Counts> {
    let mut tally = totals::Tally::default();
    let hashinfo = Hashinfo::of(net);
    tally.count(&hashinfo.listening(), net.id())?;
    tally.count(&hashinfo.established(), net.id())?;
    tally.finish().map_err(unknown)
}

/// `/proc/net/tcpstat_services`: the same for each local port that has a listener, with the queues
/// and drops of its listeners.
struct Services;

impl Show for Services {
    fn show(net: &Net, text: &mut Text) -> Result {
        let hashinfo = Hashinfo::of(net);
        let listening = hashinfo.listening();
        // `_ACCOUNT`: charged to the control group of the reader, like the text.
        let flags = GFP_KERNEL_ACCOUNT;
        let mut bits = KVec::from_elem(0, services::BLOCKS, flags)?;
        let mut marks = services::Marks::new(bits.first_chunk_mut().ok_or(EINVAL)?);
        marks.mark(&listening, net.id())?;
        let mut numbers = KVVec::from_elem(0, marks.numbers(), flags)?;
        let mut rows = KVVec::from_elem(services::Row::ZERO, marks.rows(), flags)?;
        let mut tally = services::Tally::new(&marks, &mut numbers, &mut rows).ok_or(EINVAL)?;
        tally.count_listeners(&listening, net.id())?;
        tally.count(&hashinfo.established(), net.id())?;
        text.set(&tally.finish().map_err(unknown)?)
    }
}

/// Called by `files.c` for a reader of `/proc/net/tcpstat_services`.
///
/// # Safety
///
/// As for [`show`].
#[no_mangle]
unsafe extern "C" fn tcpstat_show_services(
    net: *mut bindings::net,
    file: *mut bindings::tcpstat_file,
) -> c_int {
    // SAFETY: The caller promises what `show` asks for.
    unsafe { show::<Services>(net, file) }
}

/// `/proc/tcpstat_namespaces`: the number of TCP sockets in each state, for each network namespace.
struct AllNamespaces;

impl Show for AllNamespaces {
    /// Most namespaces share the tables of the first one. A table of connections that is another is
    /// that of a single namespace, which shares the table of listeners all the same
    /// (`inet_pernet_hashinfo_alloc`).
    fn show(first: &Net, text: &mut Text) -> Result {
        let nets = Namespaces::get()?;
        let flags = GFP_KERNEL_ACCOUNT;
        let mut rows = KVVec::from_elem(namespaces::Row::new(first.id(), 0), nets.len(), flags)?;
        for (row, net) in rows.iter_mut().zip(nets.iter()) {
            *row = namespaces::Row::new(net.id(), net.inode());
        }
        let mut chains = KVVec::from_elem(0, namespaces::CHAINS, flags)?;
        let chains = chains.first_chunk_mut().ok_or(EINVAL)?;
        let mut tally = namespaces::Tally::new(&mut rows, chains);
        let shared = Hashinfo::of(first);
        tally.count(&shared.listening())?;
        tally.count(&shared.established())?;
        for net in nets.iter() {
            let hashinfo = Hashinfo::of(net);
            if !hashinfo.listening().is(&shared.listening()) {
                tally.count(&hashinfo.listening())?;
            }
            if !hashinfo.established().is(&shared.established()) {
                tally.count(&hashinfo.established())?;
            }
        }
        text.set(&tally.finish().map_err(unknown)?)
    }
}

/// Called by `files.c` for a reader of `/proc/tcpstat_namespaces`; `net` is the first namespace.
///
/// # Safety
///
/// As for [`show`].
#[no_mangle]
unsafe extern "C" fn tcpstat_show_namespaces(
    net: *mut bindings::net,
    file: *mut bindings::tcpstat_file,
) -> c_int {
    // SAFETY: The caller promises what `show` asks for.
    unsafe { show::<AllNamespaces>(net, file) }
}

/// The published files; dropping this removes them.
struct Tcpstat {
    // Declared, and so dropped, before the file that it points to.
    _link: Symlink,
    _files: NetFiles,
}

impl kernel::Module for Tcpstat {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        for path in [
            c"/proc/tcpstat",
            c"/proc/tcpstat_namespaces",
            c"/proc/net/tcpstat",
            c"/proc/net/tcpstat_services",
        ] {
            ensure_free(path)?;
        }
        same_kernel::ensure()?;
        let files = NetFiles::register()?;
        Ok(Self {
            _link: Symlink::new(c"tcpstat", c"net/tcpstat")?,
            _files: files,
        })
    }
}
