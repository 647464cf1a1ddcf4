// SPDX-License-Identifier: MIT OR Apache-2.0

//! The stream of events for a page (server-sent events, HTML's `EventSource`). Every page that is
//! open asks for a reading at the same ticks, so that they share it with each other.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::queue::{Readings, Wanted};

/// The time between two events, in seconds, if readings cost little. It is doubled as often as they
/// cost too much, so that pages have ticks in common.
const PACE: u64 = 2;

/// How often it is doubled at most: to 256 s, below the time after which an idle connection is
/// closed.
const DOUBLED: u32 = 7;

/// Readings for pages cost at most one part of these of a processor, if one takes no longer than
/// 12.8 s.
const SHARE: u32 = 20;

/// The time between two events if a reading takes this long.
fn pace(reading: Duration) -> Duration {
    let paces = (0..=DOUBLED).map(|times| Duration::from_secs(PACE << times));
    let mut fitting = paces.filter(|&pace| pace >= reading * SHARE);
    fitting
        .next()
        .unwrap_or(Duration::from_secs(PACE << DOUBLED))
}

/// An answer to a request, or a stream of events.
pub(super) type Answer = Response<Either<Full<Bytes>, Events>>;

/// A body of events, until the page or the exporter ends.
pub(super) struct Events(mpsc::Receiver<Bytes>);

impl Events {
    /// No events, for a request that asks for the headers alone.
    pub(super) fn none() -> Self {
        Self(mpsc::channel(1).1)
    }

    /// The events of a page on which `port` is open.
    pub(super) fn start(
        readings: Readings,
        port: Option<u16>,
        mut stopped: watch::Receiver<bool>,
    ) -> Self {
        // One event waits for the page at most.
        let (sender, events) = mpsc::channel(1);
        spawn_local(async move {
            tokio::select! {
                () = send(&readings, port, sender) => {}
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
        });
        Self(events)
    }
}

/// Sends events until the page is closed.
async fn send(readings: &Readings, port: Option<u16>, events: mpsc::Sender<Bytes>) {
    let mut first = true;
    // Read only when the last event has been taken, so that none is old when it is.
    while let Ok(place) = events.reserve().await {
        let Some(event) = readings.answer(Wanted::Event { port, first }).await else {
            return;
        };
        // The page has to know when to miss the next one.
        let pace = pace(readings.page_reading());
        let next = format!("event: pace\ndata: {}\n\n", pace.as_secs());
        place.send([&event[..], next.as_bytes()].concat().into());
        first = false;
        tokio::select! {
            () = sleep(readings.until_tick(pace)) => {}
            () = events.closed() => return,
        }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let event = self.0.poll_recv(context);
        event.map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// The answer with these events.
pub(super) fn answer(events: Events) -> Answer {
    let mut answer = Response::new(Either::Right(events));
    let headers = answer.headers_mut();
    let content_type = HeaderValue::from_static("text/event-stream");
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // A proxy (nginx) must not wait for more.
    let buffering = HeaderName::from_static("x-accel-buffering");
    headers.insert(buffering, HeaderValue::from_static("no"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expensive_readings_are_rare_and_ticks_are_shared() {
        let paces = [0, 100, 101, 800, 3000, 12_800, 100_000].map(|milliseconds| {
            let reading = Duration::from_millis(milliseconds);
            pace(reading).as_secs()
        });
        assert_eq!(paces, [2, 2, 4, 16, 64, 256, 256]);
    }
}
