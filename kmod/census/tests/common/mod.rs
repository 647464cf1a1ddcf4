// SPDX-License-Identifier: GPL-2.0-only

//! A hash table of sockets with the memory layout of the kernel's, for the tests and the benchmark.
//!
//! Sockets are 2,304 bytes apart, and the fields that the walk reads have their x86-64 offsets of
//! `struct sock_common`. Chains, locks and the order of their operations are those of
//! `list_nulls.h`, `rculist_nulls.h` and `inet_hashtables.c`. The memory of a socket remains that
//! of a socket as long as the table exists, in a chain or not: a reader in the kernel has the same
//! guarantee from `SLAB_TYPESAFE_BY_RCU`.
#![allow(dead_code)] // Each test, and the benchmark, uses a part of it.

use std::arch::asm;
use std::cell::Cell;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::ptr;
use std::rc::Rc;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering,
};

use tcpstat_census::state::State;
use tcpstat_census::table::{Listener, Socket, Table, AF_INET, AF_INET6};

/// The fields of a `struct tcp_sock` that are read and written here, at the kernel's offsets.
#[repr(C, align(64))]
pub(crate) struct Sock {
    _0: [u8; 4],
    /// `skc_rcv_saddr`, offset 4, of IPv4.
    rcv_saddr: AtomicU32,
    /// `skc_hash`: here the number of the bucket.
    hash: AtomicU32,
    _12: [u8; 2],
    /// `skc_num`, offset 14.
    num: AtomicU16,
    /// `skc_family`, offset 16.
    family: AtomicU16,
    /// `skc_state`, offset 18.
    state: AtomicU8,
    /// `skc_ipv6only`, offset 19, a bit of it.
    v6only: AtomicBool,
    _20: [u8; 28],
    /// `skc_net`, offset 48.
    net: AtomicU64,
    _56: [u8; 16],
    /// `skc_v6_rcv_saddr`, offset 72: the second cache line.
    v6_rcv_saddr: [AtomicU64; 2],
    _88: [u8; 16],
    /// `skc_nulls_node.next`, offset 104: the second cache line.
    next: AtomicPtr<Sock>,
    /// `skc_nulls_node.pprev`.
    pprev: AtomicPtr<AtomicPtr<Sock>>,
    _120: [u8; 20],
    /// `tw_substate` of a time-wait socket: the third cache line.
    tw_substate: AtomicU8,
    _141: [u8; 3],
    /// `sk_ack_backlog`, `sk_max_ack_backlog` and `sk_drops` of a listener.
    listener: [AtomicU32; 3],
    _156: [u8; 2304 - 156],
}

const _: () = assert!(size_of::<Sock>() == 2304);

/// The end of a chain: an odd address (`NULLS_MARKER`).
fn nulls(bucket: usize) -> *mut Sock {
    ptr::without_provenance_mut((bucket << 1) | 1)
}

fn is_a_nulls(link: *mut Sock) -> bool {
    link.addr() & 1 == 1
}

/// Zeroed memory, in huge pages if the system has them.
struct Region<T> {
    start: *mut libc::c_void,
    bytes: usize,
    items: *mut T,
    len: usize,
    _owns: PhantomData<T>,
}

// SAFETY: A region gives out shared references only, as a boxed slice does.
unsafe impl<T: Sync> Sync for Region<T> {}

impl<T> Region<T> {
    const HUGE: usize = 2 << 20;

    /// # Safety
    /// All bytes zero must be a valid `T`, and `T` must need no drop.
    unsafe fn zeroed(len: usize) -> Self {
        let used = (len * size_of::<T>())
            .next_multiple_of(Self::HUGE)
            .max(Self::HUGE);
        let bytes = used + Self::HUGE;
        // SAFETY: It is a new mapping, to which nothing else refers.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(
            start,
            libc::MAP_FAILED,
            "{bytes} bytes: {}",
            std::io::Error::last_os_error()
        );
        let items = start.wrapping_byte_add(start.align_offset(Self::HUGE));
        // SAFETY: The range is inside the mapping, and advice has no effect that a program can see.
        unsafe { libc::madvise(items, used, libc::MADV_HUGEPAGE) };
        Self {
            start,
            bytes,
            items: items.cast(),
            len,
            _owns: PhantomData,
        }
    }
}

impl<T> Deref for Region<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: The mapping has room for `len` items, and zeros are a valid item.
        unsafe { std::slice::from_raw_parts(self.items, self.len) }
    }
}

