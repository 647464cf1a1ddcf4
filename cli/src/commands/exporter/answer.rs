// SPDX-License-Identifier: MIT OR Apache-2.0

//! The answer to a request: the metrics, the landing page, whether the exporter is healthy.

use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::watch;

use super::collectors::{Collector, Collectors};
use super::events::{self, Answer, Events};
use super::exposition::Exposition;
use super::negotiation;
use super::page::Page;
use super::passwords::Verdict;
use super::queue::{Readings, Wanted};

/// The longest time that a request waits for its answer, if it does not say it.
const LONGEST: Duration = Duration::from_secs(120);

const TIMEOUT: &str = "x-prometheus-scrape-timeout-seconds";
const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What is answered.
pub(super) struct Site {
    pub(super) telemetry_path: String,
    pub(super) on: Collectors,
    pub(super) timeout_offset: Duration,
    pub(super) readings: Readings,
    /// With `--web.page`.
    pub(super) page: Option<Page>,
}

/// The path of the page about the collectors, which is also `/` without `--web.page`.
pub(super) const COLLECTORS: &str = "/-/collectors";

const WRONG_PORT: &str = "the query is not port=PORT\n";

/// The path of the page's events.
pub(super) const LIVE: &str = "/-/live";

impl Site {
    /// The answer to a request. Streams end when `stopped` does.
    pub(super) async fn answer<B>(
        &self,
        request: &Request<B>,
        stopped: watch::Receiver<bool>,
    ) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(ALLOW, allowed);
            return answer;
        }
        match request.uri().path() {
            path if path == self.telemetry_path => self.metrics(request).await,
            "/-/healthy" => plain(StatusCode::OK, "healthy\n"),
            COLLECTORS => with_type(StatusCode::OK, HTML, self.landing()),
            "/" => match &self.page {
                Some(page) => page.answer(),
                None => with_type(StatusCode::OK, HTML, self.landing()),
            },
            LIVE if self.page.is_some() => self.live(request, stopped),
            _ => not_found(),
        }
    }

    async fn metrics<B>(&self, request: &Request<B>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let collectors = match negotiation::collectors(query, self.on) {
            Ok(collectors) => collectors,
            Err(error) => return plain(StatusCode::BAD_REQUEST, format!("{error}\n")),
        };
        let headers = request.headers();
        let exposition = negotiation::exposition(&list(headers, ACCEPT));
        let gzip = negotiation::accepts_gzip(&list(headers, ACCEPT_ENCODING));
        let wanted = Wanted::Metrics {
            collectors,
            exposition,
            gzip,
        };
        let timeout = list(headers, HeaderName::from_static(TIMEOUT));
        let timeout = negotiation::time_left(&timeout, self.timeout_offset);
        let timeout = timeout.unwrap_or(LONGEST).min(LONGEST);
        match tokio::time::timeout(timeout, self.readings.answer(wanted)).await {
            Ok(Some(body)) => metrics(exposition, gzip, body),
            Ok(None) => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the answer could not be made\n",
            ),
            // Neither half an answer nor that of an earlier reading.
            Err(_) => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "the reading took longer than the timeout\n",
            ),
        }
    }

    /// The events of the page.
    fn live<B>(&self, request: &Request<B>, stopped: watch::Receiver<bool>) -> Answer {
        let query = request.uri().query().unwrap_or_default();
        let port = match query.strip_prefix("port=") {
            None if query.is_empty() => None,
            // Digits alone: `parse` takes a sign, too.
            Some(text) if text.starts_with(|first: char| matches!(first, '1'..='9')) => {
                match text.parse() {
                    Ok(port) => Some(port),
                    Err(_) => return plain(StatusCode::BAD_REQUEST, WRONG_PORT),
                }
            }
            _ => return plain(StatusCode::BAD_REQUEST, WRONG_PORT),
        };
        match *request.method() {
            Method::HEAD => events::answer(Events::none()),
            _ => events::answer(Events::start(self.readings.clone(), port, stopped)),
        }
    }

    fn landing(&self) -> String {
        let path = escaped(&self.telemetry_path);
        let rows = Collector::ALL.map(|collector| {
            let on = match self.on.has(collector) {
                true => "on",
                false => "off",
            };
            let (name, shows) = (collector.name(), collector.shows());
            let cost = collector.cost();
            format!("<tr><td>{name}</td><td>{on}</td><td>{shows}</td><td>{cost}</td></tr>\n")
        });
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><title>tcpstat exporter</title></head><body>\n\
             <h1>tcpstat exporter {}</h1>\n\
             <p><a href=\"{path}\">Metrics</a> <a href=\"/-/healthy\">Health</a></p>\n\
             <table>\n<tr><th>Collector</th><th></th><th>Shows</th><th>Cost of a reading</th></tr>\n{}</table>\n\
             </body></html>\n",
            env!("CARGO_PKG_VERSION"),
            rows.concat(),
        )
    }
}

/// The answer to who is not let in.
pub(super) fn refusal(verdict: Verdict) -> Option<Answer> {
    let (status, header, value, text) = match verdict {
        Verdict::Right => return None,
        Verdict::Wrong => (
            StatusCode::UNAUTHORIZED,
            WWW_AUTHENTICATE,
            "Basic realm=\"tcpstat\"",
            "a name and a password are needed\n",
        ),
        Verdict::Busy => (
            StatusCode::TOO_MANY_REQUESTS,
            RETRY_AFTER,
            "1",
            "too many passwords wait to be checked\n",
        ),
    };
    let mut answer = plain(status, text);
    let value = HeaderValue::from_static(value);
    answer.headers_mut().insert(header, value);
    Some(answer)
}

fn metrics(exposition: Exposition, gzip: bool, body: Bytes) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(body)));
    let headers = answer.headers_mut();
    let content_type = exposition.content_type();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    answer
}

/// The members of all headers with this name.
fn list(headers: &HeaderMap, name: HeaderName) -> String {
    let values = headers.get_all(name).iter();
    let values: Vec<&str> = values.filter_map(|value| value.to_str().ok()).collect();
    values.join(",")
}

/// An answer of plain text.
fn plain(status: StatusCode, text: impl Into<String>) -> Answer {
    with_type(status, TEXT, text.into())
}

fn not_found() -> Answer {
    plain(StatusCode::NOT_FOUND, "not found\n")
}

fn with_type(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(text))));
    *answer.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    let options = HeaderName::from_static("x-content-type-options");
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(options, nosniff);
    answer
}

/// Text in HTML.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}
