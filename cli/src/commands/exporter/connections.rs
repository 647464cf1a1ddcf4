// SPDX-License-Identifier: MIT OR Apache-2.0

//! The open connections, and how long each may take: to send a request, to read an answer, to be
//! idle. If there are too many, those that have been inactive for longest are closed, so that a
//! client that keeps connections open does not keep others out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

/// How long a connection may be without a request.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// How long a client may take to send a request or, without a pause, to shake hands.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a client may take none of an answer that waits for it.
const PAUSE: Duration = Duration::from_secs(10);
/// How long a client may take to read an answer.
const ANSWER: Duration = Duration::from_secs(60);

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity {
    /// Whether a request is being answered: until the answer is ready, the client waits for us.
    serves: Cell<bool>,
    /// When the first byte of a request came that is not complete.
    request: Cell<Option<Instant>>,
    /// When the answer was ready.
    answered: Cell<Instant>,
    /// Whether the answer is a stream of events, which has no end.
    streams: Cell<bool>,
    /// Whether bytes wait for the client to read.
    waits: Cell<bool>,
    /// When a byte was read or written last.
    last: Cell<Instant>,
}

impl Activity {
    pub(super) fn new() -> Rc<Self> {
        let now = Instant::now();
        Rc::new(Self {
            serves: Cell::new(false),
            request: Cell::new(None),
            answered: Cell::new(now),
            streams: Cell::new(false),
            waits: Cell::new(false),
            last: Cell::new(now),
        })
    }

    /// The client is to shake hands, within the time of a request.
    pub(super) fn begin_handshake(&self) {
        self.request.set(Some(Instant::now()));
    }

    /// The handshake is complete, and there is no request yet.
    pub(super) fn end_handshake(&self) {
        self.request.set(None);
    }

    /// The request is complete.
    pub(super) fn begin_answer(&self) {
        self.request.set(None);
        self.serves.set(true);
    }

    /// The answer is ready to be read, or begins as a stream of events.
    pub(super) fn end_answer(&self, streams: bool) {
        self.serves.set(false);
        self.streams.set(streams);
        let now = Instant::now();
        self.answered.set(now);
        self.last.set(now);
    }

    fn is_overdue(&self, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.serves.get() {
            return false;
        }
        let last = since(self.last.get());
        if self.waits.get() {
            let is_slow = !self.streams.get() && since(self.answered.get()) > ANSWER;
            return last > PAUSE || is_slow;
        }
        self.request
            .get()
            .is_some_and(|begun| since(begun) > REQUEST)
            || last > IDLE
    }
}

/// A stream whose bytes are activity.
pub(super) struct Watched<S> {
    pub(super) stream: S,
    pub(super) activity: Rc<Activity>,
}

impl<S> Watched<S> {
    fn wrote(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.activity.waits.set(poll.is_pending());
        if poll.is_ready() {
            self.activity.last.set(Instant::now());
        }
        poll
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let now = Instant::now();
            let activity = &self.activity;
            activity.last.set(now);
            if activity.request.get().is_none() && !activity.serves.get() {
                activity.request.set(Some(now));
            }
        }
        poll
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The connections that are open.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    next: Cell<u64>,
    open: RefCell<HashMap<u64, (Rc<Activity>, AbortHandle)>>,
}

impl Connections {
    pub(super) fn new(most: usize) -> Rc<Self> {
        Rc::new(Self {
            most,
            next: Cell::new(0),
            open: RefCell::default(),
        })
    }

    /// The number of a new connection, to be given to `add` and `remove`.
    pub(super) fn number(&self) -> u64 {
        self.next.replace(self.next.get() + 1)
    }

    pub(super) fn add(&self, number: u64, activity: Rc<Activity>, task: AbortHandle) {
        if !task.is_finished() {
            self.open.borrow_mut().insert(number, (activity, task));
        }
    }

    pub(super) fn remove(&self, number: u64) {
        self.open.borrow_mut().remove(&number);
    }

    pub(super) fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether there is room for another connection.
    pub(super) fn have_room(&self) -> bool {
        self.len() < self.most
    }

    /// Closes connections, those first that have been inactive for longest, and none that waits for
    /// an answer. Returns how many.
    pub(super) fn close_inactive(&self) -> usize {
        let mut open = self.open.borrow_mut();
        let inactive = open
            .iter()
            .filter(|(_, (activity, _))| !activity.serves.get());
        let mut inactive: Vec<(Instant, u64)> = inactive
            .map(|(&number, (activity, _))| (activity.last.get(), number))
            .collect();
        inactive.sort_unstable();
        // Several at once: sorting takes longer than to accept a connection.
        let most = open.len() / 16 + 1;
        inactive.truncate(most);
        for (_, number) in &inactive {
            if let Some((_, task)) = open.remove(number) {
                task.abort();
            }
        }
        inactive.len()
    }

    /// Closes streams whose clients do not read, at the end of the exporter: they would not end.
    pub(super) fn close_stalled_streams(&self) {
        self.open.borrow_mut().retain(|_, (activity, task)| {
            let stays = !(activity.streams.get() && activity.waits.get());
            if !stays {
                task.abort();
            }
            stays
        });
    }

    /// Closes those that take too long. To be called every second.
    pub(super) fn close_overdue(&self) {
        let now = Instant::now();
        self.open.borrow_mut().retain(|_, (activity, task)| {
            let stays = !activity.is_overdue(now);
            if !stays {
                task.abort();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phase_has_its_time() {
        let activity = Activity::new();
        let start = activity.last.get();
        let after = |seconds| activity.is_overdue(start + Duration::from_secs(seconds));
        assert!(!after(299) && after(301));
        activity.request.set(Some(start));
        assert!(!after(9) && after(11));
        activity.begin_answer();
        assert!(!after(1000));
        activity.end_answer(false);
        assert!(!after(299));
        activity.waits.set(true);
        assert!(!after(9) && after(12));
        activity.last.set(start + Duration::from_secs(60));
        assert!(after(62));
        // A stream has no end, but its client has to take it.
        activity.end_answer(true);
        activity.last.set(start + Duration::from_secs(600));
        assert!(!after(609) && after(611));
    }
}