impl<T> Drop for Region<T> {
    fn drop(&mut self) {
        // SAFETY: The region owns the mapping, and no reference outlives the region.
        unsafe { libc::munmap(self.start, self.bytes) };
    }
}

/// Pseudorandom numbers, the same in every run (splitmix64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// `struct inet_hashinfo` with its buckets and locks, and the slab of all sockets.
pub(crate) struct Hashinfo {
    ehash: Region<AtomicPtr<Sock>>,
    ehash_locks: Region<AtomicU32>,
    sockets: Region<Sock>,
}

impl Hashinfo {
    /// A table of empty buckets, and sockets that are in no chain. `locks` is a power of two.
    pub(crate) fn new(buckets: usize, locks: usize, sockets: usize) -> Self {
        assert!(locks.is_power_of_two());
        // SAFETY: All are made of atomics and bytes, for which zero is a valid value.
        let (ehash, ehash_locks, sockets) = unsafe {
            (
                Region::<AtomicPtr<Sock>>::zeroed(buckets),
                Region::zeroed(locks),
                Region::zeroed(sockets),
            )
        };
        for (bucket, head) in ehash.iter().enumerate() {
            head.store(nulls(bucket), Ordering::Relaxed);
        }
        Self {
            ehash,
            ehash_locks,
            sockets,
        }
    }

    /// Makes `socket` one of IPv4 at no address, and sets its namespace, its state, and its
    /// substate as a time-wait socket.
    pub(crate) fn set(&self, socket: usize, net: u64, state: u8, tw_substate: u8) {
        let socket = &self.sockets[socket];
        socket.family.store(AF_INET, Ordering::Relaxed);
        socket.net.store(net, Ordering::Relaxed);
        socket.state.store(state, Ordering::Relaxed);
        socket.tw_substate.store(tw_substate, Ordering::Relaxed);
    }

    /// Sets the local port of `socket`.
    pub(crate) fn set_port(&self, socket: usize, port: u16) {
        self.sockets[socket].num.store(port, Ordering::Relaxed);
    }

    /// Sets the local address of `socket`, and whether it takes no IPv4.
    pub(crate) fn set_address(&self, socket: usize, address: IpAddr, v6only: bool) {
        let socket = &self.sockets[socket];
        socket.v6only.store(v6only, Ordering::Relaxed);
        match address {
            IpAddr::V4(address) => {
                socket.family.store(AF_INET, Ordering::Relaxed);
                socket.rcv_saddr.store(address.to_bits(), Ordering::Relaxed);
            }
            IpAddr::V6(address) => {
                socket.family.store(AF_INET6, Ordering::Relaxed);
                let bits = address.to_bits();
                for (to, shift) in socket.v6_rcv_saddr.iter().zip([64, 0]) {
                    to.store((bits >> shift) as u64, Ordering::Relaxed);
                }
            }
        }
    }

    /// Sets the accept queue, the backlog and the drops of `socket` as a listener.
    pub(crate) fn set_listener(&self, socket: usize, values: [u32; 3]) {
        for (to, value) in self.sockets[socket].listener.iter().zip(values) {
            to.store(value, Ordering::Relaxed);
        }
    }

    /// Puts `socket`, which is in no chain, at the head of one (`hlist_nulls_add_head_rcu`).
    pub(crate) fn insert(&self, socket: usize, bucket: usize) {
        let _guard = self.lock(bucket);
        let (socket, head) = (&self.sockets[socket], &self.ehash[bucket]);
        let this = ptr::from_ref(socket).cast_mut();
        let first = head.load(Ordering::Relaxed);
        socket.hash.store(bucket as u32, Ordering::Relaxed);
        socket.next.store(first, Ordering::Relaxed);
        socket
            .pprev
            .store(ptr::from_ref(head).cast_mut(), Ordering::Relaxed);
        head.store(this, Ordering::Release);
        if let Some(first) = self.socket(first) {
            first
                .pprev
                .store(ptr::from_ref(&socket.next).cast_mut(), Ordering::Relaxed);
        }
    }

