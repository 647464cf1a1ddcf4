// SPDX-License-Identifier: MIT OR Apache-2.0

//! The names of network namespaces in metrics: those of `ip netns add`, and of containers.

mod common;

use std::os::unix::fs::symlink;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use common::run::{run, tcpstat_on};
use common::saved::proc_root;
use tcpstat_tests::netns;

/// What a command prints to standard output.
fn metrics(command: &mut Command) -> String {
    let command = command.args(["--all-namespaces", "--format", "prometheus"]);
    let (_, text, stderr) = run(command);
    assert!(text.contains("# EOF\n"), "{text}{stderr}");
    for label in ["namespace=", "pid="] {
        let other = [format!("{{{label}"), format!(",{label}")];
        assert!(!other.iter().any(|other| text.contains(other)), "{text}");
    }
    text
}

/// Needs `ip`, and root for the namespaces; in mounts of its own, so that no other `/run` changes.
#[test]
fn a_namespace_has_the_name_that_ip_netns_gave_it() {
    if netns::must_skip() {
        return;
    }
    if Command::new("ip").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no ip");
        eprintln!("skipped: there is no ip");
        return;
    }
    const SCRIPT: &str = r#"set -e
        mount -t tmpfs none /run
        ip netns add web-1
        ip netns exec web-1 sleep 60 & idle=$!
        trap 'kill $idle; ip netns del web-1' EXIT
        inode=$(stat -L -c %i /run/netns/web-1)
        until [ "$(stat -L -c %i /proc/$idle/ns/net)" = "$inode" ]; do sleep 0.01; done
        "$@" || true
        printf "$inode\n""#;
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", SCRIPT, "sh"]);
    let text = metrics(unshare.arg(cargo_bin!("tcpstat")));
    let inode = text.lines().last().unwrap();
    let expected = format!(
        "\nnode_tcp_connection_states{{netns=\"{inode}\",netns_name=\"web-1\",state=\"listen\"}} 0\n"
    );
    assert!(text.contains(&expected), "{text}");
    let other = text
        .lines()
        .filter(|line| line.contains("state=\"listen\""));
    let (named, others): (Vec<&str>, Vec<&str>) = other.partition(|line| line.contains("web-1"));
    assert_eq!(named.len(), 1, "{text}");
    assert!(!others.is_empty(), "{text}");
}

/// What a script prints with mounts of its own, in which `ip netns add` has made two namespaces
/// that no process is in. `None` if there is no `ip`.
fn with_named_namespaces(script: &str) -> Option<String> {
    if Command::new("ip").arg("-V").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "there is no ip");
        eprintln!("skipped: there is no ip");
        return None;
    }
    let script = format!(
        "mount -t tmpfs none /run && ip netns add web-1 && ip netns add web-2 || exit 99
         mkdir -p /run/docker/netns && touch /run/docker/netns/1b2c || exit 99
         mount --bind /run/netns/web-2 /run/docker/netns/1b2c || exit 99
         {script}
         umount /run/docker/netns/1b2c; ip netns del web-1; ip netns del web-2"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "sh", "-c", &script, "sh"]);
    let (code, text, stderr) = run(unshare.arg(cargo_bin!("tcpstat")));
    assert_eq!(code, Some(0), "{text}{stderr}");
    Some(text)
}

