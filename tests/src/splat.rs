// SPDX-License-Identifier: GPL-2.0-only

//! Finds the kernel's complaints ("splats") in a console log. After a warning the machine runs on
//! and its tests pass, so the log must be searched for it.

/// A line of the console with a complaint of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splat {
    /// The line's number, from 1.
    pub line: usize,
    /// The line, without the carriage return.
    pub text: String,
}

/// Complaints that begin a message. Elsewhere the same words may be harmless: `Spectre V2 :
/// WARNING: …` is about the processor.
const AT_START: [&str; 2] = [
    // WARN(), and every report of lockdep.
    "WARNING: ",
    // The slab allocator: "BUG kmalloc-64 (Tainted: …): Poison overwritten".
    "BUG ",
];

/// Complaints anywhere in a line: all of the words, in this order.
const ANYWHERE: [&[&str]; 48] = [
    &["cut here ]---"],
    &["BUG:"],
    &["kernel BUG at"],
    // Rust, in the kernel or in a program of the tests.
    &["panicked at"],
    &["Oops"],
    &["Kernel panic"],
    &["Call Trace:"],
    // The next three are arm64's.
    &["Call trace:"],
    &["Internal error:"],
    &["SError Interrupt"],
    &["general protection"],
    &["nable to handle"],
    &["double fault"],
    &["invalid opcode"],
    &["divide error"],
    &["stack guard page was hit"],
    &["Unknown symbol"],
    &["Invalid module format"],
    // Locking: CONFIG_PROVE_LOCKING, DEBUG_ATOMIC_SLEEP.
    &["possible circular locking"],
    &["possible recursive locking"],
    &["possible irq lock inversion"],
    &["possible deadlock"],
    &["inconsistent lock state"],
    &["bad unlock balance"],
    &["held lock freed"],
    &["lock held when returning to user space"],
    &["suspicious RCU usage"],
    &["scheduling while atomic"],
    &["sleeping function called from invalid context"],
    &["Invalid wait context"],
    &["DEBUG_LOCKS_WARN_ON"],
    &["turning off the locking correctness validator"],
    // Time: the soft and hard lockup detectors, hung tasks, RCU.
    &["soft lockup"],
    &["hard LOCKUP"],
    &["INFO: task ", "blocked"],
    &["INFO: rcu", "stall"],
    &["rcu: INFO:", "stall"],
    &["workqueue lockup"],
    // Memory: KASAN, KFENCE, kmemleak, UBSAN, DEBUG_LIST, refcounts, page and slab checks.
    &["KASAN:"],
    &["KFENCE:"],
    &["KCSAN:"],
    &["kmemleak:", "new suspected"],
    &["UBSAN"],
    &["refcount_t:"],
    &["list_add corruption"],
    &["list_del corruption"],
    &["invoked oom-killer"],
    // A module that was removed and has left a file behind.
    &["leaking at least"],
];

/// What the kernel prints when the tests make an allocation fail (`fail_dump` in
/// lib/fault-inject.c).
const INJECTED: &str = "FAULT_INJECTION: forcing a failure";

/// What it prints next for some of these, with a stack trace: mostly for the memory of a module
/// (`warn_alloc` in mm/page_alloc.c).
const FAILED_ALLOCATIONS: [&str; 2] = ["vmalloc error: size ", ": page allocation failure: order:"];

/// The most lines between one of these messages and the next, or the stack trace.
const NEAR: usize = 8;

/// Every complaint in `console`, in order.
///
/// A lone stack trace is not a splat if it belongs to an injected allocation failure. Any other
/// complaint near it is one.
pub fn scan(console: &str) -> Vec<Splat> {
    let mut splats = Vec::new();
    // The last line of each kind that a stack trace may follow.
    let (mut injected, mut failed) = (None, None);
    let near = |index: usize, line: Option<usize>| line.is_some_and(|line| index - line <= NEAR);
    for (index, line) in console.lines().enumerate() {
        if line.contains(INJECTED) {
            injected = Some(index);
        } else if near(index, injected)
            && FAILED_ALLOCATIONS.iter().any(|words| line.contains(words))
        {
            (injected, failed) = (None, Some(index));
        } else if near(index, failed) && line.contains("Call Trace:") {
            failed = None;
            continue;
        }
        if is_splat(line) {
            splats.push(Splat {
                line: index + 1,
                text: line.trim_end_matches('\r').to_owned(),
            });
        }
    }
    splats
}