    /// Takes `socket` out of its chain; its own link stays (`hlist_nulls_del_init_rcu`).
    pub(crate) fn remove(&self, socket: usize) {
        let socket = &self.sockets[socket];
        let _guard = self.lock(socket.hash.load(Ordering::Relaxed) as usize);
        let next = socket.next.load(Ordering::Relaxed);
        let pprev = socket.pprev.load(Ordering::Relaxed);
        // SAFETY: While a socket is in a chain, this is the head or another socket's link, in this
        // table.
        unsafe { &*pprev }.store(next, Ordering::Relaxed);
        if let Some(next) = self.socket(next) {
            next.pprev.store(pprev, Ordering::Relaxed);
        }
    }

    /// A table of `sockets` sockets, each in a random bucket, linked in an order that is
    /// independent of their addresses; and that order. `time_wait` per cent are time-wait sockets.
    pub(crate) fn filled(
        buckets: usize,
        locks: usize,
        sockets: usize,
        time_wait: usize,
    ) -> (Self, Vec<u32>) {
        let table = Self::new(buckets, locks, sockets);
        let mut numbers = Numbers(buckets as u64);
        let mut order: Vec<u32> = (0..sockets as u32).collect();
        for last in (1..sockets).rev() {
            order.swap(last, numbers.below(last + 1));
        }
        for &socket in &order {
            let socket = socket as usize;
            let state = match numbers.below(100) {
                kind if kind < time_wait => State::TimeWait,
                99 => State::CloseWait,
                _ => State::Established,
            };
            table.set(socket, 1, state.code(), State::TimeWait.code());
            table.insert(socket, numbers.below(buckets));
        }
        (table, order)
    }

    /// A table of listeners, one on each port from 1 on, with the kernel's number of buckets on a
    /// machine of 32 GiB (`tcp_init`: one for 2 MiB, each with a lock).
    pub(crate) fn listening(listeners: usize) -> Self {
        const BUCKETS: usize = 1 << 14;
        let table = Self::new(BUCKETS, BUCKETS, listeners);
        for listener in 0..listeners {
            table.set(listener, 1, State::Listen.code(), 0);
            table.set_port(listener, listener as u16 + 1);
            table.insert(listener, listener % BUCKETS);
        }
        table
    }

    /// Gives half of the sockets, chosen at random, a port of a listener in a table of `listening`,
    /// and the others a port for outgoing connections (`ip_local_port_range`).
    pub(crate) fn set_ports(&self, listening: usize) {
        let mut numbers = Numbers(listening as u64);
        for socket in 0..self.sockets.len() {
            let port = match numbers.below(2) {
                0 => 1 + numbers.below(listening),
                _ => 32_768 + numbers.below(28_232),
            };
            self.set_port(socket, port as u16);
        }
    }

    /// Gives each socket one of the first `number` addresses of the loopback device, chosen at
    /// random.
    pub(crate) fn set_addresses(&self, number: usize) {
        let mut numbers = Numbers(number as u64);
        for socket in 0..self.sockets.len() {
            let host = 1 + numbers.below(number) as u8;
            self.set_address(socket, Ipv4Addr::new(127, 0, 0, host).into(), false);
        }
    }

    /// Gives each socket one of these namespaces, chosen at random.
    pub(crate) fn set_nets(&self, nets: &[u64]) {
        let mut numbers = Numbers(nets.len() as u64);
        for socket in self.sockets() {
            let net = nets[numbers.below(nets.len())];
            socket.net.store(net, Ordering::Relaxed);
        }
    }

    /// All sockets, in the order of their addresses.
    pub(crate) fn sockets(&self) -> &[Sock] {
        &self.sockets
    }

    /// Takes the lock of `bucket` (`inet_ehash_lockp`).
    fn lock(&self, bucket: usize) -> LockGuard<'_> {
        let lock = &self.ehash_locks[bucket & (self.ehash_locks.len() - 1)];
        while lock.swap(1, Ordering::Acquire) != 0 {
            while lock.load(Ordering::Relaxed) != 0 {
                std::hint::spin_loop();
            }
        }
        LockGuard(lock)
    }

    /// The socket at the end of `link`, or `None` at the end of a chain.
    fn socket(&self, link: *mut Sock) -> Option<&Sock> {
        // SAFETY: A link that is not the end of a chain leads to a socket of this table, which
        // lives as long as the table and has atomic fields.
        (!is_a_nulls(link)).then(|| unsafe { &*link })
    }
}

