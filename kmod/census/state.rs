// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The eleven TCP states, their names and numbers, and the state that a hash table entry counts as.
//!
//! Source: `include/net/tcp_states.h`; the names are those of RFC 9293 as the kernel spells them.

/// A TCP state, with the kernel's number for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum State {
    /// Open: data may flow in both directions.
    Established = 1,
    /// A connection request was sent; there is no answer yet.
    SynSent = 2,
    /// A connection request was received and answered; the answer is not acknowledged yet.
    SynRecv = 3,
    /// This side closed first; its FIN is not acknowledged yet.
    FinWait1 = 4,
    /// This side closed first; the other side has not closed yet.
    FinWait2 = 5,
    /// Closed; kept so that late segments do not reach a new connection.
    TimeWait = 6,
    /// Not connected.
    Close = 7,
    /// The other side closed; the program on this side has not.
    CloseWait = 8,
    /// The other side closed first, then this side; its FIN is not acknowledged yet.
    LastAck = 9,
    /// Waiting for connections.
    Listen = 10,
    /// Both sides closed at once; the FIN of this side is not acknowledged yet.
    Closing = 11,
}

/// The kernel's number for a request socket, a handshake without a full socket yet
/// (`TCP_NEW_SYN_RECV`).
pub const NEW_SYN_RECV: u8 = 12;

impl State {
    /// How many states there are.
    pub const COUNT: usize = 11;

    /// All states in kernel order, the order of every output.
    pub const ALL: [State; Self::COUNT] = [
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
    ];

    /// The kernel's name without `TCP_`: `ESTABLISHED`, `FIN_WAIT1`.
    pub const fn name(self) -> &'static str {
        match self {
            State::Established => "ESTABLISHED",
            State::SynSent => "SYN_SENT",
            State::SynRecv => "SYN_RECV",
            State::FinWait1 => "FIN_WAIT1",
            State::FinWait2 => "FIN_WAIT2",
            State::TimeWait => "TIME_WAIT",
            State::Close => "CLOSE",
            State::CloseWait => "CLOSE_WAIT",
            State::LastAck => "LAST_ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
        }
    }

    /// The kernel's number, 1 to 11.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The state that the kernel's number `code` counts as, or `None` if it is no state.
    ///
    /// A request socket ([`NEW_SYN_RECV`]) counts as [`State::SynRecv`], as in `ss` and
    /// `/proc/net/tcp`.
    pub const fn from_code(code: u8) -> Option<State> {
        match code {
            1..=11 => Some(Self::ALL[code as usize - 1]),
            NEW_SYN_RECV => Some(State::SynRecv),
            _ => None,
        }
    }

    /// The state that a hash table entry counts as: `tw_substate` for a time-wait socket,
    /// `sk_state` for any other.
    ///
    /// A time-wait socket (`struct inet_timewait_sock`) is small, and replaces the full socket of a
    /// closed connection. Its `sk_state` is always `TIME_WAIT`; its substate is `TIME_WAIT` or
    /// `FIN_WAIT2`. `tw_substate` is called only then, since no other socket has one.
    ///
    /// # Errors
    /// The number that is no state: the substate of a time-wait socket, `sk_state` of any other.
    pub fn of_entry(sk_state: u8, tw_substate: impl FnOnce() -> u8) -> Result<State, u8> {
        let code = Self::code_of_entry(sk_state, tw_substate);
        Self::from_code(code).ok_or(code)
    }

    /// The kernel's number for it, which may be that of no state.
    #[inline(always)]
    pub(super) fn code_of_entry(sk_state: u8, tw_substate: impl FnOnce() -> u8) -> u8 {
        if sk_state == State::TimeWait.code() {
            tw_substate()
        } else {
            sk_state
        }
    }
}

/// An entry was in a state that is none of the eleven; the number is the kernel's. All counts of
/// that walk are void.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownState(pub u8);
