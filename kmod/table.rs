// SPDX-License-Identifier: GPL-2.0-only

//! A safe view of the TCP hash tables: buckets, chains, lock guards.
//!
//! The walk to agree with is `tcp_diag_dump` in `net/ipv4/tcp_diag.c`.
//!
//! # Why a chain may be read without its lock
//!
//! Under the lock of a bucket its chain does not change, and its sockets are not freed. Without it,
//! in an RCU read-side critical section, three things must hold: the memory at a link is that of a
//! socket, its link is a link, and nothing that is read is counted.
//!
//! *The memory is that of a socket.* The caches of all entries are `SLAB_TYPESAFE_BY_RCU`: `TCP`
//! and `TCPv6` (`tcp_prot.slab_flags`), their `request_sock_` and `tw_sock_` caches
//! (`req_prot_init`, `tw_prot_init`), and those of MPTCP's requests (`subflow_ops_init`). A socket
//! that is freed may at once be another socket of the same cache, but its slab goes back to the
//! page allocator by `call_rcu` only (`free_slab` in `mm/slub.c`), so not within the section.
//!
//! *Its link is a link.* Of what is written to a freed or a new object:
//!
//! - SLUB keeps its free pointer behind the object in caches of this kind (`calculate_sizes`: it
//!   may not overwrite what readers still read). The allocator that was SLAB until Linux 6.8 has
//!   its free list outside of the objects for the same reason (`set_objfreelist_slab_cache`).
//! - `init_on_alloc` and `init_on_free` leave caches of this kind alone
//!   (`slab_want_init_on_alloc`). `sk_prot_alloc` clears a full socket by `sk_prot_clear_nulls`,
//!   which leaves out the `next` of `skc_nulls_node`; request and time-wait sockets are not
//!   cleared.
//! - `hlist_nulls_del_init_rcu` and `hlist_nulls_replace_init_rcu` leave `next` as it was, and a
//!   socket that is hashed again has a new `next` before others can find it.
//!
//! So a link leads from socket to socket, maybe through another chain, maybe in circles, which the
//! walk bounds, and ends at the odd number of some chain. `__inet_lookup_established` relies on the
//! same. (With KASAN the kernel sets `SLUB_RCU_DEBUG`, which delays the reuse of such objects; so a
//! second debug kernel without KASAN runs the tests too.)
//!
//! *Nothing of it is counted.* A link says what to prefetch. Counting is under the lock.
//!
//! Without SMP there are no locks in the kernel: that the section has disabled softirqs, and the
//! empty lock preemption, takes their place. On PREEMPT_RT the locks sleep, and the thread that
//! holds one may be preempted and even move to another CPU; its section does not end by that.
//!
//! C headers: [`include/net/inet_hashtables.h`](srctree/include/net/inet_hashtables.h),
//! [`include/linux/list_nulls.h`](srctree/include/linux/list_nulls.h)

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use core::arch::asm;
use core::marker::PhantomData;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::{ptr, slice};

use kernel::prelude::*;
use kernel::sync::rcu;
use kernel::types::{NotThreadSafe, Opaque};

use crate::bindings::{self, field, read_once};
use crate::census::state::State;
use crate::census::table::{Listener, Socket, Table, AF_INET6};
use crate::interrupt;
use crate::net::{sock_net, Net, NetId};

/// The hash tables of TCP (`struct inet_hashinfo`).
///
/// # Invariants
///
/// For all of `'a`, the pointer and the tables are valid, and no table is resized or replaced.
pub(crate) struct Hashinfo<'a>(*mut bindings::inet_hashinfo, PhantomData<&'a ()>);

impl<'a> Hashinfo<'a> {
    /// The hash tables with the TCP sockets of `net`, shared with other namespaces or not.
    ///
    /// Most namespaces share `tcp_hashinfo`, which is not exported; the pointer in the namespace is
    /// right for all of them.
    pub(crate) fn of(net: &'a Net) -> Self {
        // INVARIANT: The kernel sets this pointer when it initialises the namespace
        // (`tcp_set_hashinfo`), never changes it, never resizes the tables, and frees them only
        // with the namespace.
        let hashinfo: *const *mut bindings::inet_hashinfo =
            field(net.as_raw(), bindings::NET_HASHINFO);
        // SAFETY: A `Net` is initialised and alive for `'a`.
        Self(unsafe { hashinfo.read() }, PhantomData)
    }

