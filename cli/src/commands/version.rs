// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat --version`: the version of the command; with `--verbose`, also what there is to count
//! with on this machine.

use std::fmt::Write;
use std::fs;

use nix::sys::utsname::uname;
use tcpstat::{Error, Filter, Sampler, Source};

use crate::failure::Failure;
use crate::flags::SourceFlags;
use crate::output::print;

/// Set by the module while it is loaded.
const MODULE_VERSION: &str = "/sys/module/tcpstat/version";

/// Prints the version.
pub(crate) fn run(source: &SourceFlags) -> Result<(), Failure> {
    let mut text = format!("tcpstat {}\n", env!("CARGO_PKG_VERSION"));
    if source.verbose {
        add_machine(&mut text, source);
    }
    print(&text)
}

/// Adds the versions of the module and of the kernel, and a line for each source.
fn add_machine(text: &mut String, flags: &SourceFlags) {
    let module = match fs::read_to_string(MODULE_VERSION) {
        Ok(version) => format!("{}, loaded", version.trim_end()),
        Err(_) => "not loaded".into(),
    };
    let kernel = match uname() {
        Ok(names) => names.release().to_string_lossy().into_owned(),
        Err(error) => format!("unknown: {error}"),
    };
    // Writing to a String cannot fail.
    let _ = write!(text, "module: {module}\nkernel: {kernel}\nsources:\n");
    for source in Source::ALL {
        let answer = match answers(source, flags) {
            Ok(()) => "answers".into(),
            // Only one source was tried, and the line names it already.
            Err(Error::NoSource(tried)) => tried
                .first()
                .map_or(String::new(), |attempt| attempt.error.to_string()),
            Err(error) => error.to_string(),
        };
        let _ = writeln!(text, "  {:<14}{answer}", source.name());
    }
}

/// Whether a source answers. The beginning of its answer shows that, which costs little.
fn answers(source: Source, flags: &SourceFlags) -> Result<(), Error> {
    let mut options = flags.options();
    options.source = Some(source);
    let mut sampler = Sampler::new(options)?;
    match source {
        Source::Module => sampler.sample().map(drop),
        _ => sampler
            .connections(Filter::default())?
            .next()
            .transpose()
            .map(drop),
    }
}
