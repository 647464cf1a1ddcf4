// SPDX-License-Identifier: GPL-2.0-only

//! Scenario: the exporter while the module is loaded and unloaded below it. The machine has no
//! network card, so the scenario itself reads `/metrics`.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::module;
use super::need::Need;
use super::parameters::repeat;
use super::reading::COMMAND;
use super::scenario::{Outcome, Scenario, ensure, fail};
use crate::exposition::{Format, Samples, parse};
use crate::sockets::Mix;

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "the exporter says which source answers, while the module comes and goes",
    seconds: 120,
    needs: &[Need::TcpDiag],
    run: comes_and_goes,
}];

const ADDRESS: &str = "127.0.0.1:10069";

/// The process of the exporter; it ends with the scenario.
struct Exporter(Child);

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn scrape() -> Result<Samples, Box<dyn Error>> {
    let mut stream = TcpStream::connect(ADDRESS)?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, text) = answer.split_once("\r\n\r\n").ok_or("no end of headers")?;
    ensure!(head.starts_with("HTTP/1.0 200"), "it answers {head}");
    Ok(parse(text, Format::Text)?)
}

/// Asserts that every reading succeeded, and that this source counted.
fn counted(source: &str, close_wait: u64) -> Outcome {
    let samples = scrape()?;
    let failed = |(key, value): &(&String, &f64)| {
        key.starts_with("tcpstat_reading_success{") && **value != 1.0
    };
    if let Some((key, _)) = samples.iter().find(failed) {
        fail!("{source}: {key} 0");
    }
    for collector in ["totals", "services"] {
        let of = format!("tcpstat_source_info{{collector=\"{collector}\",");
        let source = format!("source=\"{source}\"}}");
        let is_it = |key: &&String| key.starts_with(&of);
        let found: Vec<&String> = samples.keys().filter(is_it).collect();
        ensure!(
            found.len() == 1 && found[0].ends_with(&source),
            "{collector} is from {found:?}, not {source}"
        );
    }
    let found = samples["node_tcp_connection_states{state=\"close_wait\"}"];
    ensure!(found == close_wait as f64, "{found} are in CLOSE_WAIT");
    Ok(())
}

fn comes_and_goes() -> Outcome {
    let mix = Mix {
        close_wait: 3,
        established: 2,
        ..Mix::default()
    };
    let _fixture = mix.make()?;
    let child = Command::new(COMMAND)
        .args(["exporter", "--web.listen-address", ADDRESS])
        .spawn()?;
    let _exporter = Exporter(child);
    let start = Instant::now();
    while TcpStream::connect(ADDRESS).is_err() {
        ensure!(
            start.elapsed() < Duration::from_secs(60),
            "it does not listen"
        );
        sleep(Duration::from_millis(50));
    }
    counted("module", 3)?;
    for _ in 0..repeat(5) {
        module::unload()?;
        counted("netlink", 3)?;
        module::load()?;
        counted("module", 3)?;
    }
    Ok(())
}
