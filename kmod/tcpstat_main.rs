// SPDX-License-Identifier: GPL-2.0-only

//! The module: what it publishes, and what a reader is answered.

use kernel::pr_warn_once;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;

mod bindings;
pub mod census; // `pub`, since the command uses more of it than the module does.
mod layout;
mod net;
mod proc_net;
mod table;

use census::counts::Counts;
use census::walk::{Tally, UnknownState};
use net::Net;
use proc_net::{NetFile, Show, Symlink};
use table::Hashinfo;

module! {
    type: Tcpstat,
    name: "tcpstat",
    authors: ["The tcpstat maintainers"],
    description: "Counts of TCP sockets by state, in /proc/tcpstat",
    license: "GPL v2",
}

/// `/proc/net/tcpstat`: how many TCP sockets of the file's network namespace are in each state.
struct States;

impl Show for States {
    const NAME: &'static CStr = c"tcpstat";

    fn show(net: &Net, m: &SeqFile) -> Result {
        let counts = count(net).map_err(|UnknownState(code)| {
            pr_warn_once!(
                "a socket is in state {}, which this version does not know\n",
                code
            );
            ERANGE
        })?;
        m.call_printf(format_args!("{counts}"));
        Ok(())
    }
}

/// Counts the TCP sockets of `net`. A socket that moves meanwhile may be met twice or not at all.
fn count(net: &Net) -> core::result::Result<Counts, UnknownState> {
    let mut tally = Tally::default();
    let hashinfo = Hashinfo::of(net);
    tally.count(&hashinfo.listening(), net.id());
    #[cfg(not(OBVIOUS_WALK))]
    tally.count(&hashinfo.established(), net.id());
    // For measuring only: what the walk costs without reading ahead.
    #[cfg(OBVIOUS_WALK)]
    tally.count_obviously(&hashinfo.established(), net.id());
    tally.finish()
}

/// The module's state is what it publishes; dropping it takes everything back.
#[pin_data]
struct Tcpstat {
    // Declared before the file that it points to, so that it goes first.
    link: Symlink,
    #[pin]
    states: NetFile<States>,
}

impl kernel::InPlaceModule for Tcpstat {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            _: { layout::check()? },
            states <- NetFile::register(),
            link: Symlink::new(States::NAME, c"net/tcpstat")?,
        })
    }
}
