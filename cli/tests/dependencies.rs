// SPDX-License-Identifier: MIT OR Apache-2.0

//! What is depended on has one of the licences that `deny.toml` allows, and is from crates.io: what cargo-deny
//! checks as well, which takes minutes to build.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[test]
fn licences_are_allowed_and_sources_known() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let rules = std::fs::read_to_string(top.join("deny.toml")).unwrap();
    let allowed: Vec<&str> = rules
        .lines()
        .find_map(|line| line.strip_prefix("allow = ["))
        .expect("deny.toml says what is allowed")
        .split('"')
        .skip(1)
        .step_by(2)
        .collect();

    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--format-version=1",
            "--all-features",
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(top)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo metadata: {stderr}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let mut from_crates_io = 0;
    for package in packages {
        let name = &package["name"];
        // Our own have no source.
        if package["source"].is_null() {
            continue;
        }
        assert_eq!(package["source"], CRATES_IO, "{name}");
        let license = package["license"].as_str().unwrap_or("none");
        assert!(is_allowed(license, &allowed), "{name}: {license}");
        from_crates_io += 1;
    }
    assert!(
        from_crates_io > 10,
        "{from_crates_io} dependencies were seen"
    );
}

/// Whether one of the choices of an SPDX expression is allowed. Of brackets it understands those round choices:
/// everything else is not allowed.
fn is_allowed(license: &str, allowed: &[&str]) -> bool {
    license.split(" AND ").all(|part| {
        let choices = part.trim_start_matches('(').trim_end_matches(')');
        choices
            .split(" OR ")
            .flat_map(|choice| choice.split('/'))
            .any(|choice| allowed.contains(&choice))
    })
}

#[test]
fn expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
    for (license, expected) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0-only OR MIT", true),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND OpenSSL", false),
        ("GPL-3.0-only", false),
        ("none", false),
        ("", false),
    ] {
        assert_eq!(is_allowed(license, &allowed), expected, "{license}");
    }
}
