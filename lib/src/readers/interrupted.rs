// SPDX-License-Identifier: MIT OR Apache-2.0

//! System calls that a signal interrupts.

use std::io::{ErrorKind, Result};

/// Calls again for as long as a signal interrupts the call (EINTR).
pub(super) fn retried<T>(mut call: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;
    use crate::error::errno;

    #[test]
    fn what_a_signal_interrupts_is_called_again() {
        let call = |then: nix::Result<usize>| {
            let mut calls = 0;
            let result = retried(|| {
                calls += 1;
                if calls > 3 {
                    Ok(then?)
                } else {
                    Err(Errno::EINTR.into())
                }
            });
            (result.map_err(|error| errno(&error)), calls)
        };
        assert_eq!(call(Ok(7)), (Ok(7), 4));
        assert_eq!(call(Err(Errno::ENOBUFS)), (Err(Errno::ENOBUFS), 4));
    }
}
