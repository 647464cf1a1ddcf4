// SPDX-License-Identifier: GPL-2.0-only

//! The ways to count that are measured: what each is called, how it is run and what it needs.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use crate::drain::Source;

/// node_exporter, as Debian names it.
pub(crate) const NODE_EXPORTER: &str = "prometheus-node-exporter";

/// A way to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Way {
    PsutilList,
    PsutilGenerator,
    Python,
    PythonLargeBuffer,
    Netstat,
    Ss,
    NodeExporter,
    Bpf,
    ProcfsDrain,
    Procfs,
    NetlinkDrain,
    NetlinkFull,
    Netlink,
    ServicesByProcfs,
    ServicesByNetlink,
    TopByUnit,
    TopByCgroup,
    TopByProcess,
    TopByUser,
    TopByPeer,
    TopByPeerPort,
    TopByLocalPort,
    TopByLocalAddress,
    TopByState,
    TopByFamily,
    Module,
    ModuleDrain,
    ServicesDrain,
    NamespacesDrain,
    ObviousDrain,
    OwnDrain,
    OwnServicesDrain,
}

/// How a way counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// The `tcpstat` command, with these arguments.
    Tcpstat(&'static [&'static str]),
    /// Reads this source and throws the answer away.
    Drain(Source),
    /// The Python program, with this argument.
    Python(&'static str),
    /// This command of the shell.
    Shell(&'static str),
    /// Reads the BPF iterator.
    Iterator,
    /// A scrape of node_exporter, which already runs.
    Scrape,
}

/// The programs that are not in `PATH`.
pub(crate) struct Programs {
    /// The command to measure.
    pub(crate) tcpstat: String,
    /// The Python program.
    pub(crate) python_ways: String,
    /// The file whose reader runs the BPF iterator, or why there is none.
    pub(crate) iterator: Result<String, String>,
}

impl Way {
    /// All ways, in the order of the document. `top --by netns` is none: it counts every network
    /// namespace, of which only one has the sockets that are measured.
    pub(crate) const ALL: [Way; 32] = [
        Way::PsutilList,
        Way::PsutilGenerator,
        Way::Python,
        Way::PythonLargeBuffer,
        Way::Netstat,
        Way::Ss,
        Way::NodeExporter,
        Way::Bpf,
        Way::ProcfsDrain,
        Way::Procfs,
        Way::NetlinkDrain,
        Way::NetlinkFull,
        Way::Netlink,
        Way::ServicesByProcfs,
        Way::ServicesByNetlink,
        Way::TopByUnit,
        Way::TopByCgroup,
        Way::TopByProcess,
        Way::TopByUser,
        Way::TopByPeer,
        Way::TopByPeerPort,
        Way::TopByLocalPort,
        Way::TopByLocalAddress,
        Way::TopByState,
        Way::TopByFamily,
        Way::Module,
        Way::ModuleDrain,
        Way::ServicesDrain,
        Way::NamespacesDrain,
        Way::ObviousDrain,
        Way::OwnDrain,
        Way::OwnServicesDrain,
    ];

    /// Those that are measured on this machine, in the order in which they run: ways whose ratio is
    /// required are next to each other.
    pub(crate) const NATIVE: [Way; 26] = [
        Way::PsutilList,
        Way::PsutilGenerator,
        Way::Python,
        Way::PythonLargeBuffer,
        Way::Netstat,
        Way::NodeExporter,
        Way::ProcfsDrain,
        Way::Procfs,
        Way::ServicesByProcfs,
        Way::NetlinkDrain,
        Way::NetlinkFull,
        Way::ServicesByNetlink,
        Way::TopByUnit,
        Way::TopByCgroup,
        Way::TopByProcess,
        Way::TopByUser,
        Way::TopByPeer,
        Way::TopByPeerPort,
        Way::TopByLocalPort,
        Way::TopByLocalAddress,
        Way::TopByState,
        Way::TopByFamily,
        Way::Netlink,
        Way::Ss,
        Way::Bpf,
        Way::Module,
    ];

    /// Its name in the document.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Way::PsutilList => "psutil, list",
            Way::PsutilGenerator => "psutil, generator",
            Way::Python => "/proc/net/tcp, Python, 8 KiB buffer",
            Way::PythonLargeBuffer => "/proc/net/tcp, Python, 1 MiB buffer",
            Way::Netstat => "netstat -tan | awk",
            Way::Ss => "ss -Htan | awk",
            Way::NodeExporter => "node_exporter, one scrape",
            Way::Bpf => "BPF iterator iter/tcp",
            Way::ProcfsDrain => "/proc/net/tcp, read and thrown away",
            Way::Procfs => "tcpstat --source procfs",
            Way::NetlinkDrain => "netlink dump, received and thrown away",
            Way::NetlinkFull => "tcpstat --source netlink-full",
            Way::Netlink => "tcpstat --source netlink",
            Way::ServicesByProcfs => "tcpstat services --source procfs",
            Way::ServicesByNetlink => "tcpstat services --source netlink",
            Way::TopByUnit => "tcpstat top --by unit",
            Way::TopByCgroup => "tcpstat top --by cgroup",
            Way::TopByProcess => "tcpstat top --by process",
            Way::TopByUser => "tcpstat top --by user",
            Way::TopByPeer => "tcpstat top --by peer",
            Way::TopByPeerPort => "tcpstat top --by peer-port",
            Way::TopByLocalPort => "tcpstat top --by local-port",
            Way::TopByLocalAddress => "tcpstat top --by local-address",
            Way::TopByState => "tcpstat top --by state",
            Way::TopByFamily => "tcpstat top --by family",
            Way::Module => "tcpstat --source module",
            Way::ModuleDrain => "/proc/tcpstat, one reading",
            Way::ServicesDrain => "/proc/net/tcpstat_services, one reading",
            Way::NamespacesDrain => "/proc/tcpstat_namespaces, one reading",
            Way::ObviousDrain => "/proc/tcpstat, one reading, by the obvious walk",
            Way::OwnDrain => "/proc/tcpstat, one reading, module with its own Rust",
            Way::OwnServicesDrain => {
                "/proc/net/tcpstat_services, one reading, module with its own Rust"
            }
        }
    }

    /// How it counts.
    pub(crate) fn method(self) -> Method {
        match self {
            Way::PsutilList => Method::Python("psutil-list"),
            Way::PsutilGenerator => Method::Python("psutil-generator"),
            Way::Python => Method::Python("procfs"),
            Way::PythonLargeBuffer => Method::Python("procfs-1m"),
            Way::Netstat => Method::Shell(
                "netstat -tan | awk 'NR > 2 { n[$6]++ } END { for (s in n) print s, n[s] }'",
            ),
            Way::Ss => {
                Method::Shell("ss -Htan | awk '{ n[$1]++ } END { for (s in n) print s, n[s] }'")
            }
            Way::NodeExporter => Method::Scrape,
            Way::Bpf => Method::Iterator,
            Way::ProcfsDrain => Method::Drain(Source::Procfs),
            Way::Procfs => Method::Tcpstat(&["--source", "procfs"]),
            Way::NetlinkDrain => Method::Drain(Source::Netlink),
            Way::NetlinkFull => Method::Tcpstat(&["--source", "netlink-full"]),
            Way::Netlink => Method::Tcpstat(&["--source", "netlink"]),
            Way::ServicesByProcfs => Method::Tcpstat(&["services", "--source", "procfs"]),
            Way::ServicesByNetlink => Method::Tcpstat(&["services", "--source", "netlink"]),
            Way::TopByUnit => Method::Tcpstat(&["top", "--source", "netlink", "--by", "unit"]),
            Way::TopByCgroup => Method::Tcpstat(&["top", "--source", "netlink", "--by", "cgroup"]),
            Way::TopByProcess => {
                Method::Tcpstat(&["top", "--source", "netlink", "--by", "process"])
            }
            Way::TopByUser => Method::Tcpstat(&["top", "--source", "netlink", "--by", "user"]),
            Way::TopByPeer => Method::Tcpstat(&["top", "--source", "netlink", "--by", "peer"]),
            Way::TopByPeerPort => {
                Method::Tcpstat(&["top", "--source", "netlink", "--by", "peer-port"])
            }
            Way::TopByLocalPort => {
                Method::Tcpstat(&["top", "--source", "netlink", "--by", "local-port"])
            }
            Way::TopByLocalAddress => {
                Method::Tcpstat(&["top", "--source", "netlink", "--by", "local-address"])
            }
            Way::TopByState => Method::Tcpstat(&["top", "--source", "netlink", "--by", "state"]),
            Way::TopByFamily => Method::Tcpstat(&["top", "--source", "netlink", "--by", "family"]),
            Way::Module => Method::Tcpstat(&["--source", "module"]),
            Way::ModuleDrain | Way::ObviousDrain | Way::OwnDrain => Method::Drain(Source::Module),
            Way::ServicesDrain | Way::OwnServicesDrain => Method::Drain(Source::Services),
            Way::NamespacesDrain => Method::Drain(Source::Namespaces),
        }
    }

    /// The command that counts in this way; `None` for a scrape.
    pub(crate) fn command(self, programs: &Programs) -> Option<Vec<String>> {
        const SELF: &str = "/proc/self/exe";
        let command = match self.method() {
            Method::Tcpstat(arguments) => [&[&programs.tcpstat[..]], arguments].concat(),
            Method::Drain(source) => vec![SELF, "drain", source.name()],
            Method::Python(way) => vec!["python3", "-I", &programs.python_ways, way],
            Method::Shell(script) => vec!["sh", "-c", script],
            Method::Iterator => {
                let path = programs.iterator.as_deref().unwrap_or_default();
                vec![SELF, "read-iterator", path]
            }
            Method::Scrape => return None,
        };
        Some(command.into_iter().map(str::to_owned).collect())
    }

    /// Whether it is the `tcpstat` command.
    pub(crate) fn is_tcpstat(self) -> bool {
        matches!(self.method(), Method::Tcpstat(_))
    }

    /// Whether it throws the answer away, so that there are no counts to compare.
    pub(crate) fn is_drain(self) -> bool {
        matches!(self.method(), Method::Drain(_))
    }

    /// Whether its ratio to another way is required over the connections of a client too.
    pub(crate) fn has_required_ratio(self) -> bool {
        matches!(
            self,
            Way::Ss
                | Way::Bpf
                | Way::NetlinkDrain
                | Way::NetlinkFull
                | Way::Netlink
                | Way::ServicesByNetlink
                | Way::TopByUnit
                | Way::TopByPeer
        )
    }

    /// Whether it is so slow that it runs in fewer rounds.
    pub(crate) fn is_slow(self) -> bool {
        matches!(
            self,
            Way::PsutilList | Way::PsutilGenerator | Way::Netstat | Way::TopByProcess
        )
    }

    /// Why it cannot be measured on this machine, if it cannot.
    pub(crate) fn problem(self, programs: &Programs) -> Option<String> {
        match self {
            Way::PsutilList | Way::PsutilGenerator => {
                missing("python3").or_else(|| fails("python3", &["-c", "import psutil"]))
            }
            Way::Python | Way::PythonLargeBuffer => missing("python3"),
            Way::Netstat => missing("netstat").or_else(|| missing("awk")),
            Way::Ss => missing("ss").or_else(|| missing("awk")),
            Way::NodeExporter => missing(NODE_EXPORTER),
            Way::Bpf => programs.iterator.clone().err(),
            Way::Module if !Path::new("/proc/tcpstat").exists() => Some(
                "the module is not loaded on this machine; the virtual machine has it".to_owned(),
            ),
            _ => None,
        }
    }
}

/// The problem, if there is no such program.
fn missing(program: &str) -> Option<String> {
    let found = std::env::var_os("PATH").is_some_and(|path| {
        std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
    });
    (!found).then(|| format!("there is no {program} here"))
}

/// The problem, if the command fails.
fn fails(program: &str, arguments: &[&str]) -> Option<String> {
    let status = Command::new(program)
        .args(arguments)
        .stderr(Stdio::null())
        .status();
    let good = status.is_ok_and(|status| status.success());
    (!good).then(|| format!("{program} {} fails here", arguments.join(" ")))
}
