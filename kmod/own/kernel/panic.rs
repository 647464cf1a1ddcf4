// SPDX-License-Identifier: GPL-2.0-only

//! What happens at a panic: its text, and `BUG()`.

use core::fmt::{self, Write as _};

use crate::ffi::c_char;

extern "C" {
    fn tcpstat_own_panic(text: *const c_char, len: usize);
}

/// One line of the kernel's log; what does not fit is cut off.
struct Line {
    text: [u8; 256],
    len: usize,
}

impl fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (to, from) in self.text.iter_mut().skip(self.len).zip(text.bytes()) {
            *to = if from == b'\n' { b' ' } else { from };
            // It may not panic here.
            self.len = self.len.wrapping_add(1);
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let mut line = Line {
        text: [0; 256],
        len: 0,
    };
    let _ = write!(line, "{info}");
    // SAFETY: The text has this number of bytes.
    unsafe { tcpstat_own_panic(line.text.as_ptr(), line.len) };
    // It does not return, which must not be visible here: some versions of objtool know of a
    // function of another object that it never returns, others do not, and each of them has a
    // warning for the other case.
    loop {}
}
