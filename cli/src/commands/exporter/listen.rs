// SPDX-License-Identifier: MIT OR Apache-2.0

//! The sockets that the exporter listens at: those of `--web.listen-address`, or of systemd.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;

use listenfd::ListenFd;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpUserTimeout;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, UnixListener};

/// How many connections may wait to be accepted; the kernel takes less if somaxconn is less.
const BACKLOG: u32 = 4096;

/// A stream of any kind.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// How long a client may acknowledge nothing of what was sent, in milliseconds: then it has
/// vanished, or does not read the events of a page.
const VANISHED: u32 = 30_000;

/// A socket that listens.
pub(super) enum Listener {
    Tcp(TcpListener),
    /// By socket activation alone.
    Unix(UnixListener),
}

impl Listener {
    /// Waits for a connection.
    pub(super) async fn accept(&self) -> io::Result<Pin<Box<dyn Stream>>> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                // An answer is written whole: waiting for more gains nothing. A client may be gone.
                let _ = stream.set_nodelay(true);
                let _ = setsockopt(&stream, TcpUserTimeout, &VANISHED);
                Box::pin(stream)
            }
            Self::Unix(listener) => Box::pin(listener.accept().await?.0),
        })
    }

    /// Its address, for the log.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => {
                let address = listener.local_addr();
                address.map_or("unknown".into(), |address| address.to_string())
            }
            Self::Unix(listener) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|address| address.as_pathname());
                path.map_or("unix".into(), |path| path.display().to_string())
            }
        }
    }
}

/// Listens at these addresses, each as `:PORT`, `ADDRESS:PORT` or `NAME:PORT`.
pub(super) fn at(addresses: &[String]) -> Result<Vec<Listener>, String> {
    let mut listeners = Vec::new();
    for address in addresses {
        let failed = |error: io::Error| format!("cannot listen at {address}: {error}");
        // Without an address: IPv6 and IPv4, or IPv4 alone if there is no IPv6.
        let (found, optional) = match address.strip_prefix(':') {
            Some(port) => {
                let both = [format!("[::]:{port}"), format!("0.0.0.0:{port}")];
                let both: Result<Vec<_>, _> = both.iter().map(|one| resolve(one)).collect();
                (both.map_err(failed)?.concat(), true)
            }
            None => (resolve(address).map_err(failed)?, false),
        };
        let mut last = None;
        for one in found {
            match bind(one) {
                Ok(listener) => {
                    last = None;
                    listeners.push(Listener::Tcp(listener));
                    if optional {
                        break;
                    }
                }
                Err(error) => {
                    let is_ipv6_missing = optional
                        && one.is_ipv6()
                        && matches!(
                            error.kind(),
                            io::ErrorKind::AddrNotAvailable | io::ErrorKind::Unsupported
                        );
                    last = Some(error);
                    if !is_ipv6_missing && !is_family_missing(last.as_ref()) {
                        break;
                    }
                }
            }
        }
        if let Some(error) = last {
            return Err(failed(error));
        }
    }
    Ok(listeners)
}

fn is_family_missing(error: Option<&io::Error>) -> bool {
    error.and_then(io::Error::raw_os_error) == Some(nix::errno::Errno::EAFNOSUPPORT as i32)
}

fn resolve(address: &str) -> io::Result<Vec<SocketAddr>> {
    let found: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    match found.is_empty() {
        true => Err(io::Error::other("the name has no address")),
        false => Ok(found),
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Those that systemd passes (sd_listen_fds(3)).
pub(super) fn by_systemd() -> Result<Vec<Listener>, String> {
    let mut passed = ListenFd::from_env();
    let mut listeners = Vec::new();
    let failed = |error: io::Error| format!("a socket of systemd cannot be used: {error}");
    for index in 0..passed.len() {
        let tcp = passed.take_tcp_listener(index);
        if let Ok(Some(listener)) = tcp {
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            listeners.push(Listener::Tcp(listener));
        } else if let Some(listener) = passed.take_unix_listener(index).map_err(failed)? {
            listener.set_nonblocking(true).map_err(failed)?;
            let listener = UnixListener::from_std(listener).map_err(failed)?;
            listeners.push(Listener::Unix(listener));
        }
    }
    match listeners.is_empty() {
        true => Err("systemd has passed no socket: see systemd.socket(5)".into()),
        false => Ok(listeners),
    }
}