/// A held lock: one locked instruction takes it, a plain store releases it.
struct LockGuard<'a>(&'a AtomicU32);

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Asks the processor to load the cache line at `address`, as the module does.
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: A prefetch has no effect that a program can see, and faults at no address.
    unsafe {
        asm!("prefetcht0 [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: As above.
    unsafe {
        asm!("prfm pldl1keep, [{}]", in(reg) address.addr(), options(nomem, nostack, preserves_flags));
    }
}

impl Sock {
    /// Asks the processor to load the cache lines that a walk reads of this socket.
    pub(crate) fn prefetch(&self) {
        prefetch(self);
        prefetch(&self.next);
    }

    /// Reads the link to the next socket of the chain.
    pub(crate) fn read_link(&self) {
        std::hint::black_box(self.next.load(Ordering::Relaxed));
    }
}

impl Socket for Sock {
    type Net = u64;

    fn net(&self) -> u64 {
        self.net.load(Ordering::Relaxed)
    }

    fn state(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    fn tw_substate(&self) -> u8 {
        self.tw_substate.load(Ordering::Relaxed)
    }

    fn local_port(&self) -> u16 {
        self.num.load(Ordering::Relaxed)
    }

    fn family(&self) -> u16 {
        self.family.load(Ordering::Relaxed)
    }

    fn local_address(&self) -> IpAddr {
        if self.family() != AF_INET6 {
            return Ipv4Addr::from_bits(self.rcv_saddr.load(Ordering::Relaxed)).into();
        }
        let [high, low] =
            [0, 1].map(|word: usize| u128::from(self.v6_rcv_saddr[word].load(Ordering::Relaxed)));
        Ipv6Addr::from_bits((high << 64) | low).into()
    }
}

impl Listener for Sock {
    fn accept_queue(&self) -> u32 {
        self.listener[0].load(Ordering::Relaxed)
    }

    fn backlog(&self) -> u32 {
        self.listener[1].load(Ordering::Relaxed)
    }

    fn drops(&self) -> u32 {
        self.listener[2].load(Ordering::Relaxed)
    }

    fn v6only(&self) -> bool {
        self.v6only.load(Ordering::Relaxed)
    }
}

/// The table, as one processor walks it.
pub(crate) struct Cpu<'t> {
    table: &'t Hashinfo,
    /// `__preempt_count`: to disable softirqs costs a plain addition to a number of this processor.
    softirqs: Rc<Cell<u32>>,
    /// The flag that `cond_resched` reads.
    need_resched: Cell<bool>,
}

impl<'t> Cpu<'t> {
    pub(crate) fn new(table: &'t Hashinfo) -> Self {
        Self {
            table,
            softirqs: Rc::default(),
            need_resched: Cell::new(false),
        }
    }
}

/// A section of a walk: `rcu_read_lock` does nothing here, as in a kernel without preemption, and
/// softirqs are disabled.
pub(crate) struct Section(Rc<Cell<u32>>);

impl Drop for Section {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Table for Cpu<'_> {
    type Net = u64;
    type Socket<'lock> = Sock;
    type Interrupt = Infallible;
    type Section = Section;
    type Link<'section>
        = &'section Sock
    where
        Self: 'section;

    fn buckets(&self) -> usize {
        self.table.ehash.len()
    }

    fn is_empty(&self, bucket: usize) -> bool {
        is_a_nulls(self.table.ehash[bucket].load(Ordering::Relaxed))
    }

    fn section(&self) -> Section {
        self.softirqs.set(self.softirqs.get() + 1);
        Section(Rc::clone(&self.softirqs))
    }

    fn visit(&self, _: &Section, bucket: usize, mut visit: impl FnMut(&Sock)) {
        let _guard = self.table.lock(bucket);
        let mut link = self.table.ehash[bucket].load(Ordering::Relaxed);
        while let Some(socket) = self.table.socket(link) {
            visit(socket);
            link = socket.next.load(Ordering::Relaxed);
        }
    }

    fn pause(&self) -> Result<(), Infallible> {
        if std::hint::black_box(&self.need_resched).get() {
            std::thread::yield_now();
        }
        Ok(())
    }

    fn first<'section>(
        &'section self,
        _: &'section Section,
        bucket: usize,
    ) -> Option<&'section Sock> {
        let first = self
            .table
            .socket(self.table.ehash[bucket].load(Ordering::Acquire))?;
        first.prefetch();
        Some(first)
    }

    fn next<'section>(
        &'section self,
        _: &'section Section,
        link: &'section Sock,
    ) -> Option<&'section Sock> {
        let next = self.table.socket(link.next.load(Ordering::Acquire))?;
        next.prefetch();
        Some(next)
    }
}
