// SPDX-License-Identifier: MIT OR Apache-2.0

//! The thread that reads. It alone enters network namespaces, and one reading answers everyone who
//! asked before it began.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

use hyper::body::Bytes;
use tokio::sync::oneshot;

use super::collectors::{Collector, Collectors};
use super::exposition::{self, Exposition};
use super::reading::{Reader, Reading};

/// What a request asks for. The same is made once, however many ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Wanted {
    Metrics {
        collectors: Collectors,
        exposition: Exposition,
        gzip: bool,
    },
    /// An event for a page.
    Event {
        /// The service that is open.
        port: Option<u16>,
        /// Whether it is the first one.
        first: bool,
    },
}

impl Wanted {
    /// What has to be read for it.
    fn collectors(self) -> Collectors {
        match self {
            Self::Metrics { collectors, .. } => collectors,
            Self::Event { .. } => Collectors::default().with(Collector::Services),
        }
    }
}

/// A request that waits for a reading.
struct Ask {
    wanted: Wanted,
    reply: oneshot::Sender<Option<Bytes>>,
}

/// Where readings are asked for.
#[derive(Clone)]
pub(super) struct Readings {
    asks: mpsc::Sender<Ask>,
    /// When the reading under way began, in milliseconds since `start`, plus one; 0 if there is
    /// none.
    began: Arc<AtomicU64>,
    /// How long the last reading for a page took, in milliseconds.
    page_reading: Arc<AtomicU64>,
    start: Instant,
}

impl Readings {
    /// Starts the thread. A reading makes at most `most` different answers; what asks for others
    /// waits for the next one.
    pub(super) fn start(mut reader: Reader, most: usize) -> io::Result<Self> {
        let (asks, asked) = mpsc::channel();
        let readings = Self {
            asks,
            began: Arc::default(),
            page_reading: Arc::default(),
            start: Instant::now(),
        };
        let Self {
            began,
            page_reading,
            start,
            ..
        } = readings.clone();
        let run = move || {
            let mut waiting = VecDeque::new();
            while wait(&asked, &mut waiting) {
                let batch = batch(&mut waiting, most);
                if batch.is_empty() {
                    continue;
                }
                let is_of_page = |ask: &Ask| matches!(ask.wanted, Wanted::Event { .. });
                let is_of_page = batch.iter().any(is_of_page);
                let now = Instant::now();
                began.store(start.elapsed().as_millis() as u64 + 1, Relaxed);
                answer(&mut reader, batch);
                began.store(0, Relaxed);
                if is_of_page {
                    page_reading.store(now.elapsed().as_millis() as u64, Relaxed);
                }
            }
        };
        thread::Builder::new().name("readings".into()).spawn(run)?;
        Ok(readings)
    }

    /// Asks for an answer by a reading that begins after this call. `None` if it cannot be made.
    pub(super) async fn answer(&self, wanted: Wanted) -> Option<Bytes> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { wanted, reply }).ok()?;
        answer.await.ok().flatten()
    }

    /// How long the last reading for a page took.
    pub(super) fn page_reading(&self) -> Duration {
        Duration::from_millis(self.page_reading.load(Relaxed))
    }

    /// The time until the next of the ticks at this distance, which are the same for everyone.
    pub(super) fn until_tick(&self, pace: Duration) -> Duration {
        let since = self.start.elapsed().as_nanos() % pace.as_nanos().max(1);
        pace - Duration::from_nanos(u64::try_from(since).unwrap_or(0))
    }

    /// How long the reading under way has taken.
    pub(super) fn under_way(&self) -> Option<Duration> {
        let began = self.began.load(Relaxed).checked_sub(1)?;
        Some(
            self.start
                .elapsed()
                .saturating_sub(Duration::from_millis(began)),
        )
    }
}

/// Waits until someone asks. `false` at the end.
fn wait(asked: &mpsc::Receiver<Ask>, waiting: &mut VecDeque<Ask>) -> bool {
    if waiting.is_empty() {
        match asked.recv() {
            Ok(ask) => waiting.push_back(ask),
            Err(_) => return false,
        }
    }
    waiting.extend(asked.try_iter());
    true
}

/// Takes those that wait, in order, up to `most` different answers. Those that have given up are
/// dropped.
fn batch(waiting: &mut VecDeque<Ask>, most: usize) -> Vec<Ask> {
    let mut different = HashSet::new();
    let mut batch = Vec::new();
    let mut later = VecDeque::new();
    for ask in waiting.drain(..) {
        if ask.reply.is_closed() {
            continue;
        }
        if different.contains(&ask.wanted) || different.len() < most {
            different.insert(ask.wanted);
            batch.push(ask);
        } else {
            later.push_back(ask);
        }
    }
    *waiting = later;
    batch
}

/// Reads once, and answers them all.
fn answer(reader: &mut Reader, batch: Vec<Ask>) {
    let all = batch.iter().map(|ask| ask.wanted.collectors());
    let all = all.fold(Collectors::default(), Collectors::union);
    let pages = batch.iter().filter_map(|ask| match ask.wanted {
        Wanted::Event { port, .. } => Some(port),
        Wanted::Metrics { .. } => None,
    });
    let reading = reader.read(all, &pages.collect::<BTreeSet<_>>());
    let mut answers: HashMap<Wanted, Option<Bytes>> = HashMap::new();
    for Ask { wanted, reply } in batch {
        let answer = answers
            .entry(wanted)
            .or_insert_with(|| body(reader, &reading, wanted));
        // Whoever has given up needs no answer.
        let _ = reply.send(answer.clone());
    }
}

fn body(reader: &Reader, reading: &Reading, wanted: Wanted) -> Option<Bytes> {
    match wanted {
        Wanted::Metrics {
            collectors,
            exposition,
            gzip,
        } => {
            let text = exposition.encode(&reading.families(collectors)).ok()?;
            match gzip {
                true => exposition::gzip(&text).ok().map(Bytes::from),
                false => Some(Bytes::from(text)),
            }
        }
        Wanted::Event { port, first } => {
            let hello = match first {
                true => reader.hello()?,
                false => String::new(),
            };
            Some(Bytes::from(hello + &reading.event(port)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_a_bounded_number_of_answers_and_nobody_who_has_given_up() {
        let wanted = |collector| Wanted::Metrics {
            collectors: Collectors::default().with(collector),
            exposition: Exposition::Text,
            gzip: false,
        };
        let [totals, limits] = [Collector::Totals, Collector::Limits].map(wanted);
        let mut kept = Vec::new();
        let mut ask = |wanted, stays| {
            let (reply, answer) = oneshot::channel();
            kept.extend(Some(answer).filter(|_| stays));
            Ask { wanted, reply }
        };
        let mut waiting: VecDeque<Ask> = [
            ask(totals, true),
            ask(limits, false),
            ask(limits, true),
            ask(totals, true),
        ]
        .into();
        let first = batch(&mut waiting, 1);
        assert!(first.iter().map(|ask| ask.wanted).eq([totals, totals]));
        let second = batch(&mut waiting, 1);
        assert!(second.iter().map(|ask| ask.wanted).eq([limits]));
        assert!(waiting.is_empty());
    }
}
