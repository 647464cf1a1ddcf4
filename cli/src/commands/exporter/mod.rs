// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat exporter`: metrics for Prometheus by HTTP, with the flags of node_exporter.

mod answer;
mod collectors;
mod connections;
mod destinations;
mod drops;
mod events;
mod exposition;
mod families;
mod figures;
mod history;
mod listed;
mod listen;
mod log;
mod negotiation;
mod page;
mod passwords;
mod process;
mod queue;
mod reading;
mod seen;
mod server;
mod systemd;
mod tls;
mod web;
mod web_config;
mod which;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tcpstat::{Namespaces, Units};

use crate::failure::Failure;
use crate::flags::{SourceFlags, interval};
use answer::Site;
use collectors::Collector;
use log::{Level, Log, LogFormat};
use page::Page;
use passwords::Passwords;
use queue::Readings;
use reading::{Bounds, Reader};
use server::Server;
use web::Web;
use which::CollectorFlags;

const AFTER_HELP: &str = "\
Without a flag, it listens at :10069 and reads totals, services, counters and limits: what makes few series.
A scrape reads what is on, or what it names: /metrics?collect[]=totals&collect[]=services
Scrapes that wait at the same time share a reading. One that is not ready within the scrape's timeout is answered
with 503. /-/healthy says whether the exporter works; /-/collectors is a page about the collectors and what they
cost, which is also at / without --web.page.

Example of Prometheus' configuration:
  scrape_configs:
    - job_name: tcpstat
      static_configs: [{targets: ['localhost:10069']}]";

/// Answer Prometheus' scrapes by HTTP
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub(crate) struct ExporterArgs {
    /// Address to listen at, :PORT for all addresses; may be given several times
    #[arg(
        long = "web.listen-address",
        value_name = "ADDRESS",
        default_value = ":10069"
    )]
    listen_addresses: Vec<String>,

    /// Listen at the sockets that systemd passes instead
    #[arg(long = "web.systemd-socket")]
    systemd_socket: bool,

    /// File with TLS and users, as of Prometheus' exporter-toolkit; read again when it changes
    #[arg(long = "web.config.file", value_name = "FILE")]
    config_file: Option<PathBuf>,

    /// Path of the metrics
    #[arg(
        long = "web.telemetry-path",
        value_name = "PATH",
        default_value = "/metrics"
    )]
    #[arg(value_parser = path)]
    telemetry_path: String,

    /// Most different answers (by collectors and format) from one reading; others wait for the next
    #[arg(long = "web.max-requests", value_name = "N", default_value_t = 40)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    max_requests: u32,

    /// Most open connections; beyond, those that have been inactive for longest are closed
    #[arg(
        long = "web.max-connections",
        value_name = "N",
        default_value_t = 10_000
    )]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: u32,

    /// Time to subtract from the timeout that Prometheus sends with a scrape
    #[arg(
        long = "web.timeout-offset",
        value_name = "TIME",
        default_value = "250ms"
    )]
    #[arg(value_parser = interval)]
    timeout_offset: Duration,

    /// Serve a page for people at /: live figures, what is wrong first
    #[arg(long = "web.page")]
    page: bool,

    #[command(flatten)]
    collectors: CollectorFlags,

    /// Most ports, addresses or groups that a collector shows; tcpstat_left_out has the rest's
    /// number
    #[arg(long = "collector.max-items", value_name = "N", default_value_t = 500)]
    max_items: usize,

    /// Most remote addresses and ports that the collector destinations shows
    #[arg(
        long = "collector.destinations.max-items",
        value_name = "N",
        default_value_t = 20
    )]
    max_destinations: usize,

    /// The collector units also counts the sockets in other network namespaces: those of containers
    #[arg(long = "collector.units.all-namespaces")]
    units_of_all_namespaces: bool,

    /// Show states of services, units and ports that have always been zero, too
    #[arg(long = "collector.zeros")]
    zeros: bool,

    /// Least severity of what is logged to standard error: debug, info, warn, error
    #[arg(long = "log.level", value_enum, default_value_t = Level::Info, hide_possible_values = true)]
    log_level: Level,

    /// Format of the log: logfmt, json
    #[arg(long = "log.format", value_enum, default_value_t = LogFormat::Logfmt, hide_possible_values = true)]
    log_format: LogFormat,

    #[command(flatten)]
    source: SourceFlags,
}

