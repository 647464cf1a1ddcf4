// SPDX-License-Identifier: MIT OR Apache-2.0

//! The stream of events for a page (server-sent events, HTML's `EventSource`). Every page that is
//! open asks for a reading at the same ticks, so that they share it with each other.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::Either;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::answer::Answer;
use super::queue::{Readings, Wanted};

/// The time between two events, if readings cost little.
const PACE: Duration = Duration::from_secs(2);

/// A page never costs more of a processor than one part of these.
const SHARE: u32 = 20;

/// The longest time between two events, below that after which an idle connection is closed.
const LONGEST: Duration = Duration::from_secs(60);

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
        let asked = Instant::now();
        let wanted = Wanted::Event { port, first };
        let Some(event) = readings.answer(wanted).await else {
            return;
        };
        place.send(event);
        first = false;
        let pace = (asked.elapsed() * SHARE).clamp(PACE, LONGEST);
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
    answer
}
