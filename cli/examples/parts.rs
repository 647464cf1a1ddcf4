// SPDX-License-Identifier: MIT OR Apache-2.0

//! Writes what the command consists of, as CycloneDX 1.5, from what cargo says. `make packages`
//! uses it.
//!
//!     cargo metadata --format-version 1 | cargo run --example parts
//!
//! It has what the command is built of, macros and build scripts too; nothing that only tests use.

use std::collections::BTreeSet;
use std::error::Error;
use std::io;
use std::process::ExitCode;

use serde_json::{Value, json};

/// The package of the command.
const COMMAND: &str = "tcpstat-cli";

fn main() -> ExitCode {
    match parts(&mut io::stdin().lock()) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("parts: what cargo metadata says was not understood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parts(metadata: &mut impl io::Read) -> Result<String, Box<dyn Error>> {
    let metadata: Value = serde_json::from_reader(metadata)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let nodes = list(&metadata["resolve"]["nodes"]);
    let command = packages
        .iter()
        .find(|package| package["name"] == COMMAND)
        .ok_or_else(|| format!("there is no package {COMMAND}"))?;
    let mut linked = BTreeSet::new();
    let mut next = vec![text(command, "id")];
    while let Some(id) = next.pop() {
        if !linked.insert(id.clone()) {
            continue;
        }
        let node = nodes
            .iter()
            .find(|node| node["id"].as_str() == Some(id.as_str()));
        for dependency in node.iter().flat_map(|node| list(&node["deps"])) {
            let kinds = list(&dependency["dep_kinds"]);
            if kinds.iter().any(|kind| kind["kind"] != "dev") {
                next.push(text(&dependency, "pkg"));
            }
        }
    }
    let mut components: Vec<_> = packages
        .iter()
        .filter(|package| linked.contains(&text(package, "id")))
        .map(component)
        .collect();
    components.sort_by_key(|component| text(component, "purl"));
    let (components, own): (Vec<_>, Vec<_>) = components
        .into_iter()
        .partition(|component| component["name"] != COMMAND);
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": own.first() },
        "components": components,
    });
    Ok(serde_json::to_string_pretty(&bill)?)
}

fn component(package: &Value) -> Value {
    let (name, version) = (text(package, "name"), text(package, "version"));
    let kind = if name == COMMAND {
        "application"
    } else {
        "library"
    };
    // Some still have the form from before SPDX.
    let license = text(package, "license").replace('/', " OR ");
    json!({
        "type": kind,
        "name": name,
        "version": version,
        "purl": format!("pkg:cargo/{name}@{version}"),
        "licenses": [{ "expression": license }],
    })
}

/// A field that is a text.
fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