#[test]
fn a_namespace_is_found_by_its_name() {
    if netns::must_skip() {
        return;
    }
    netns::in_new(|| {
        let _listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let script = "\
            \"$1\" --format report; stat -L -c %i /run/netns/web-1
            for source in auto netlink procfs; do
                for netns in web-1 /run/netns/web-1; do
                    \"$1\" -v --source $source --netns $netns --format report 2>&1 || exit 1
                done
            done
            for command in services 'services --listeners' 'check --warn LISTEN>0' 'top --by state'; do
                \"$1\" $command --netns web-2 || exit 1
            done
            \"$1\" connections --netns 1b2c || exit 1
            \"$1\" --netns nothing 2>&1 && exit 1
            \"$1\" --netns /etc/passwd 2>&1 && exit 1";
        let Some(text) = with_named_namespaces(script) else {
            return;
        };
        let lines: Vec<&str> = text.lines().collect();
        let zeros = text.matches("\"LISTEN\":{\"count\":0,").count();
        // Six reports, and what is in no service or group.
        assert_eq!(zeros, 8, "{text}");
        assert!(lines[0].contains("\"LISTEN\":{\"count\":1,"), "{text}");
        let inode = lines[1];
        let through = format!("tcpstat: network namespace {inode}, through /run/netns/web-1");
        assert_eq!(text.matches(&through).count(), 6, "{text}");
        assert!(text.contains("\"services\":[],\"other\":{\"total\":0,"), "{text}");
        assert!(text.contains("\"listeners\":[]}\n"), "{text}");
        assert!(text.contains("TCP OK - LISTEN 0"), "{text}");
        assert!(text.contains("\"groups\":[],\"other\":{\"total\":0,"), "{text}");
        let expected = "tcpstat: cannot enter the network namespace /run/netns/nothing: ENOENT";
        assert!(text.contains(expected), "{text}");
        let expected = "cannot enter the network namespace /etc/passwd: EINVAL";
        assert!(text.contains(expected), "{text}");
    })
    .unwrap();
}

#[test]
fn all_namespaces_include_those_that_have_a_name_alone() {
    if netns::must_skip() {
        return;
    }
    let script = "\
        inode=$(stat -L -c %i /run/netns/web-1)
        printf \"$inode\\n\"
        for command in '' connections services 'check --warn total>1000000' 'top --by netns'; do
            \"$1\" $command --all-namespaces
        done
        \"$1\" --all-namespaces --format table
        \"$1\" top --by netns --limit 0 --format table
        \"$1\" --all-namespaces --format prometheus";
    let Some(text) = with_named_namespaces(script) else {
        return;
    };
    let (inode, text) = text.split_once('\n').unwrap();
    let start = format!("{{\"namespace\":{inode},\"pid\":null,\"netns_name\":\"web-1\",");
    let totals = format!("{start}\"ESTABLISHED\":0,");
    assert_eq!(text.matches(&totals).count(), 1, "{text}");
    let services = start.replace('{', ",") + "\"source\":";
    assert_eq!(text.matches(&services).count(), 1, "{text}");
    // Docker's name for the second one is not a third.
    for name in ["web-1", "web-2", "1b2c"] {
        let expected = if name == "1b2c" { 0 } else { 1 };
        let heading = format!(", {name}\nSTATE ");
        assert_eq!(text.matches(&heading).count(), expected, "{name}: {text}");
        let series = format!("netns_name=\"{name}\",state=\"listen\"}} 0\n");
        assert_eq!(text.matches(&series).count(), expected, "{name}: {text}");
    }
    assert!(text.contains("'web-1:total'=0;1000000;;0"), "{text}");
}

#[test]
fn a_namespace_of_a_container_has_its_short_id() {
    const HEADER: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
    const LISTENER: &str = "   0: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1574 1 0000000000000000 100 0 0 10 0\n";
    let id = "4f0c3a9be1d27d6e5f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6";
    let root = proc_root(&[
        ("7/net/tcp", &format!("{HEADER}{LISTENER}")),
        (
            "7/cgroup",
            &format!("0::/kubepods.slice/cri-containerd-{id}.scope\n"),
        ),
        ("8/net/tcp", HEADER),
        ("7/ns/type", ""),
        ("8/ns/type", ""),
    ]);
    for (pid, inode) in [("7", 70), ("8", 80)] {
        let link = root.path().join(pid).join("ns/net");
        symlink(format!("net:[{inode}]"), link).unwrap();
    }
    let text = metrics(&mut tcpstat_on(root.path(), &[]));
    for expected in [
        "node_tcp_connection_states{netns=\"70\",netns_name=\"4f0c3a9be1d2\",state=\"listen\"} 1\n",
        "node_tcp_connection_states{netns=\"80\",netns_name=\"\",state=\"listen\"} 0\n",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    let text = metrics(&mut tcpstat_on(root.path(), &["services"]));
    let expected =
        "tcpstat_service_listeners{netns=\"70\",netns_name=\"4f0c3a9be1d2\",port=\"443\"} 1\n";
    assert!(text.contains(expected), "{text}");
}
