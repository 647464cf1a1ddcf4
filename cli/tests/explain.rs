// SPDX-License-Identifier: MIT OR Apache-2.0

//! `tcpstat explain` as its users meet it: every topic in every spelling, the list, and wrong
//! names.

mod common;

use common::run::{run, tcpstat};
use tcpstat::State;

/// What `tcpstat explain` with these arguments prints, or its exit code and what it complained
/// about.
fn explain(arguments: &[&str]) -> Result<String, (i32, String)> {
    let (code, stdout, stderr) = run(&mut tcpstat(&[&["explain"], arguments].concat()));
    match code {
        Some(0) => {
            assert_eq!(stderr, "");
            Ok(stdout)
        }
        code => {
            assert_eq!(stdout, "");
            Err((code.expect("not killed by a signal"), stderr))
        }
    }
}

#[test]
fn every_line_of_the_list_is_a_topic_of_five_lines() {
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
        assert_eq!(text.lines().count(), 5, "{text}");
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
    // Without a similar topic, all are listed.
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
