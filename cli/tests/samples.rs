// SPDX-License-Identifier: MIT OR Apache-2.0

//! Saved samples that are not whole, or not of this kind of machine.

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use common::saved::proc_root;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:07E8 00000000:0000 0A 00000000:00000003 00:00000000 00000000  1000        0 1574 1 0000000000000000 100 0 0 10 0
   1: 0100007F:C350 0100007F:07E8 01 00000000:00000000 00:00000000 00000000     0        0 8412 1 0000000000000000 20 4 30 10 -1
";

const TCP6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:0016 00000000000000000000000001000000:D431 01 00000010:00000020 01:00000064 00000000     0        0 99 0 0000000000000000
";

/// The exit code, standard output and standard error.
fn run(root: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new("timeout");
    command.arg("20").arg(cargo_bin!("tcpstat")).args(arguments);
    let output = command.arg("--proc-root").arg(root).output().unwrap();
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(!stderr.contains("panicked"), "{stderr}");
    (output.status.code(), stdout, stderr)
}

const EVERY_COMMAND: [&[&str]; 7] = [
    &[],
    &["services"],
    &["services", "--listeners"],
    &["connections"],
    &["top", "--by", "peer"],
    &["top", "--by", "state"],
    &["check", "--warn", "total>1000"],
];

#[test]
fn what_a_sample_does_not_have_is_named() {
    let root = proc_root(&[("net/tcp", TCP)]);
    let missing = root.path().join("net/tcp6");
    for command in EVERY_COMMAND {
        let (code, _, stderr) = run(root.path(), &[command, &["-v"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        let expected = format!("IPv4 alone: there is no {}\n", missing.display());
        assert!(stderr.ends_with(&expected), "{command:?}: {stderr}");
    }
    std::fs::write(missing, TCP6).unwrap();
    for command in EVERY_COMMAND {
        let (code, _, stderr) = run(root.path(), &[command, &["-v"]].concat());
        assert_eq!(code, Some(0), "{stderr}");
        assert!(!stderr.contains("IPv4 alone"), "{command:?}: {stderr}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    for name in ["net/tcp", "net/tcp6", "tcpstat"] {
        let root = proc_root(&[]);
        let path = root.path().join(name);
        for (other, text) in [("net/tcp", TCP), ("net/tcp6", TCP6)] {
            if other != name {
                std::fs::write(root.path().join(other), text).unwrap();
            }
        }
        mkfifo(&path, Mode::S_IRUSR).unwrap();
        let (code, stdout, stderr) = run(root.path(), &[]);
        assert_eq!((code, &*stdout), (Some(1), ""), "{name}: {stderr}");
        let expected = format!("{}: cannot open: not a regular file", path.display());
        assert!(stderr.contains(&expected), "{stderr}");

        std::fs::remove_file(&path).unwrap();
        let _socket = UnixListener::bind(&path).unwrap();
        let (code, stdout, stderr) = run(root.path(), &[]);
        assert_eq!((code, &*stdout), (Some(1), ""), "{name}: {stderr}");
        assert!(stderr.contains(&expected), "{stderr}");
    }

    // Where a process's namespace should be.
    let root = proc_root(&[]);
    std::fs::create_dir_all(root.path().join("7/ns")).unwrap();
    mkfifo(&root.path().join("7/ns/net"), Mode::S_IRUSR).unwrap();
    let (code, _, stderr) = run(root.path(), &["--pid", "7"]);
    assert_eq!(code, Some(1), "{stderr}");
}

/// A sample as a machine of the other byte order has it.
fn swapped(text: &str) -> String {
    let endpoint = |word: &str| -> Option<String> {
        let (address, port) = word.split_once(':')?;
        let address = match address.len() {
            8 | 32 if port.len() == 4 => address.as_bytes().chunks(8),
            _ => return None,
        };
        let numbers = address.map(|digits| {
            let number = u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            format!("{:08X}", number.swap_bytes())
        });
        Some(format!("{}:{port}", numbers.collect::<String>()))
    };
    let words = text
        .split(' ')
        .map(|word| endpoint(word).unwrap_or(word.to_owned()));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_addresses_of_another_kind_of_machine_are_refused() {
    let [tcp, tcp6] = [TCP, TCP6].map(swapped);
    let no_loopback = |text: &str| {
        text.replace("7F000001", "0A000001")
            .replace("00000001:", "00000002:")
    };
    for (tcp, tcp6, line) in [
        (
            &*tcp,
            &*tcp6,
            "net/tcp, line 3: 1.0.0.127 is 127.0.0.1 in the other byte order",
        ),
        (
            &no_loopback(&tcp),
            &tcp6,
            "net/tcp6, line 2: ::100:0 is ::1 in the other byte order",
        ),
    ] {
        let root = proc_root(&[("net/tcp", tcp), ("net/tcp6", tcp6)]);
        let top = ["top", "--by", "local-port"];
        for command in [&["connections"][..], &["services", "--listeners"], &top] {
            let (code, stdout, stderr) = run(root.path(), command);
            assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
            assert!(stderr.contains(line), "{stderr}");
        }
        // States and ports are the same on every machine.
        let right = proc_root(&[("net/tcp", TCP), ("net/tcp6", TCP6)]);
        for command in [&[][..], &["services", "--format", "table"]] {
            let counted = run(root.path(), command);
            assert_eq!(counted.0, Some(0), "{counted:?}");
            assert_eq!(counted, run(right.path(), command));
        }
    }

    // A machine that has that address, and a loopback of its own.
    let own = TCP.replace("   0: 00000000", "   0: 7F000001");
    let root = proc_root(&[("net/tcp", &*own), ("net/tcp6", TCP6)]);
    let (code, stdout, stderr) = run(root.path(), &["connections"]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(
        stdout.contains("\"local_address\":\"1.0.0.127\""),
        "{stdout}"
    );

    // None of the addresses is telling: it is listed.
    let [tcp, tcp6] = [&tcp, &tcp6].map(|text| no_loopback(text));
    let root = proc_root(&[("net/tcp", &tcp), ("net/tcp6", &tcp6)]);
    assert_eq!(run(root.path(), &["connections"]).0, Some(0));
}
