// SPDX-License-Identifier: GPL-2.0-only

//! Says in what a built module is not as the configuration of its kernel asks.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tcpstat_tests::ko;

/// Says, in a sentence for each, in what a built module is not as the configuration of its kernel
/// asks.
#[derive(Parser)]
struct Arguments {
    /// The log of the build, which must have no warning
    #[arg(long)]
    log: Option<PathBuf>,
    /// tcpstat.ko
    module: PathBuf,
    /// The kernel tree that it was built against
    tree: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match check(&arguments) {
        Ok(sentences) if sentences.is_empty() => ExitCode::SUCCESS,
        Ok(sentences) => {
            let module = arguments.module.display();
            for sentence in sentences {
                eprintln!("tcpstat: {module}: {sentence}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("tcpstat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn check(arguments: &Arguments) -> Result<Vec<String>, String> {
    let mut sentences = ko::violations(&arguments.module, &arguments.tree)?;
    if let Some(file) = &arguments.log {
        let log =
            fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let warnings = ko::warnings(&log).into_iter();
        sentences.extend(warnings.map(|warning| format!("its build warned: {warning}")));
    }
    Ok(sentences)
}
