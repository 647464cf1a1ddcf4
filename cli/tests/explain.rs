// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat explain` as its users meet it: every topic however it is typed, the list, and wrong names.

use assert_cmd::Command;
use assert_cmd::cargo::cargo_bin;
use tcpstat::State;

/// What `tcpstat explain` with these arguments prints, or its exit code and what it complained about.
fn explain(arguments: &[&str]) -> Result<String, (i32, String)> {
    let output = Command::new(cargo_bin!("tcpstat"))
        .arg("explain")
        .args(arguments)
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => {
            assert_eq!(stderr, "");
            Ok(String::from_utf8(output.stdout).unwrap())
        }
        code => {
            assert!(output.stdout.is_empty() && !stderr.contains("panicked"));
            Err((code.expect("not killed by a signal"), stderr))
        }
    }
}

#[test]
fn every_line_of_the_list_is_a_topic_of_four_lines() {
    let list = explain(&[]).unwrap();
    let names: Vec<&str> = list
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names[..State::COUNT], State::ALL.map(State::name));
    let others = ["syn-queue", "accept-queue", "backlog", "drops", "other"];
    assert_eq!(names[State::COUNT..], others);
    for (name, line) in names.iter().zip(list.lines()) {
        let text = explain(&[name]).unwrap();
        let means = line.strip_prefix(name).unwrap().trim_start();
        assert!(text.starts_with(&format!("{name}: {means}\n")), "{text}");
        assert_eq!(text.lines().count(), 4, "{text}");
        for typed in [
            name.to_lowercase(),
            name.to_uppercase(),
            name.replace('_', "-").to_lowercase(),
            name.replace('-', "_"),
        ] {
            assert_eq!(explain(&[&typed]).as_ref(), Ok(&text), "{typed}");
        }
    }
}

#[test]
fn a_wrong_topic_is_a_usage_error_with_a_suggestion() {
    for (topic, suggestion) in [
        ("CLOSE_WIAT", "'close-wait'"),
        ("close-wait-1", "'close-wait'"),
        ("Establish", "'established'"),
        ("acceptqueue", "'accept-queue'"),
        ("drop", "'drops'"),
    ] {
        let (code, stderr) = explain(&[topic]).unwrap_err();
        assert_eq!(code, 2, "{stderr}");
        assert!(stderr.contains(suggestion), "{stderr}");
    }
    // Nothing like it: all of them.
    for topic in ["x", "", "8080"] {
        let (code, stderr) = explain(&[topic]).unwrap_err();
        assert_eq!(code, 2, "{stderr}");
        assert!(
            stderr.contains("[possible values: established, "),
            "{stderr}"
        );
    }
    assert_eq!(explain(&["LISTEN", "CLOSE"]).unwrap_err().0, 2);
}
