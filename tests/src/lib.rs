// SPDX-License-Identifier: GPL-2.0-only

//! What the tests of tcpstat are made of: sockets in every state, and the naive way to count them.

pub mod naive;
pub mod netns;
pub mod sockets;