fn is_splat(line: &str) -> bool {
    AT_START.iter().any(|words| starts_message(line, words))
        || ANYWHERE.iter().any(|words| in_order(line, words))
}

/// Whether `line` has a message that begins with `words`: at its start, or after printk's prefix,
/// which is the time `[    1.234567]`, the caller `[  T12]` or the level `<4>`. The prefix may be
/// anywhere in the line, after half a line or escape sequences that programs and firmware have
/// printed.
fn starts_message(line: &str, words: &str) -> bool {
    line.match_indices(words).any(|(at, _)| {
        let before = line[..at].trim_end();
        before.is_empty() || before.ends_with([']', '>'])
    })
}

fn in_order(line: &str, words: &[&str]) -> bool {
    let mut rest = line;
    words.iter().all(|word| match rest.find(word) {
        Some(at) => {
            rest = &rest[at + word.len()..];
            true
        }
        None => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line() {
        let found = scan("fine\r\n[    1.000000] BUG: sleeping\r\nfine\n");
        assert_eq!(
            found,
            [Splat {
                line: 2,
                text: "[    1.000000] BUG: sleeping".to_owned()
            }]
        );
    }

    #[test]
    fn a_prefix_hides_no_splat() {
        for prefix in [
            "",
            "[    1.234567] ",
            "[    1.234567][   T12] ",
            "<4>[    1.234567] [C0] ",
            "\u{1b}[2J[    1.234567] ",
            "vm# [    1.234567] ",
        ] {
            assert!(is_splat(&format!(
                "{prefix}WARNING: CPU: 0 PID: 1 at kernel/x.c:1 x+0x1/0x2"
            )));
            assert!(is_splat(&format!(
                "{prefix}BUG kmalloc-64 (Tainted: G): Poison overwritten"
            )));
        }
    }

    #[test]
    fn the_stack_trace_of_an_injected_failure_is_no_splat() {
        let report = "[    9.1] FAULT_INJECTION: forcing a failure.\r\n\
            name failslab, interval 1, probability 0, space 0, times 0\r\n\
            [    9.1] tcpstat-vm-init: vmalloc error: size 20480, vm_struct allocation failed, mode:0xdc0(GFP_KERNEL|__GFP_ZERO), nodemask=(null)\r\n\
            [    9.1] CPU: 1 UID: 0 PID: 77 Comm: init Tainted: G           O        7.3.4-debug #1 PREEMPT\r\n\
            [    9.1] Tainted: [O]=OOT_MODULE\r\n\
            [    9.1] Call Trace:\r\n\
            [    9.1]  <TASK>\r\n";
        assert_eq!(scan(report), []);
        assert_eq!(scan(&report.repeat(3)), []);
        let found = |console: &str| scan(console).len();
        assert_eq!(found(&format!("{report}[    9.1] Call Trace:\n")), 1);
        assert_eq!(found(&report.replace("FAULT_INJECTION", "")), 1);
        assert_eq!(found(&report.replace("vmalloc error", "")), 1);
        assert_eq!(found(&report.replace("Tainted: [O]", "BUG: KASAN: [O]")), 1);
    }

    #[test]
    fn a_normal_boot_has_none() {
        assert_eq!(scan(include_str!("../data/boot.log")), []);
    }

    #[test]
    fn messages_about_the_processor_or_settings_are_no_splats() {
        for line in [
            "[    0.1] Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on, data leaks possible",
            "[    0.1] rcu: \tRCU CPU stall warnings timeout set to 60 (rcu_cpu_stall_timeout).",
            "[    0.1] [Firmware Bug]: TSC doesn't count with P0 frequency!",
            "[    0.1] kmemleak: Kernel memory leak detector initialized (mem pool available: 15665)",
            "[    0.1] kasan: KernelAddressSanitizer initialized (generic)",
            "[    0.1] kfence: initialized - using 2097152 bytes for 255 objects",
            "[    0.1] tcpstat: loading out-of-tree module taints kernel.",
            "[    0.1] clocksource: timekeeping watchdog on CPU1: Marking clocksource 'tsc' as unstable",
            "[    0.1] hrtimer: interrupt took 5203120 ns",
            "[    0.1] lockdep:  ... MAX_LOCK_DEPTH:          48",
            "[    0.1] debug: skip boot console de-registration.",
        ] {
            assert!(!is_splat(line), "{line}");
        }
    }
}
