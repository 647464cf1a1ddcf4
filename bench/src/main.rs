// SPDX-License-Identifier: GPL-2.0-only

//! Measures tcpstat beside the other ways to count connections, in one run on one machine: what `make bench` runs.
//!
//! [`native`] makes the sockets ([`crowd`]) and measures ([`measure`], [`exporter`]) everybody ([`contenders`]) over
//! them; [`machine`] does the same for the module in a virtual machine. Both write [`results`], which [`report`] makes
//! into the document, with the [`bars`] that were to be reached and the [`plot`].

mod bars;
mod contenders;
mod crowd;
mod drain;
mod exporter;
mod machine;
mod measure;
mod native;
mod plot;
mod report;
mod results;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Nothing, or the reason why not.
type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Measures tcpstat beside the other ways to count connections.
#[derive(Parser)]
#[command(name = "tcpstat-bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure on this machine, in a network namespace of its own (as root)
    Native(native::Args),
    /// The same, as the first process of a PID namespace: `native` starts this
    #[command(hide = true)]
    NativeInside(native::Args),
    /// Judge what came out of the virtual machine's second serial port
    Machine {
        /// The file that QEMU wrote there
        #[arg(long)]
        port: PathBuf,
        /// Seconds until QEMU and all that it started are killed
        #[arg(long)]
        timeout: u64,
        /// Where to keep the console
        #[arg(long)]
        console: PathBuf,
        /// Where to put the results
        #[arg(long)]
        out: PathBuf,
        /// The command that starts the machine, and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Make the document and the plot from the results
    Report(report::Args),
    /// Run a command, and print what it took
    #[command(hide = true)]
    Measure {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Receive or read what the kernel has to say, and throw it away
    #[command(hide = true)]
    Drain { source: drain::Source },
    /// Read a pinned BPF iterator, and print what it says
    #[command(hide = true)]
    ReadIterator { path: String },
    /// Hold connections until the input ends
    #[command(hide = true)]
    HoldEstablished {
        role: crowd::Role,
        from: u64,
        count: u64,
    },
    /// Hold sockets in several states until the input ends
    #[command(hide = true)]
    HoldMix { mix: String },
}

fn main() -> ExitCode {
    // As the init of a virtual machine, there is nobody to give arguments.
    if std::process::id() == 1 && std::env::args().len() == 1 {
        machine::init();
    }
    let outcome = match Args::parse().command {
        Command::Native(args) => native::outside(&args),
        Command::NativeInside(args) => native::inside(&args),
        Command::Machine {
            port,
            timeout,
            console,
            out,
            command,
        } => machine::run(&port, timeout, &console, &out, &command),
        Command::Report(args) => report::write(&args),
        Command::Measure { command } => measure::measure_here(&command),
        Command::Drain { source } => source.drain(),
        Command::ReadIterator { path } => drain::print_iterator(&path),
        Command::HoldEstablished { role, from, count } => {
            crowd::hold_established(role, from, count)
        }
        Command::HoldMix { mix } => crowd::hold_mix(&mix),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tcpstat-bench: {e}");
            ExitCode::FAILURE
        }
    }
}
