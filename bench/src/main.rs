// SPDX-License-Identifier: GPL-2.0-only

//! Compares tcpstat with the other ways to count connections, in one run on one machine: what `make
//! bench` runs.
//!
//! [`churn`] measures sockets that come and go, [`scrapes`] the exporter. [`native`] makes the
//! sockets ([`population`]) and measures ([`measure`], [`exporter`]) all [`ways`] to count over
//! them, whose counts ([`answers`]) must agree; [`machine`] does the same for the module in a
//! virtual machine. Both write [`results`], from which [`report`] makes the document, with the
//! [`requirements`] and the [`plot`].

mod answers;
mod churn;
mod drain;
mod exporter;
mod machine;
mod measure;
mod native;
mod outcome;
mod plot;
mod population;
mod report;
mod requirements;
mod results;
mod scrapes;
mod ways;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compares tcpstat with the other ways to count connections.
#[derive(Parser)]
#[command(name = "tcpstat-bench")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure on this machine, in new network namespaces (as root)
    Native(native::Args),
    /// What `native` starts as the first process of a PID namespace
    #[command(hide = true)]
    NativeInside(native::Args),
    /// Start the virtual machine and save its results
    Machine {
        /// The file that QEMU writes the machine's second serial port to
        #[arg(long)]
        port: PathBuf,
        /// Seconds after which QEMU and all its processes are killed
        #[arg(long)]
        timeout: u64,
        /// Where to put the console's text
        #[arg(long)]
        console: PathBuf,
        /// Where to put the results
        #[arg(long)]
        out: PathBuf,
        /// The command that starts the machine, and its arguments
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Measure counting by difference while sockets come and go (as root)
    Churn(churn::Args),
    /// Measure scrapes of the exporter beside node_exporter (as root)
    Scrapes(scrapes::Args),
    /// Make the document and the plot from the results
    Report(report::Args),
    /// Run a command, and print its cost
    #[command(hide = true)]
    Measure {
        #[arg(required = true, trailing_var_arg = true)]
        command: Vec<String>,
    },
    /// Receive or read everything from a source, and throw it away
    #[command(hide = true)]
    Drain { source: drain::Source },
    /// Read a pinned BPF iterator, and print its text
    #[command(hide = true)]
    ReadIterator { path: String },
    /// Hold connections until the input ends
    #[command(hide = true)]
    HoldEstablished {
        role: population::Role,
        from: u64,
        count: u64,
    },
    /// Hold sockets in several states until the input ends
    #[command(hide = true)]
    HoldMix { mix: String },
}

fn main() -> ExitCode {
    // The init of a virtual machine is started without arguments.
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
        Command::Churn(args) => churn::run(&args),
        Command::Scrapes(args) => scrapes::run(&args),
        Command::Report(args) => report::write(&args),
        Command::Measure { command } => measure::measure_here(&command),
        Command::Drain { source } => source.drain(),
        Command::ReadIterator { path } => drain::print_iterator(&path),
        Command::HoldEstablished { role, from, count } => {
            population::hold_established(role, from, count)
        }
        Command::HoldMix { mix } => population::hold_mix(&mix),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("tcpstat-bench: {e}");
            ExitCode::FAILURE
        }
    }
}
