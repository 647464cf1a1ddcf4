// SPDX-License-Identifier: GPL-2.0-only

//! Synchronisation.

/// Read-copy-update.
///
/// C header: [`include/linux/rcupdate.h`](srctree/include/linux/rcupdate.h)
pub mod rcu {
    use crate::types::NotThreadSafe;

    extern "C" {
        fn tcpstat_own_rcu_read_lock();
        fn tcpstat_own_rcu_read_unlock();
    }

    /// Evidence of an RCU read-side critical section, which ends when this is dropped.
    ///
    /// # Invariants
    ///
    /// This thread is in a read-side critical section.
    pub struct Guard(NotThreadSafe);

    /// Begins an RCU read-side critical section.
    pub fn read_lock() -> Guard {
        // SAFETY: It may be called in any context.
        unsafe { tcpstat_own_rcu_read_lock() };
        // INVARIANT: The section was just begun.
        Guard(NotThreadSafe)
    }

    impl Drop for Guard {
        fn drop(&mut self) {
            // SAFETY: By the type's invariant this thread is in the section, on which it began it.
            unsafe { tcpstat_own_rcu_read_unlock() };
        }
    }
}
