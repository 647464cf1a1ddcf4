// SPDX-License-Identifier: GPL-2.0-only

//! What a kernel may lack that scenarios need. It is looked for in the running kernel, whatever its
//! version: distributions take and leave out what they like.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

use super::module::DIRECTORY;
use crate::netns::Table;

/// Something that the kernel can be built or booted without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Network namespaces with a hash table of their own, since Linux 6.1.
    OwnTable,
    /// IPv6, which `ipv6.disable=1` turns off.
    Ipv6,
    /// Listing TCP sockets by netlink: `CONFIG_INET_DIAG`, `CONFIG_INET_TCP_DIAG`.
    TcpDiag,
    /// Packets of loopback whose softirqs run on another processor: `CONFIG_RPS`.
    PacketSteering,
    /// membarrier(2) that waits for a grace period: `CONFIG_MEMBARRIER`, and no `nohz_full`.
    Membarrier,
    /// Modules of another configuration, which are built only with the kernel's own Rust.
    OtherModules,
}

/// Modules that were built as against a tree of another configuration (`tests/other-config.h`).
pub(super) const OTHER_MODULES: [&str; 2] = ["tcpstat-other-net.ko", "tcpstat-other-sockets.ko"];

/// The processors on which the softirqs of loopback's packets run, as a mask in hexadecimal.
pub(super) const PACKET_STEERING: &str = "/sys/class/net/lo/queues/rx-0/rps_cpus";

impl Need {
    /// What this kernel lacks of `needs`, in words; `None` if nothing.
    pub(super) fn missing(needs: &[Need]) -> io::Result<Option<String>> {
        let mut missing = Vec::new();
        for need in needs {
            missing.extend(need.absent()?);
        }
        Ok((!missing.is_empty()).then(|| missing.join("; ")))
    }

    /// Why it is absent; `None` if it is there.
    fn absent(self) -> io::Result<Option<String>> {
        match self {
            Need::OwnTable => {
                let path = Table::own_is_set_by();
                Ok((!path.exists()).then(|| format!("there is no {}", path.display())))
            }
            Need::Ipv6 => {
                let path = Path::new("/proc/net/tcp6");
                Ok((!path.exists()).then(|| format!("there is no {}", path.display())))
            }
            Need::TcpDiag => {
                let refusal = ask_for_sockets()?;
                Ok(refusal.map(|errno| format!("netlink lists no TCP sockets: {errno}")))
            }
            Need::PacketSteering => Ok((!Path::new(PACKET_STEERING).exists())
                .then(|| format!("there is no {PACKET_STEERING}"))),
            Need::OtherModules => Ok(OTHER_MODULES
                .into_iter()
                .map(|name| Path::new(DIRECTORY).join(name))
                .find(|path| !path.exists())
                .map(|path| format!("there is no {}", path.display()))),
            Need::Membarrier => Ok(wait_for_grace_period()
                .err()
                .map(|e| format!("membarrier(2) waits for no grace period: {e}"))),
        }
    }
}

/// Waits until every RCU section that has begun has ended (`MEMBARRIER_CMD_GLOBAL`, which is
/// `synchronize_rcu`).
pub(super) fn wait_for_grace_period() -> io::Result<()> {
    const GLOBAL: libc::c_int = 1;
    // SAFETY: it takes numbers only.
    match unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Asks netlink for all TCP sockets over IPv4. Gives the error if the kernel cannot list them.
fn ask_for_sockets() -> io::Result<Option<Errno>> {
    // struct nlmsghdr: length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, sequence, port.
    // Then struct inet_diag_req_v2: the family, the protocol, no extensions; all states.
    let mut request = [0u8; 72];
    request[..4].copy_from_slice(&72u32.to_ne_bytes());
    request[4..6].copy_from_slice(&20u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301u16.to_ne_bytes());
    request[16] = libc::AF_INET as u8;
    request[17] = libc::IPPROTO_TCP as u8;
    request[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());

    let netlink = match socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkSockDiag,
    ) {
        Err(errno @ Errno::EPROTONOSUPPORT) => return Ok(Some(errno)),
        socket => socket?,
    };
    send(netlink.as_raw_fd(), &request, MsgFlags::empty())?;
    let mut answer = [0; 16384];
    let length = recv(netlink.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    Ok(refusal(&answer[..length]))
}

/// The error in a netlink answer that is one: NLMSG_ERROR, with an errno after the header.
fn refusal(answer: &[u8]) -> Option<Errno> {
    let number = |at: usize| Some(i32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    match answer.get(4..6)?.try_into().map(u16::from_ne_bytes) {
        Ok(2) => Some(Errno::from_raw(-number(16)?)).filter(|errno| *errno as i32 != 0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_message_is_a_refusal() {
        let message = |kind: u16, errno: i32| {
            let mut bytes = [0; 36];
            bytes[..4].copy_from_slice(&36u32.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            bytes[16..20].copy_from_slice(&(-errno).to_ne_bytes());
            bytes
        };
        assert_eq!(refusal(&message(2, libc::ENOENT)), Some(Errno::ENOENT));
        // A socket, the end of a dump.
        assert_eq!(refusal(&message(20, libc::ENOENT)), None);
        assert_eq!(refusal(&message(3, 0)), None);
        assert_eq!(refusal(&[]), None);
    }

    #[test]
    fn what_is_there_is_not_missing() {
        let has_ipv6 = std::fs::exists("/proc/net/tcp6").unwrap();
        let missing = Need::missing(&[Need::Ipv6]).unwrap();
        assert_eq!(missing.is_none(), has_ipv6, "{missing:?}");
        assert_eq!(Need::missing(&[]).unwrap(), None);
    }
}