    /// The table of listening sockets.
    pub(crate) fn listening(&self) -> Listening<'a> {
        // SAFETY: `lhash2` is a table of these buckets.
        let buckets =
            unsafe { self.table(bindings::HASHINFO_LHASH2, bindings::HASHINFO_LHASH2_MASK) };
        Buckets {
            buckets,
            hashinfo: Hashinfo(self.0, PhantomData),
        }
    }

    /// The table of all other sockets: connections, request sockets, time-wait sockets.
    pub(crate) fn established(&self) -> Established<'a> {
        // SAFETY: `ehash` is a table of these buckets.
        let buckets =
            unsafe { self.table(bindings::HASHINFO_EHASH, bindings::HASHINFO_EHASH_MASK) };
        Buckets {
            buckets,
            hashinfo: Hashinfo(self.0, PhantomData),
        }
    }

    /// The array of buckets whose address and mask are at these offsets.
    ///
    /// # Safety
    ///
    /// The offsets must be those of a table of `B`s and of its mask.
    unsafe fn table<B>(&self, buckets: usize, mask: usize) -> &'a [Opaque<B>] {
        // SAFETY: By the type's invariant both fields are initialised; the caller promises what
        // they are.
        let (buckets, mask) = unsafe {
            (
                field::<_, *const Opaque<B>>(self.0, buckets).read(),
                field::<_, u32>(self.0, mask).read(),
            )
        };
        // SAFETY: By the type's invariant the table is valid for `'a` and has one bucket more than
        // its mask says.
        unsafe { slice::from_raw_parts(buckets, mask as usize + 1) }
    }
}

/// The table of listening sockets.
pub(crate) type Listening<'a> = Buckets<'a, bindings::inet_listen_hashbucket>;

/// The table of all sockets that do not listen.
pub(crate) type Established<'a> = Buckets<'a, bindings::inet_ehash_bucket>;

/// A hash table, an array of buckets.
///
/// # Invariants
///
/// The buckets are those of `hashinfo`: every chain and every lock is initialised.
pub(crate) struct Buckets<'a, B> {
    buckets: &'a [Opaque<B>],
    hashinfo: Hashinfo<'a>,
}

/// The differences between the buckets of the two tables: the place of the chain, and its lock.
pub(crate) trait Bucket: 'static {
    /// Whether softirqs take the lock too, and so are disabled while it is held.
    const BH: bool;

    /// The chain.
    ///
    /// # Safety
    ///
    /// `bucket` must point to a bucket.
    unsafe fn chain(bucket: *mut Self) -> *const bindings::hlist_nulls_head;

    /// The lock. Without SMP there may be none; the kernel then ignores the pointer.
    ///
    /// # Safety
    ///
    /// `bucket` must point to the bucket of this number in the table of `hashinfo`.
    unsafe fn lock(
        bucket: *mut Self,
        hashinfo: &Hashinfo<'_>,
        number: usize,
    ) -> *mut bindings::spinlock_t;
}

impl Bucket for bindings::inet_listen_hashbucket {
    // As in `tcp_diag_dump`: no softirq takes this lock. On PREEMPT_RT, where `local_bh_disable`
    // takes a lock, it must not be taken with softirqs disabled: see commit 4f9bf2a2f5aa ("tcp:
    // Don't acquire inet_listen_hashbucket::lock with disabled BH.").
    const BH: bool = false;

    unsafe fn chain(bucket: *mut Self) -> *const bindings::hlist_nulls_head {
        field(bucket, bindings::LISTEN_BUCKET_CHAIN)
    }

    unsafe fn lock(bucket: *mut Self, _: &Hashinfo<'_>, _: usize) -> *mut bindings::spinlock_t {
        field::<_, bindings::spinlock_t>(bucket, bindings::LISTEN_BUCKET_LOCK).cast_mut()
    }
}

impl Bucket for bindings::inet_ehash_bucket {
    const BH: bool = true;

    unsafe fn chain(bucket: *mut Self) -> *const bindings::hlist_nulls_head {
        field(bucket, bindings::EHASH_BUCKET_CHAIN)
    }

    unsafe fn lock(
        _: *mut Self,
        hashinfo: &Hashinfo<'_>,
        number: usize,
    ) -> *mut bindings::spinlock_t {
        // SAFETY: `hashinfo` is valid, and the number fits in the 32 bits of the mask.
        unsafe { bindings::tcpstat_inet_ehash_lockp(hashinfo.0, number as u32) }
    }
}

