// SPDX-License-Identifier: GPL-2.0-only

//! Finding the kernel's complaints in a console log. A warning leaves the machine running and its tests green,
//! so the log is searched for them.

/// A line of the console that the kernel should not have had to print.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splat {
    /// The line's number, from 1.
    pub line: usize,
    /// The line, without the carriage return.
    pub text: String,
}

/// Complaints that begin a message. Elsewhere the same words may be harmless: `Spectre V2 : WARNING: …` tells of the processor.
const AT_START: [&str; 2] = [
    // WARN(), and every report of lockdep.
    "WARNING: ",
    // The slab allocator: "BUG kmalloc-64 (Tainted: …): Poison overwritten".
    "BUG ",
];

/// Complaints anywhere in a line: all of the words, in this order.
const ANYWHERE: [&[&str]; 43] = [
    &["cut here ]---"],
    &["BUG:"],
    &["Oops"],
    &["Kernel panic"],
    &["Call Trace:"],
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
    // A module that went with something of its own left behind.
    &["leaking at least"],
];

/// Every complaint in `console`, in order.
pub fn scan(console: &str) -> Vec<Splat> {
    console
        .lines()
        .enumerate()
        .filter(|(_, line)| is_splat(line))
        .map(|(index, line)| Splat {
            line: index + 1,
            text: line.trim_end_matches('\r').to_owned(),
        })
        .collect()
}

fn is_splat(line: &str) -> bool {
    AT_START.iter().any(|words| starts_message(line, words))
        || ANYWHERE.iter().any(|words| in_order(line, words))
}

/// Whether a message that begins with `words` is in `line`: at its start, or after what printk puts first, the
/// time `[    1.234567]`, the caller `[  T12]`, the level `<4>`. That may stand anywhere: programs and firmware
/// leave half a line, or the escape sequences of a terminal.
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
    fn a_prefix_hides_nothing() {
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
    fn a_normal_boot_has_none() {
        assert_eq!(scan(include_str!("../data/boot.log")), []);
    }

    #[test]
    fn tells_of_the_processor_or_of_settings_are_none() {
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
