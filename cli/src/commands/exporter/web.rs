// SPDX-License-Identifier: MIT OR Apache-2.0

//! The web config file as it is in force. It is read again when it or a file that it names changes.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::header::{HeaderName, HeaderValue};
use rustls::server::ServerConfig;

use super::log::Log;
use super::tls;
use super::web_config::{Pem, WebConfig};

/// How often the files are looked at, at most.
const LOOK: Duration = Duration::from_secs(1);

/// What is in force.
#[derive(Default)]
pub(super) struct InForce {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) users: HashMap<String, String>,
}

/// The web config file, or none.
pub(super) struct Web {
    /// `None` without `--web.config.file`.
    path: Option<PathBuf>,
    in_force: RefCell<Rc<InForce>>,
    /// The files that were read, as they were.
    files: RefCell<Vec<(PathBuf, Stamp)>>,
    looked: Cell<Instant>,
    log: Log,
}

/// By what a file is seen to have changed.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    let (seconds, nanoseconds) = (file.mtime(), file.mtime_nsec());
    Some((file.dev(), file.ino(), file.size(), seconds, nanoseconds))
}

impl Web {
    /// Reads the file.
    pub(super) fn read(path: Option<PathBuf>, log: Log) -> Result<Self, String> {
        let web = Self {
            path,
            in_force: RefCell::default(),
            files: RefCell::default(),
            looked: Cell::new(Instant::now()),
            log,
        };
        web.load()?;
        Ok(web)
    }

    /// What is in force now. A file that has changed and has an error changes nothing but the log.
    pub(super) fn now(&self) -> Rc<InForce> {
        if self.path.is_some() && self.looked.get().elapsed() >= LOOK {
            self.looked.set(Instant::now());
            let files = self.files.borrow();
            let changed = files.iter().any(|(path, then)| stamp(path) != *then);
            drop(files);
            if changed {
                match self.load() {
                    Ok(()) => self.log.info("the web config file was read again", &[]),
                    Err(error) => self.log.error(
                        "the changed web config file is not used",
                        &[("error", &error)],
                    ),
                }
            }
        }
        self.in_force.borrow().clone()
    }

    fn load(&self) -> Result<(), String> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        // Before they are read: a change meanwhile is seen at the next look.
        let mut files = vec![(path.clone(), stamp(path))];
        let loaded = load(path, &mut files);
        *self.files.borrow_mut() = files;
        let failed = |error| format!("{}: {error}", path.display());
        *self.in_force.borrow_mut() = Rc::new(loaded.map_err(failed)?);
        Ok(())
    }
}

/// Reads the file and those that it names, which are added to `files`.
fn load(path: &Path, files: &mut Vec<(PathBuf, Stamp)>) -> Result<InForce, String> {
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let config = WebConfig::parse(&text, folder)?;
    if let Some(fields) = &config.tls {
        let named = [Some(&fields.certificate), Some(&fields.key)];
        let named = named
            .into_iter()
            .chain([fields.client_authorities.as_ref()]);
        for pem in named.flatten() {
            if let Pem::File(path) = pem {
                files.push((path.clone(), stamp(path)));
            }
        }
    }
    let tls = config.tls.as_ref().map(tls::server).transpose();
    Ok(InForce {
        tls: tls.map_err(|error| format!("tls_server_config: {error}"))?,
        headers: config.headers,
        users: config.users,
    })
}
