// SPDX-License-Identifier: MIT OR Apache-2.0

//! Basic authentication. A bcrypt hash costs as much as many readings, so a thread of its own
//! computes one at a time, few may wait for it, and pairs that were right are remembered.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{io, thread};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::sync::oneshot;

/// How long a right pair is remembered after its last use.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// How many right pairs are remembered.
const MOST: usize = 1024;
/// How many may be at the thread: one is computed, four wait.
const PENDING: usize = 5;

/// A hash that no password has, for users who are not in the file: they cost the same time.
const NOBODY: &str = "$2y$10$AAAAAAAAAAAAAAAAAAAAAOxCHQmPTbRoUSd7EVrQn8eRVdqfWxRpG";

/// What became of a name and a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Right,
    Wrong,
    /// Too many passwords wait to be checked.
    Busy,
}

struct Job {
    password: Vec<u8>,
    hash: String,
    reply: oneshot::Sender<bool>,
}

/// Checks passwords.
pub(super) struct Passwords {
    jobs: mpsc::Sender<Job>,
    pending: Cell<usize>,
    /// The right pairs, as HMACs by a key that only this process has, and when each was used last.
    right: RefCell<HashMap<[u8; 32], Instant>>,
    key: hmac::Key,
}

impl Passwords {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| io::Error::other("no random numbers"))?;
        let (jobs, asked) = mpsc::channel::<Job>();
        let run = move || {
            for job in asked {
                if job.reply.is_closed() {
                    continue;
                }
                let is_right = bcrypt::verify(&job.password, &job.hash).unwrap_or(false);
                // Whoever has given up needs no answer.
                let _ = job.reply.send(is_right);
            }
        };
        thread::Builder::new().name("bcrypt".into()).spawn(run)?;
        Ok(Self {
            jobs,
            pending: Cell::new(0),
            right: RefCell::default(),
            key,
        })
    }

    /// Checks the value of an `Authorization` header against the hashes of users.
    pub(super) async fn check(
        &self,
        authorization: Option<&[u8]>,
        users: &HashMap<String, String>,
    ) -> Verdict {
        let Some((name, password)) = authorization.and_then(pair) else {
            return Verdict::Wrong;
        };
        let known = users.get(&name);
        let hash = known.map_or(NOBODY, String::as_str);
        // With the hash: a pair is forgotten when the file has another one.
        let tag = self.tag(&[name.as_bytes(), &password, hash.as_bytes()]);
        let now = Instant::now();
        {
            let mut right = self.right.borrow_mut();
            if let Some(last) = right.get_mut(&tag) {
                if now.saturating_duration_since(*last) <= REMEMBERED {
                    *last = now;
                    return Verdict::Right;
                }
            }
        }
        if self.pending.get() >= PENDING {
            return Verdict::Busy;
        }
        let (reply, answer) = oneshot::channel();
        let job = Job {
            // As Go, bcrypt looks at 72 bytes.
            password,
            hash: match known {
                Some(hash) => hash.clone(),
                None => like(users),
            },
            reply,
        };
        // Also if this future is dropped, since its connection was closed.
        let _pending = Pending::new(&self.pending);
        if self.jobs.send(job).is_err() {
            return Verdict::Busy;
        }
        let is_right = answer.await.unwrap_or(false) && known.is_some();
        if !is_right {
            return Verdict::Wrong;
        }
        let mut right = self.right.borrow_mut();
        if right.len() >= MOST {
            right.retain(|_, last| now.saturating_duration_since(*last) <= REMEMBERED);
        }
        if right.len() < MOST {
            right.insert(tag, now);
        }
        Verdict::Right
    }

    fn tag(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in parts {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }
}

/// One more that is pending, while this lives.
struct Pending<'a>(&'a Cell<usize>);

impl<'a> Pending<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A hash of the cost that most users have, so that a name that is not known takes as long.
fn like(users: &HashMap<String, String>) -> String {
    let cost = |hash: &String| {
        hash.parse::<bcrypt::HashParts>()
            .ok()
            .map(|parts| parts.get_cost())
    };
    let highest = users.values().filter_map(cost).max().unwrap_or(10);
    // $2y$ and two digits.
    format!("$2y${highest:02}{}", &NOBODY[6..])
}

/// The name and the password of a header `Basic ...`.
fn pair(authorization: &[u8]) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = authorization.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let text = STANDARD.decode(encoded.trim_ascii()).ok()?;
    let colon = text.iter().position(|&byte| byte == b':')?;
    let name = String::from_utf8(text[..colon].to_vec()).ok()?;
    Some((name, text[colon + 1..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(pair: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(pair)).into_bytes()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    #[test]
    fn headers_are_split_at_the_first_colon() {
        let header = header("alice:a:b");
        assert_eq!(pair(&header), Some(("alice".into(), b"a:b".to_vec())));
        for bad in [
            &b"Basic"[..],
            b"Bearer x",
            b"Basic !",
            b"Basic YWxpY2U=",
            b"",
            b"Basic ",
        ] {
            assert_eq!(pair(bad), None);
        }
    }

    #[test]
    fn a_right_pair_is_remembered_and_a_wrong_one_is_not() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let users = HashMap::from([("alice".to_owned(), hash)]);
        let passwords = Passwords::start().unwrap();
        let check = |pair: &str, users| {
            let header = header(pair);
            block_on(passwords.check(Some(&header), users))
        };
        assert_eq!(check("alice:wrong", &users), Verdict::Wrong);
        assert_eq!(check("bob:secret", &users), Verdict::Wrong);
        assert_eq!(check("alice:secret", &users), Verdict::Right);
        assert_eq!(block_on(passwords.check(None, &users)), Verdict::Wrong);
        // With the thread busy, the one that is remembered is let in.
        passwords.pending.set(PENDING);
        assert_eq!(check("alice:secret", &users), Verdict::Right);
        assert_eq!(check("alice:wrong", &users), Verdict::Busy);
        // It is not remembered for another hash.
        let other = bcrypt::hash("other", 4).unwrap();
        let changed = HashMap::from([("alice".to_owned(), other)]);
        passwords.pending.set(0);
        assert_eq!(check("alice:secret", &changed), Verdict::Wrong);
    }

    #[test]
    fn names_that_are_not_known_cost_the_same() {
        for cost in [4, 12] {
            let users = HashMap::from([("a".to_owned(), bcrypt::hash("x", cost).unwrap())]);
            let hash: bcrypt::HashParts = like(&users).parse().unwrap();
            assert_eq!(hash.get_cost(), cost);
            if cost == 4 {
                assert_eq!(bcrypt::verify("x", &like(&users)).ok(), Some(false));
            }
        }
    }
}
