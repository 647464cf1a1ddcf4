// SPDX-License-Identifier: MIT OR Apache-2.0

//! The page for people: one file, which may load nothing and runs no script but its own.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{Either, Full};
use hyper::Response;
use hyper::body::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use ring::digest::{SHA256, digest};

use super::events::Answer;

/// The page. What differs from machine to machine comes by its events.
const PAGE: &str = include_str!("page.html");

/// The page and its headers.
pub(super) struct Page {
    html: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Page {
    /// With a content security policy that allows this file's style and script, and its events.
    /// `metrics` is the path of the metrics, in HTML.
    pub(super) fn new(metrics: &str) -> Self {
        let (script, style) = (hash("script"), hash("style"));
        let policy = format!(
            "default-src 'none'; script-src '{script}'; style-src '{style}'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8".to_owned()),
            (CONTENT_SECURITY_POLICY, policy),
            (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
            (REFERRER_POLICY, "no-referrer".to_owned()),
            (CACHE_CONTROL, "no-cache".to_owned()),
        ];
        let headers = headers.into_iter().filter_map(|(name, value)| {
            // Each is visible ASCII.
            Some((name, HeaderValue::from_str(&value).ok()?))
        });
        // Without the first slash: a proxy may have the page below another path.
        let metrics = metrics.trim_start_matches('/');
        let html = PAGE.replace("href=\"metrics\"", &format!("href=\"{metrics}\""));
        Self {
            html: html.into(),
            headers: headers.collect(),
        }
    }

    /// The page as an answer.
    pub(super) fn answer(&self) -> Answer {
        let body = Full::new(self.html.clone());
        let mut answer = Response::new(Either::Left(body));
        answer.headers_mut().extend(self.headers.iter().cloned());
        answer
    }
}

/// The hash of the content of the element with this name, of which there is one.
fn hash(name: &str) -> String {
    let (begin, end) = (format!("<{name}>"), format!("</{name}>"));
    let content = PAGE.split_once(&begin).map_or("", |(_, rest)| rest);
    let content = content.split_once(&end).map_or("", |(content, _)| content);
    format!(
        "sha256-{}",
        STANDARD.encode(digest(&SHA256, content.as_bytes()))
    )
}
