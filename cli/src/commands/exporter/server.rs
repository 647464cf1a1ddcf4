// SPDX-License-Identifier: MIT OR Apache-2.0

//! The thread that speaks HTTP: accepts connections, and serves each until it ends.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_rustls::TlsAcceptor;

use super::answer::{self, Site};
use super::connections::{Activity, Connections, Watched};
use super::events::Answer;
use super::listen::{Listener, Stream};
use super::log::{Fields, Log};
use super::passwords::{Passwords, Verdict};
use super::systemd;
use super::web::Web;

/// The largest request: its line and its headers, in bytes, and their number.
const REQUEST_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;

/// How long the answers that are under way may take after SIGTERM.
const LAST: Duration = Duration::from_secs(10);

/// The pause after a connection could not be accepted: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(20);

/// What the server needs.
pub(super) struct Server {
    pub(super) site: Site,
    pub(super) web: Web,
    pub(super) passwords: Passwords,
    pub(super) max_connections: usize,
    pub(super) log: Log,
}

impl Server {
    /// Serves until SIGTERM or SIGINT. `listen` makes the listeners, inside the runtime.
    pub(super) fn run(
        self,
        listen: impl FnOnce() -> Result<Vec<Listener>, String>,
    ) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start: {error}"))?;
        LocalSet::new().block_on(&runtime, async move {
            let listeners = listen()?;
            self.serve(listeners)
                .await
                .map_err(|error| format!("cannot wait for signals: {error}"))
        })
    }

    /// The answer to a request, if it may be asked.
    async fn answer<B>(&self, request: &Request<B>, stopped: watch::Receiver<bool>) -> Answer {
        let web = self.web.now();
        let verdict = match web.users.is_empty() {
            true => Verdict::Right,
            false => {
                let header = request.headers().get(AUTHORIZATION);
                let header = header.map(HeaderValue::as_bytes);
                self.passwords.check(header, &web.users).await
            }
        };
        let mut answer = match answer::refusal(verdict) {
            Some(refusal) => refusal,
            None => self.site.answer(request, stopped).await,
        };
        for (name, value) in &web.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        answer
    }

    async fn serve(self, listeners: Vec<Listener>) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let connections = Connections::new(self.max_connections);
        let (stop, stopped) = watch::channel(false);
        let log = self.log;
        let server = Rc::new(self);
        for listener in listeners {
            log.info("listening", &[("address", &listener.address())]);
            let accepting = accept(
                server.clone(),
                listener,
                connections.clone(),
                stopped.clone(),
            );
            spawn_local(accepting);
        }
        drop(stopped);
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut watchdog = systemd::Watchdog::start(log);
        systemd::say_ready(log);
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = seconds.tick() => {
                    connections.close_overdue();
                    watchdog.tick(server.site.readings.under_way());
                }
            }
        }
        systemd::say_stopping(log);
        // Ignore that nobody listens: then there is nothing to stop.
        let _ = stop.send(true);
        let ended = async {
            while connections.len() > 0 {
                connections.close_stalled_streams();
                sleep(Duration::from_millis(5)).await;
            }
        };
        let all = tokio::time::timeout(LAST, ended).await;
        let ended = match all {
            Ok(()) => "all answers are sent",
            Err(_) => "some answers were not taken in time",
        };
        log.info("stopped", &[("reason", &ended)]);
        Ok(())
    }
}

/// Accepts connections until the end.
async fn accept(
    server: Rc<Server>,
    listener: Listener,
    connections: Rc<Connections>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut said = false;
    loop {
        let accepted = tokio::select! {
            _ = stopped.changed() => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // The client may be gone already. If descriptors have run out, make room.
                let closed = connections.close_inactive();
                if !said {
                    said = true;
                    let fields: Fields<'_> = &[("error", &error), ("closed", &closed)];
                    server.log.warn("a connection was not accepted", fields);
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        if !connections.have_room() && connections.close_inactive() == 0 {
            // Every connection waits for an answer.
            continue;
        }
        let number = connections.number();
        let activity = Activity::new();
        let task = spawn_local({
            let (server, activity) = (server.clone(), activity.clone());
            let (connections, stopped) = (connections.clone(), stopped.clone());
            async move {
                serve(&server, stream, activity, stopped).await;
                connections.remove(number);
            }
        });
        connections.add(number, activity, task.abort_handle());
    }
}

/// Serves a connection until it ends.
async fn serve(
    server: &Server,
    stream: Pin<Box<dyn Stream>>,
    activity: Rc<Activity>,
    mut stopped: watch::Receiver<bool>,
) {
    let watched = Watched {
        stream,
        activity: activity.clone(),
    };
    match server.web.now().tls.clone() {
        None => http(server, watched, activity, stopped).await,
        Some(tls) => {
            activity.begin_handshake();
            let shaken = tokio::select! {
                shaken = TlsAcceptor::from(tls).accept(watched) => shaken,
                _ = stopped.changed() => return,
            };
            // What is no TLS, or has not the right certificate, gets TLS' own answer.
            if let Ok(stream) = shaken {
                activity.end_handshake();
                http(server, stream, activity, stopped).await;
            }
        }
    }
}

/// Serves a connection, on which HTTP begins.
async fn http(
    server: &Server,
    stream: impl Stream,
    activity: Rc<Activity>,
    mut stopped: watch::Receiver<bool>,
) {
    let ends = stopped.clone();
    let service = service_fn(|request| {
        let (activity, ends) = (activity.clone(), ends.clone());
        async move {
            activity.begin_answer();
            let answer = server.answer(&request, ends).await;
            activity.end_answer(matches!(answer.body(), Either::Right(_)));
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        // The limits of time are those of `Connections`.
        .header_read_timeout(None)
        .max_headers(HEADERS)
        .max_buf_size(REQUEST_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    // An error is the client's: it is gone, or has sent no HTTP. There is nobody to tell.
    let mut stopping = *stopped.borrow();
    loop {
        if stopping {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
            return;
        }
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = stopped.changed() => stopping = true,
        }
    }
}
