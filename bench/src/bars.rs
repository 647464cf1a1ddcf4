// SPDX-License-Identifier: GPL-2.0-only

//! What was to be reached, each as a ratio within one run, and whether it was.

use crate::results::{Machine, Native, Row, Size};

/// A bar that was set.
pub(crate) struct Bar {
    /// What is compared.
    pub(crate) what: String,
    /// What it had to be.
    pub(crate) wanted: String,
    /// What it is; `None` if it was not measured.
    pub(crate) measured: Option<String>,
    /// Whether that is good enough; not if it was not measured.
    pub(crate) met: bool,
}

impl Bar {
    /// `met`, `NOT MET` or `not measured`.
    pub(crate) fn verdict(&self) -> &'static str {
        match (&self.measured, self.met) {
            (None, _) => "not measured",
            (_, true) => "met",
            (_, false) => "**not met**",
        }
    }
}

/// At least so many times as cheap.
fn cheaper(what: String, wanted: f64, measured: Option<f64>) -> Bar {
    Bar {
        what,
        wanted: format!("≥ {wanted} ×"),
        measured: measured.map(|ratio| format!("{ratio:.1} ×")),
        met: measured.is_some_and(|ratio| ratio >= wanted),
    }
}

/// At most so much.
fn at_most(what: String, wanted: f64, unit: &str, measured: Option<f64>) -> Bar {
    Bar {
        what,
        wanted: format!("≤ {wanted} {unit}"),
        measured: measured.map(|value| format!("{value:.2} {unit}")),
        met: measured.is_some_and(|value| value <= wanted),
    }
}

/// All of them, those of this machine first.
pub(crate) fn all(native: &Native, machine: Option<&Machine>) -> Vec<Bar> {
    let mut bars = Vec::new();
    let empty = Size {
        sockets: 0,
        counts: String::new(),
        rows: Vec::new(),
    };
    let smallest = native.sizes.first().unwrap_or(&empty);
    let largest = native.sizes.last().unwrap_or(&empty);
    let clients = native.clients.as_ref().unwrap_or(&empty);
    let many = crate::results::number(largest.sockets);
    let times =
        |size: &Size, dear: &str, cheap: &str| Some(size.row(dear)?.times(size.row(cheap)?));

    for (size, whose) in [
        (largest, "connections to one port"),
        (clients, "connections from many ports"),
    ] {
        for (dear, name, wanted) in [
            ("ss", "ss -Htan | awk", 20.0),
            (
                "netlink-drain",
                "the best full dump, received and thrown away",
                6.0,
            ),
            ("bpf", "a BPF iterator", 3.0),
        ] {
            bars.push(cheaper(
                format!("{many} {whose}: netlink by difference, cheaper than {name}"),
                wanted,
                times(size, dear, "tcpstat-netlink"),
            ));
        }
        bars.push(at_most(
            format!("{many} {whose}: services by netlink, against the totals by netlink-full"),
            1.3,
            "×",
            times(size, "tcpstat-services-netlink", "tcpstat-netlink-full"),
        ));
    }
    for size in [smallest, largest] {
        bars.push(at_most(
            format!(
                "{} sockets: peak memory of tcpstat",
                crate::results::number(size.sockets)
            ),
            4.0,
            "MiB",
            size.row("tcpstat-netlink").and_then(Row::peak_mib),
        ));
    }
    bars.push(at_most(
        format!(
            "{} sockets: CPU time of the whole process",
            smallest.sockets
        ),
        2.0,
        "ms",
        smallest.row("tcpstat-netlink").map(|row| row.cpu() * 1e3),
    ));
    for (own, floor, name, wanted) in [
        (
            "tcpstat-netlink-full",
            "netlink-drain",
            "the full dump, against receiving and throwing away",
            1.05,
        ),
        (
            "tcpstat-procfs",
            "procfs-drain",
            "procfs, against reading and throwing away",
            1.15,
        ),
        (
            "tcpstat-services-procfs",
            "tcpstat-procfs",
            "services by procfs, against the totals by procfs",
            1.3,
        ),
    ] {
        bars.push(at_most(
            format!("{many} sockets: {name}"),
            wanted,
            "×",
            times(largest, own, floor),
        ));
    }
    let machine = machine.map(|machine| &machine.size).unwrap_or(&empty);
    for (dear, name, wanted) in [
        ("netlink-drain", "a full netlink dump", 10.0),
        ("procfs-drain", "reading /proc/net/tcp", 30.0),
    ] {
        bars.push(cheaper(
            format!("instructions of one reading of /proc/tcpstat, fewer than {name}"),
            wanted,
            times(machine, dear, "module-drain"),
        ));
    }
    bars
}