impl<B: Bucket> Buckets<'_, B> {
    /// Whether this is the same table as `other`.
    pub(crate) fn is(&self, other: &Self) -> bool {
        ptr::eq(self.buckets.as_ptr(), other.buckets.as_ptr())
    }

    fn chain(&self, bucket: usize) -> Option<&Chain> {
        let bucket = self.buckets.get(bucket)?;
        // SAFETY: By the type's invariant this is a bucket, whose chain is initialised.
        Some(unsafe { Chain::from_raw(B::chain(bucket.get())) })
    }
}

impl<B: Bucket> Table for Buckets<'_, B> {
    type Net = NetId;
    type Socket<'lock> = Sock<'lock, B>;
    type Interrupt = Error;
    type Section = Section<B>;
    type Link<'section>
        = Link<'section>
    where
        Self: 'section;

    fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn is_empty(&self, bucket: usize) -> bool {
        self.chain(bucket).is_none_or(Chain::is_empty)
    }

    fn section(&self) -> Section<B> {
        Section::begin()
    }

    fn visit(&self, section: &Section<B>, number: usize, visit: impl FnMut(&Sock<'_, B>)) {
        let (Some(bucket), Some(chain)) = (self.buckets.get(number), self.chain(number)) else {
            return;
        };
        // SAFETY: By the type's invariant this is the bucket of that number, whose lock is
        // initialised.
        let guard =
            unsafe { SpinGuard::lock(B::lock(bucket.get(), &self.hashinfo, number), section) };
        // SAFETY: The chain is the bucket's, whose lock is held.
        unsafe { chain.for_each(&guard, visit) };
    }

    fn pause(&self) -> Result {
        // SAFETY: The walk calls this in process context, without a lock.
        unsafe { bindings::tcpstat_cond_resched() };
        interrupt::check()
    }

    fn first<'section>(
        &'section self,
        section: &'section Section<B>,
        bucket: usize,
    ) -> Option<Link<'section>> {
        let chain = self.chain(bucket)?;
        // SAFETY: It is read from the head of a chain.
        unsafe { Link::to(chain.first(), &section.rcu) }
    }

    fn next<'section>(
        &'section self,
        section: &'section Section<B>,
        link: Link<'section>,
    ) -> Option<Link<'section>> {
        link.next(&section.rcu)
    }
}

/// A section of a walk: an RCU read-side critical section, with softirqs disabled on this CPU if
/// they take the locks of the table.
///
/// Softirqs are disabled for the section as a whole, not for each lock. When they are enabled
/// again, those that were raised meanwhile run, for up to 2 ms each time; were that after each of a
/// thousand locks, all inside the RCU section, the RCU section would take seconds under a flood of
/// packets, and every grace period with it.
pub(crate) struct Section<B: Bucket> {
    // Declared, and so dropped, before softirqs are enabled again: they run outside of it.
    rcu: rcu::Guard,
    _softirqs: SoftirqsDisabled<B>,
}

impl<B: Bucket> Section<B> {
    fn begin() -> Self {
        let softirqs = SoftirqsDisabled::new();
        Self {
            rcu: rcu::read_lock(),
            _softirqs: softirqs,
        }
    }
}

/// Softirqs are disabled on this CPU if they take the lock of a `B`.
///
/// # Invariants
///
/// If `B::BH`, this thread has disabled softirqs once more than it has enabled them.
struct SoftirqsDisabled<B: Bucket>(PhantomData<B>, NotThreadSafe);

impl<B: Bucket> SoftirqsDisabled<B> {
    fn new() -> Self {
        if B::BH {
            // SAFETY: It may be called in process context, where a walk is.
            unsafe { bindings::tcpstat_local_bh_disable() };
        }
        // INVARIANT: They were just disabled if need be.
        Self(PhantomData, NotThreadSafe)
    }
}

impl<B: Bucket> Drop for SoftirqsDisabled<B> {
    fn drop(&mut self) {
        if B::BH {
            // SAFETY: By the type's invariant this thread has disabled them.
            unsafe { bindings::tcpstat_local_bh_enable() };
        }
    }
}

/// The held lock of a bucket.
///
/// # Invariants
///
/// This thread holds the lock. (On PREEMPT_RT the lock sleeps, and the thread may be preempted with
/// it; without SMP there may be no lock, and the disabled softirqs and preemption take its place.)
struct SpinGuard<'section>(
    *mut bindings::spinlock_t,
    PhantomData<&'section ()>,
    NotThreadSafe,
);

