// SPDX-License-Identifier: GPL-2.0-only

//! The module: the files that it publishes, and the contents that a reader gets.

use kernel::alloc::flags::GFP_KERNEL_ACCOUNT;
use kernel::pr_warn_once;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;

mod bindings;
pub mod census; // `pub`, since the module does not use all of it.
mod layout;
mod net;
mod proc_net;
mod table;

use census::counts::Counts;
use census::services;
use census::state::UnknownState;
use census::totals;
use net::Net;
use proc_net::{has_room, NetFile, Show, Symlink};
use table::Hashinfo;

module! {
    type: Tcpstat,
    name: "tcpstat",
    authors: ["The tcpstat maintainers"],
    description: "Counts of TCP sockets by state and by service, in /proc/tcpstat and /proc/net/tcpstat_services",
    license: "GPL v2",
}

/// `/proc/net/tcpstat`: the number of TCP sockets in each state, in the file's network namespace.
struct States;

impl Show for States {
    const NAME: &'static CStr = c"tcpstat";

    fn show(net: &Net, m: &SeqFile) -> Result {
        let counts = count(net).map_err(unknown)?;
        m.call_printf(format_args!("{counts}"));
        Ok(())
    }
}

/// The errno for a state that is none of the eleven.
fn unknown(UnknownState(code): UnknownState) -> Error {
    pr_warn_once!(
        "a socket is in state {}, which this version does not know\n",
        code
    );
    ERANGE
}

/// Counts the TCP sockets of `net`. A socket that changes its bucket meanwhile may be counted twice
/// or not at all.
fn count(net: &Net) -> core::result::Result<Counts, UnknownState> {
    let mut tally = totals::Tally::default();
    let hashinfo = Hashinfo::of(net);
    tally.count(&hashinfo.listening(), net.id());
    tally.count(&hashinfo.established(), net.id());
    tally.finish()
}

/// `/proc/net/tcpstat_services`: the same for each local port that has a listener, with the queues
/// and drops of its listeners.
struct Services;

impl Show for Services {
    const NAME: &'static CStr = c"tcpstat_services";

    fn show(net: &Net, m: &SeqFile) -> Result {
        let hashinfo = Hashinfo::of(net);
        let listening = hashinfo.listening();
        // `_ACCOUNT`: charged to the control group of the reader, like the text.
        let flags = GFP_KERNEL_ACCOUNT;
        let mut bits = KVec::from_elem(0, services::BLOCKS, flags)?;
        let mut marks = services::Marks::new(bits.first_chunk_mut().ok_or(EINVAL)?);
        marks.mark(&listening, net.id());
        // Before the walk over all sockets, which would be wasted if the text did not fit.
        if !has_room(m, services::Services::usual_len(marks.rows())) {
            return Ok(());
        }
        let mut numbers = KVVec::from_elem(0, marks.numbers(), flags)?;
        let mut rows = KVVec::from_elem(services::Row::ZERO, marks.rows(), flags)?;
        let mut tally = services::Tally::new(&marks, &mut numbers, &mut rows).ok_or(EINVAL)?;
        tally.count_listeners(&listening, net.id());
        tally.count(&hashinfo.established(), net.id());
        let services = tally.finish().map_err(unknown)?;
        m.call_printf(format_args!("{services}"));
        Ok(())
    }
}

/// The published files; dropping this removes them.
#[pin_data]
struct Tcpstat {
    // Declared, and so dropped, before the file that it points to.
    link: Symlink,
    #[pin]
    states: NetFile<States>,
    #[pin]
    services: NetFile<Services>,
}

impl kernel::InPlaceModule for Tcpstat {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { layout::check()? },
            states <- NetFile::register(),
            services <- NetFile::register(),
            link: Symlink::new(States::NAME, c"net/tcpstat")?,
        })
    }
}
