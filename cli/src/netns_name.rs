// SPDX-License-Identifier: MIT OR Apache-2.0

//! The name of a network namespace: its name below `/run/netns`, or the short ID of its container.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tcpstat::{Container, Namespace, Options};

/// The names of the network namespaces of a machine.
#[derive(Debug, Default)]
pub(crate) struct Names {
    proc_root: PathBuf,
    /// Those below `/run/netns`, by inode number.
    by_inode: BTreeMap<u64, String>,
}

impl Names {
    /// Reads the names of the machine that the procfs at `proc_root` is of. What cannot be read has
    /// no name.
    pub(crate) fn read(proc_root: &Path) -> Self {
        // Another procfs may be that of a host, whose files are those of its first process.
        let run = match proc_root == Path::new(Options::PROC_ROOT) {
            true => PathBuf::from("/run/netns"),
            false => proc_root.join("1/root/run/netns"),
        };
        let namespaces = fs::metadata("/proc/self/ns/net");
        let by_inode = namespaces.map(|namespace| below(&run, namespace.dev()));
        Self {
            proc_root: proc_root.to_owned(),
            by_inode: by_inode.unwrap_or_default(),
        }
    }

    /// The name of a namespace; empty if it has none.
    pub(crate) fn name(&self, namespace: Namespace) -> String {
        let name = self.by_inode.get(&namespace.inode).cloned();
        let container = || {
            let cgroup = self
                .proc_root
                .join(namespace.pid.to_string())
                .join("cgroup");
            let text = fs::read_to_string(cgroup).ok()?;
            container(&text)
        };
        name.or_else(container).unwrap_or_default()
    }

    /// A name for each of these namespaces that is there: the inode number if it has none, or
    /// shares it.
    pub(crate) fn unique(&self, namespaces: &[Option<Namespace>]) -> Vec<Option<String>> {
        let name = |namespace: &Option<Namespace>| namespace.map(|one| self.name(one));
        let names: Vec<Option<String>> = namespaces.iter().map(name).collect();
        let is_shared =
            |name: &String| names.iter().flatten().filter(|one| *one == name).count() > 1;
        let unique =
            |(namespace, name): (&Option<Namespace>, &Option<String>)| match name.clone()? {
                name if name.is_empty() || is_shared(&name) => {
                    Some(namespace.as_ref()?.inode.to_string())
                }
                name => Some(name),
            };
        namespaces.iter().zip(&names).map(unique).collect()
    }
}

/// The names in a folder like `/run/netns`, by inode number. `dev` is the device of the files that
/// are network namespaces: others are what `ip netns add` mounts them on.
fn below(dir: &Path, dev: u64) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        // A name may be a link to /proc/PID/ns/net.
        let Ok(metadata) = fs::metadata(entry.path()) else {
            continue;
        };
        if metadata.dev() != dev {
            continue;
        }
        // It reaches terminals.
        let name = entry
            .file_name()
            .to_string_lossy()
            .replace(char::is_control, "?");
        // Of several, the first in alphabetical order, whatever the order of the folder.
        let first: &mut String = names.entry(metadata.ino()).or_insert_with(|| name.clone());
        if name < *first {
            *first = name;
        }
    }
    names
}

/// The short ID of the innermost container in a `/proc/PID/cgroup`.
fn container(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        Some(Container::of(path)?.id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f0c3a9be1d27d6e5f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6";
    const SHORT_ID: Option<&str> = Some("4f0c3a9be1d2");

    #[test]
    fn containers_are_found_in_every_version_of_cgroups() {
        let path = format!("/system.slice/docker-{ID}.scope");
        // The first version has a line for each controller.
        for text in [
            format!("0::{path}\n"),
            format!("12:pids:{path}\n1:name=systemd:{path}\n0::/\n"),
        ] {
            assert_eq!(container(&text).as_deref(), SHORT_ID, "{text}");
        }
        for text in ["", "nonsense\n0:\n", "0::/system.slice/docker.service\n"] {
            assert_eq!(container(text), None, "{text}");
        }
    }

    #[test]
    fn names_are_those_of_the_files_that_are_namespaces() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path();
        fs::write(run.join("web"), "").unwrap();
        fs::hard_link(run.join("web"), run.join("another")).unwrap();
        fs::write(run.join("db"), "").unwrap();
        fs::write(run.join("\u{1b}[2J"), "").unwrap();
        let inode = |name| fs::metadata(run.join(name)).unwrap().ino();
        let dev = fs::metadata(run).unwrap().dev();
        let names = below(run, dev);
        assert_eq!(names.len(), 3, "{names:?}");
        assert_eq!(names[&inode("\u{1b}[2J")], "?[2J");
        assert_eq!(names[&inode("web")], "another");
        assert_eq!(names[&inode("db")], "db");
        assert!(below(run, dev + 1).is_empty());
        assert!(below(&run.join("nothing"), dev).is_empty());

        let process = run.join("7");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("cgroup"), format!("0::/docker/{ID}\n")).unwrap();
        let names = Names {
            proc_root: run.to_owned(),
            by_inode: names,
        };
        assert_eq!(names.name(Namespace::new(inode("db"), 7)), "db");
        assert_eq!(names.name(Namespace::new(1, 7)), SHORT_ID.unwrap());
        assert_eq!(names.name(Namespace::new(1, 8)), "");
        let of = |pairs: &[(u64, u32)]| {
            let namespaces = pairs
                .iter()
                .map(|&(inode, pid)| Some(Namespace::new(inode, pid)));
            let names = names.unique(&namespaces.collect::<Vec<_>>());
            names.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[(1, 7), (2, 8)]), "4f0c3a9be1d2 2");
        assert_eq!(of(&[(1, 7), (2, 7), (inode("db"), 7)]), "1 2 db");
        assert_eq!(names.unique(&[None]), [None]);
    }
}