impl<'section> SpinGuard<'section> {
    /// Takes the lock of a `B`; dropping the guard releases it.
    ///
    /// # Safety
    ///
    /// `lock` must point to the initialised lock of a `B`, which outlives the guard.
    unsafe fn lock<B: Bucket>(lock: *mut bindings::spinlock_t, _: &'section Section<B>) -> Self {
        // SAFETY: The caller promises a valid lock. If softirqs take it, the section has disabled
        // them.
        unsafe { bindings::tcpstat_spin_lock(lock) };
        // INVARIANT: The lock was just taken.
        Self(lock, PhantomData, NotThreadSafe)
    }
}

impl Drop for SpinGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariant this thread holds the lock.
        unsafe { bindings::tcpstat_spin_unlock(self.0) };
    }
}

/// A bucket's chain of sockets: a list that ends with an odd number instead of a null pointer.
#[repr(transparent)]
struct Chain(Opaque<bindings::hlist_nulls_head>);

impl Chain {
    /// Makes a reference to a chain from the kernel's pointer.
    ///
    /// # Safety
    ///
    /// For all of `'a`, `head` must point to the initialised chain of a hash table of sockets.
    unsafe fn from_raw<'a>(head: *const bindings::hlist_nulls_head) -> &'a Self {
        // SAFETY: The caller promises a valid chain; `Chain` is a transparent wrapper.
        unsafe { &*head.cast() }
    }

    /// The first link, read once (`READ_ONCE`), since others may write it.
    fn first(&self) -> *const bindings::hlist_nulls_node {
        // SAFETY: The head is initialised, and a read of an aligned pointer is atomic.
        unsafe { read_once(field(self.0.get(), bindings::NULLS_HEAD_FIRST)) }
    }

    /// `hlist_nulls_empty`: takes no lock, so the answer may be out of date at once.
    fn is_empty(&self) -> bool {
        is_a_nulls(self.first())
    }

    /// `sk_nulls_for_each`.
    ///
    /// # Safety
    ///
    /// The chain must be that of a `B`, whose lock `_guard` holds.
    unsafe fn for_each<'lock, B: Bucket>(
        &self,
        _guard: &'lock SpinGuard<'_>,
        mut visit: impl FnMut(&Sock<'lock, B>),
    ) {
        let mut node = self.first();
        while !is_a_nulls(node) {
            // INVARIANT: A node that is not the end marker is `skc_nulls_node` of a socket, which
            // stays in the chain while the lock is held.
            let sock = Sock(sock_of(node), PhantomData);
            visit(&sock);
            // SAFETY: The node is in the chain, which does not change while the lock is held.
            node = unsafe { next_of(node) };
        }
    }
}

/// An entry that was found by reading a chain without its lock.
///
/// # Invariants
///
/// The pointer is `skc_nulls_node` of a socket that was in a chain at some time since the start of
/// the RCU read-side critical section of `'guard`.
#[derive(Clone, Copy)]
pub(crate) struct Link<'section>(
    *const bindings::hlist_nulls_node,
    PhantomData<&'section rcu::Guard>,
);

impl<'section> Link<'section> {
    /// The entry at `node`, or `None` at the end of a chain; prefetches the fields that will be
    /// read.
    ///
    /// # Safety
    ///
    /// `node` must have been read while `_guard` was held, from the head of a chain or from a link.
    unsafe fn to(
        node: *const bindings::hlist_nulls_node,
        _guard: &'section rcu::Guard,
    ) -> Option<Self> {
        if bindings::PROVE_RCU != 0 {
            // SAFETY: It only looks at what this thread holds.
            unsafe { bindings::tcpstat_assert_rcu_read_lock() };
        }
        if is_a_nulls(node) {
            return None;
        }
        // `visit` reads two cache lines of a socket: `skc_state` and `skc_net` are in the first,
        // the node is in the second. The third, with `tw_substate`, is read only in TIME_WAIT.
        prefetch(sock_of(node));
        prefetch(node);
        // INVARIANT: The head of a chain points to a socket in the chain, and so does the node of a
        // socket in a chain. One that was removed or replaced meanwhile points to what was the next
        // socket of the chain then, when the section had already begun.
        Some(Self(node, PhantomData))
    }

    /// The entry after this one.
    fn next(self, guard: &'section rcu::Guard) -> Option<Self> {
        // SAFETY: By the type's invariant this was a socket in a chain during the RCU critical
        // section, so the memory is still that of a socket that is, or was, in a chain.
        let next = unsafe { next_of(self.0) };
        // SAFETY: It was just read from a link.
        unsafe { Self::to(next, guard) }
    }
}

