// SPDX-License-Identifier: GPL-2.0-only

//! Loading and unloading kernel modules, by system call.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use nix::errno::Errno;
use nix::kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module};

/// The directory of the modules, decompressed, and of the file `order`, which has their names, one
/// a line.
pub const DIRECTORY: &str = "/modules";

/// The files that the module publishes, as seen from a process that reads them.
pub const FILES: [&str; 4] = [
    "/proc/tcpstat",
    "/proc/net/tcpstat",
    "/proc/net/tcpstat_services",
    "/proc/tcpstat_namespaces",
];

/// Loads every module of [`DIRECTORY`], in the order that its file `order` gives.
pub fn load_all() -> io::Result<()> {
    let order = Path::new(DIRECTORY).join("order");
    let names = fs::read_to_string(&order)
        .map_err(|e| io::Error::new(e.kind(), format!("reading {}: {e}", order.display())))?;
    // A failure does not keep the others from being loaded: the machine is of more use with them.
    let failed: Vec<String> = names
        .lines()
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .filter_map(|name| load_file(name, c"").err())
        .map(|e| e.to_string())
        .collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(io::Error::other(failed.join("; ")))
    }
}

/// Loads `/modules/tcpstat.ko`.
pub fn load() -> io::Result<()> {
    load_file("tcpstat.ko", c"")
}

/// Loads `/modules/faulty.ko`, which has the faults that the debug kernel must find, and unloads
/// it.
pub fn load_faulty(parameters: &CStr) -> io::Result<()> {
    load_file("faulty.ko", parameters)?;
    Ok(delete_module(c"faulty", DeleteModuleFlags::O_NONBLOCK)?)
}

/// Loads the file `name` of [`DIRECTORY`], with these parameters.
pub(super) fn load_file(name: &str, parameters: &CStr) -> io::Result<()> {
    let path = Path::new(DIRECTORY).join(name);
    let wrong = |what: &str, e: io::Error| {
        io::Error::new(
            e.kind(),
            format!("{what} {}: {e} (the console may say more)", path.display()),
        )
    };
    let file = File::open(&path).map_err(|e| wrong("opening", e))?;
    finit_module(&file, parameters, ModuleInitFlags::empty())
        .map_err(|e| wrong("loading", e.into()))
}

/// Unloads `tcpstat`. Fails at once if it is in use.
pub fn unload() -> io::Result<()> {
    delete_module(c"tcpstat", DeleteModuleFlags::O_NONBLOCK).map_err(|e: Errno| {
        let e = io::Error::from(e);
        io::Error::new(e.kind(), format!("unloading tcpstat: {e}"))
    })
}

/// Whether `/proc/modules` lists `tcpstat`.
pub fn is_loaded() -> io::Result<bool> {
    let modules = fs::read_to_string("/proc/modules")?;
    Ok(modules
        .lines()
        .any(|line| line.split(' ').next() == Some("tcpstat")))
}

/// Loads `tcpstat` unless it is loaded.
pub fn ensure_loaded() -> io::Result<()> {
    if is_loaded()? { Ok(()) } else { load() }
}

/// Fails if one of [`FILES`] still exists, or `/proc/modules` still lists the module.
pub fn ensure_gone() -> io::Result<()> {
    for path in FILES {
        match fs::symlink_metadata(path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => {
                return Err(io::Error::new(
                    e.kind(),
                    format!("{path} after unloading: {e}"),
                ));
            }
            Ok(_) => {
                return Err(io::Error::other(format!(
                    "{path} still exists after unloading"
                )));
            }
        }
    }
    if is_loaded()? {
        Err(io::Error::other("/proc/modules still lists tcpstat"))
    } else {
        Ok(())
    }
}
