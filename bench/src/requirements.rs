// SPDX-License-Identifier: GPL-2.0-only

//! The required figures, most of them ratios within one run, and whether they were reached.

use crate::results::{Machine, Native, Row, Size, number};
use crate::ways::Way;

/// A required figure.
pub(crate) struct Requirement {
    /// What is compared.
    pub(crate) what: String,
    /// The limit.
    pub(crate) wanted: String,
    /// The measured value; `None` if it was not measured.
    pub(crate) measured: Option<String>,
    /// Whether the measured value is within the limit; false if it was not measured.
    pub(crate) met: bool,
}

impl Requirement {
    /// `met`, `**not met**` or `not measured`.
    pub(crate) fn verdict(&self) -> &'static str {
        match (&self.measured, self.met) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "**not met**",
        }
    }
}

/// A ratio of costs that must be at least `wanted`.
fn at_least(what: String, wanted: f64, measured: Option<f64>) -> Requirement {
    Requirement {
        what,
        wanted: format!("≥ {wanted} ×"),
        measured: measured.map(|ratio| format!("{ratio:.1} ×")),
        met: measured.is_some_and(|ratio| ratio >= wanted),
    }
}

/// A figure that must be at most `wanted`.
fn at_most(what: String, wanted: f64, unit: &str, measured: Option<f64>) -> Requirement {
    Requirement {
        what,
        wanted: format!("≤ {wanted} {unit}"),
        measured: measured.map(|value| format!("{value:.2} {unit}")),
        met: measured.is_some_and(|value| value <= wanted),
    }
}

/// All requirements, those of this machine before those of the virtual one.
pub(crate) fn all(native: &Native, machine: Option<&Machine>) -> Vec<Requirement> {
    let mut requirements = Vec::new();
    let empty = Size {
        sockets: 0,
        counts: String::new(),
        rows: Vec::new(),
    };
    let smallest = native.sizes.first().unwrap_or(&empty);
    let largest = native.sizes.last().unwrap_or(&empty);
    let clients = native.clients.as_ref().unwrap_or(&empty);
    let many = number(largest.sockets);
    let times =
        |size: &Size, costly: Way, cheap: Way| Some(size.row(costly)?.times(size.row(cheap)?));

    for (size, which) in [
        (largest, "connections to one port"),
        (clients, "connections from many ports"),
    ] {
        for (costly, name, wanted) in [
            (Way::Ss, "ss -Htan | awk", 20.0),
            (
                Way::NetlinkDrain,
                "the best full dump, received and thrown away",
                6.0,
            ),
            (Way::Bpf, "a BPF iterator", 3.0),
        ] {
            requirements.push(at_least(
                format!("{many} {which}: netlink by difference, cheaper than {name}"),
                wanted,
                times(size, costly, Way::Netlink),
            ));
        }
        requirements.push(at_most(
            format!("{many} {which}: services by netlink, against the totals by netlink-full"),
            1.3,
            "×",
            times(size, Way::ServicesByNetlink, Way::NetlinkFull),
        ));
        requirements.push(at_most(
            format!("{many} {which}: top by unit, against services by netlink"),
            1.1,
            "×",
            times(size, Way::TopByUnit, Way::ServicesByNetlink),
        ));
        requirements.push(at_most(
            format!("{many} {which}: peak memory of top by peer"),
            16.0,
            "MiB",
            size.row(Way::TopByPeer).and_then(Row::peak_mib),
        ));
    }
    for size in [smallest, largest] {
        requirements.push(at_most(
            format!("{} sockets: peak memory of tcpstat", number(size.sockets)),
            4.0,
            "MiB",
            size.row(Way::Netlink).and_then(Row::peak_mib),
        ));
    }
    requirements.push(at_most(
        format!("{many} connections from many ports: peak memory of services by netlink"),
        4.0,
        "MiB",
        clients.row(Way::ServicesByNetlink).and_then(Row::peak_mib),
    ));
    requirements.push(at_most(
        format!(
            "{} sockets: CPU time of the whole process",
            smallest.sockets
        ),
        2.0,
        "ms",
        smallest.row(Way::Netlink).map(|row| row.cpu() * 1e3),
    ));
    for (own, floor, name, wanted) in [
        (
            Way::NetlinkFull,
            Way::NetlinkDrain,
            "the full dump, against receiving and throwing away",
            1.05,
        ),
        (
            Way::Procfs,
            Way::ProcfsDrain,
            "procfs, against reading and throwing away",
            1.15,
        ),
        (
            Way::ServicesByProcfs,
            Way::Procfs,
            "services by procfs, against the totals by procfs",
            1.3,
        ),
    ] {
        requirements.push(at_most(
            format!("{many} sockets: {name}"),
            wanted,
            "×",
            times(largest, own, floor),
        ));
    }
    let rust = machine.and_then(|machine| machine.rust.as_ref());
    let namespaces = machine.map_or(&empty, |machine| &machine.namespaces);
    let machine = machine.map(|machine| &machine.size).unwrap_or(&empty);
    for (costly, name, wanted) in [
        (Way::NetlinkDrain, "a full netlink dump", 10.0),
        (Way::ProcfsDrain, "reading /proc/net/tcp", 30.0),
    ] {
        requirements.push(at_least(
            format!("instructions of one reading of /proc/tcpstat, fewer than {name}"),
            wanted,
            times(machine, costly, Way::ModuleDrain),
        ));
    }
    requirements.push(at_most(
        "instructions of one reading of all of 200 network namespaces, against the totals of one of them".to_owned(),
        1.3,
        "×",
        times(namespaces, Way::NamespacesDrain, Way::ModuleDrain),
    ));
    for (own, of_kernel, file) in [
        (Way::OwnDrain, Way::ModuleDrain, "/proc/tcpstat"),
        (
            Way::OwnServicesDrain,
            Way::ServicesDrain,
            "/proc/net/tcpstat_services",
        ),
    ] {
        requirements.push(at_most(
            format!(
                "instructions of one reading of {file}: the module with its own Rust, against the kernel's"
            ),
            1.02,
            "×",
            rust.and_then(|rust| times(rust, own, of_kernel)),
        ));
    }
    requirements
}