/// The entry after `node`, or the end of the chain.
///
/// # Safety
///
/// `node` must be the `skc_nulls_node` of memory that is still that of a socket.
unsafe fn next_of(node: *const bindings::hlist_nulls_node) -> *const bindings::hlist_nulls_node {
    // SAFETY: The caller promises a node; its pointer is aligned and written as a whole.
    unsafe { read_once(field(node, bindings::NULLS_NODE_NEXT)) }
}

/// The socket whose `skc_nulls_node` this is.
fn sock_of(node: *const bindings::hlist_nulls_node) -> *const bindings::sock_common {
    node.wrapping_byte_sub(bindings::SKC_NULLS_NODE).cast()
}

/// Asks the processor to load the cache line at `address`, without waiting for it (`prefetch`).
///
/// This is the instruction itself, since a helper in C would cost a call, and `core::intrinsics`
/// are not stable. On other processors it does nothing: the walk is slower there, and still
/// correct.
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A prefetch has no effect that a program can see, and faults at no address.
    unsafe {
        asm!("prefetcht0 [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: As on x86-64.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

/// Whether this is the end of a chain (`is_a_nulls`).
fn is_a_nulls(node: *const bindings::hlist_nulls_node) -> bool {
    node.addr() & 1 == 1
}

/// An entry of a hash table: a full, a request or a time-wait socket, which have the same first
/// fields.
///
/// # Invariants
///
/// The pointer is that of an entry in the chain of a `B`, whose lock is held for `'lock`.
pub(crate) struct Sock<'lock, B>(
    *const bindings::sock_common,
    PhantomData<(&'lock SpinGuard<'lock>, B)>,
);

impl<B: Bucket> Socket for Sock<'_, B> {
    type Net = NetId;

    fn net(&self) -> NetId {
        // SAFETY: By the type's invariant this is a socket in a hash table.
        unsafe { sock_net(self.0) }
    }

    fn state(&self) -> u8 {
        // SAFETY: By the type's invariant this is a socket, whose state is one byte that others may
        // write.
        unsafe { read_once(field(self.0, bindings::SKC_STATE)) }
    }

    fn tw_substate(&self) -> u8 {
        let state = self.state();
        if state != State::TimeWait.code() {
            return state;
        }
        // SAFETY: In a hash table only a `struct inet_timewait_sock`, which begins with a
        // `struct sock_common`, is in this state.
        unsafe { read_once(field(self.0, bindings::TW_SUBSTATE)) }
    }

    fn local_port(&self) -> u16 {
        // SAFETY: By the type's invariant this is a socket, whose `skc_num` is an aligned `u16`.
        unsafe { read_once(field(self.0, bindings::SKC_NUM)) }
    }

    fn family(&self) -> u16 {
        // SAFETY: By the type's invariant this is a socket, whose family is an aligned `u16`.
        unsafe { read_once(field(self.0, bindings::SKC_FAMILY)) }
    }

    fn local_address(&self) -> IpAddr {
        if self.family() != AF_INET6 {
            // SAFETY: The address is an aligned `u32`.
            let address: u32 = unsafe { read_once(field(self.0, bindings::SKC_RCV_SADDR)) };
            return Ipv4Addr::from(address.to_ne_bytes()).into();
        }
        let words: *const u32 = field(self.0, bindings::SKC_V6_RCV_SADDR);
        let words = [0, 1, 2, 3].map(|word| {
            // SAFETY: A socket of this family has an address of four aligned `u32`.
            let word: u32 = unsafe { read_once(words.wrapping_add(word)) };
            u128::from(u32::from_be(word))
        });
        Ipv6Addr::from_bits(words.into_iter().fold(0, |all, word| (all << 32) | word)).into()
    }
}

impl Listener for Sock<'_, bindings::inet_listen_hashbucket> {
    fn accept_queue(&self) -> u32 {
        // SAFETY: The entries of the listening table are all full sockets.
        unsafe { bindings::tcpstat_sk_ack_backlog(self.0) }
    }

    fn backlog(&self) -> u32 {
        // SAFETY: As in `accept_queue`.
        unsafe { bindings::tcpstat_sk_max_ack_backlog(self.0) }
    }

    fn drops(&self) -> u32 {
        // SAFETY: As in `accept_queue`.
        unsafe { bindings::tcpstat_sk_drops(self.0) }
    }

    fn v6only(&self) -> bool {
        // SAFETY: As in `accept_queue`.
        unsafe { bindings::tcpstat_sk_v6only(self.0) }
    }
}