fn path(text: &str) -> Result<String, String> {
    let is_path = text.starts_with('/') && text.chars().all(|char| char.is_ascii_graphic());
    let is_taken = ["/-/healthy", answer::COLLECTORS, answer::LIVE].contains(&text);
    match is_path && !text.contains(['?', '#']) && !is_taken {
        true => Ok(text.to_owned()),
        false => Err("it is not a path such as /metrics".into()),
    }
}

/// Serves until SIGTERM.
pub(crate) fn run(args: &ExporterArgs) -> Result<(), Failure> {
    let level = match args.source.verbose {
        true => Level::Debug,
        false => args.log_level,
    };
    let log = Log {
        level,
        format: args.log_format,
    };
    let sampler = args.source.sampler()?;
    let on = args.collectors.on();
    if on.is_empty() {
        return Err(Failure::Usage("every collector is off".into()));
    }
    if args.page && args.telemetry_path == "/" {
        return Err(Failure::Usage(
            "--web.page is at /, which --web.telemetry-path cannot be then".into(),
        ));
    }
    let options = args.source.options();
    let bounds = Bounds {
        items: args.max_items,
        destinations: args.max_destinations,
        zeros: args.zeros,
    };
    let names: Vec<&str> = on.iter().map(Collector::name).collect();
    let fields: log::Fields<'_> = &[
        ("version", &env!("CARGO_PKG_VERSION")),
        ("collectors", &names.join(",")),
    ];
    log.info("starting tcpstat exporter", fields);
    let enters = on.has(Collector::Namespaces) || args.units_of_all_namespaces;
    say_what_is_hidden(&options, on, enters, log);
    let reader = Reader::new(options, sampler, bounds, args.units_of_all_namespaces, log);
    let readings = Readings::start(reader, args.max_requests as usize)
        .map_err(|error| Failure::Serve(format!("cannot start a thread: {error}")))?;
    let web = Web::read(args.config_file.clone(), log)
        .map_err(|error| Failure::Serve(format!("cannot use the web config file {error}")))?;
    let passwords = Passwords::start()
        .map_err(|error| Failure::Serve(format!("cannot start a thread: {error}")))?;
    let server = Server {
        web,
        passwords,
        site: Site {
            telemetry_path: args.telemetry_path.clone(),
            on,
            timeout_offset: args.timeout_offset,
            readings,
            page: args
                .page
                .then(|| Page::new(&answer::escaped(&args.telemetry_path))),
        },
        max_connections: connections(args.max_connections as usize, log),
        log,
    };
    let listen = || match args.systemd_socket {
        true => listen::by_systemd(),
        false => listen::at(&args.listen_addresses),
    };
    server.run(listen).map_err(Failure::Serve)
}

/// How many connections can be open: descriptors are limited. Raises the limit as far as it may.
fn connections(most: usize, log: Log) -> usize {
    /// What readings, listeners and the log need.
    const OTHERS: u64 = 64;
    let wanted = most as u64 + OTHERS;
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return most;
    };
    if soft >= wanted {
        return most;
    }
    let raised = wanted.min(hard);
    let limit = match setrlimit(Resource::RLIMIT_NOFILE, raised, hard) {
        Ok(()) => raised,
        Err(_) => soft,
    };
    let possible = limit.saturating_sub(OTHERS).max(1) as usize;
    if possible < most {
        let hint = "raise the limit of open files (LimitNOFILE=)";
        let fields: log::Fields<'_> = &[("connections", &possible), ("hint", &hint)];
        log.warn("fewer connections than --web.max-connections", fields);
    }
    possible.min(most)
}

/// Logs what this process may not see, of what the collectors show.
fn say_what_is_hidden(
    options: &tcpstat::Options,
    on: collectors::Collectors,
    enters: bool,
    log: Log,
) {
    let root = &options.proc_root;
    if on.has(Collector::Units) {
        if let Err(error) = Units::new(root) {
            log.warn("units are not known", &[("error", &error)]);
        }
    }
    if !enters {
        return;
    }
    match Namespaces::list(root) {
        Ok(found) if !found.hidden.is_empty() || found.invisible => {
            let hidden = match found.hidden.len() {
                0 => "all processes of others (hidepid=)".to_owned(),
                count => format!("those of {count} processes"),
            };
            let hint = "it takes CAP_SYS_PTRACE to see all";
            let fields: log::Fields<'_> = &[("hidden", &hidden), ("hint", &hint)];
            log.warn("some network namespaces cannot be seen", fields);
        }
        Ok(_) => {}
        Err(error) => log.warn("network namespaces cannot be listed", &[("error", &error)]),
    }
}
