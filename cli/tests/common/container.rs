// SPDX-License-Identifier: MIT OR Apache-2.0

//! A container in which the procfs of its host is mounted as well. The host is a PID namespace
//! whose process 1 is in the caller's network namespace.

use std::process::Command;

/// What the container has of its own, beside a network namespace and mounts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Container {
    /// Processes.
    Alone,
    /// Not even processes, as with `docker run --pid=host`; but `/proc` is a mount of its own.
    WithProcessesOfTheHost,
}

/// A command in the container. `HOST` at the beginning of an argument is where the host's procfs
/// is, which is mounted with these options.
pub(crate) fn in_container(container: Container, options: &str, command: &[&str]) -> Command {
    let own = match container {
        Container::Alone => {
            "unshare --net --mount --pid --fork --mount-proc sh -c '\"$@\"; exit $?'"
        }
        Container::WithProcessesOfTheHost => {
            "unshare --net --mount sh -c 'mount -t proc proc /proc && exec \"$@\"'"
        }
    };
    let script = format!(
        "host=$(mktemp -d) && chmod 755 $host && mount -t proc -o {options} proc $host || exit 99
         for argument; do
             shift
             case $argument in HOST*) argument=$host${{argument#HOST}};; esac
             set -- \"$@\" \"$argument\"
         done
         {own} sh \"$@\"
         code=$?
         umount $host && rmdir $host
         exit $code"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
    unshare.args(["sh", "-c", &script, "sh"]).args(command);
    unshare
}
