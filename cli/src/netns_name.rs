// SPDX-License-Identifier: MIT OR Apache-2.0

//! The name of a network namespace: its name below `/run/netns`, or the short ID of its container.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tcpstat::{Container, Named, Namespace};

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
        let mut by_inode = BTreeMap::new();
        for named in Named::list(proc_root) {
            // Docker's names are those of sandboxes, which the container's ID is better than.
            let is_of_docker = named
                .path
                .parent()
                .is_some_and(|of| of.ends_with("docker/netns"));
            if let Some(name) = named.path.file_name().filter(|_| !is_of_docker) {
                // It reaches terminals.
                let name = name.to_string_lossy().replace(char::is_control, "?");
                // Of several, the first in alphabetical order.
                by_inode.entry(named.inode).or_insert(name);
            }
        }
        Self {
            proc_root: proc_root.to_owned(),
            by_inode,
        }
    }

    /// The name of a namespace; empty if it has none.
    pub(crate) fn name(&self, namespace: Namespace) -> String {
        let name = self.by_inode.get(&namespace.inode).cloned();
        let container = || {
            let process = self.proc_root.join(namespace.pid?.to_string());
            let cgroup = process.join("cgroup");
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

/// The short ID of the innermost container in a `/proc/PID/cgroup`.
fn container(cgroup: &str) -> Option<String> {
    cgroup.lines().find_map(|line| {
        let path = line.splitn(3, ':').nth(2)?;
        Some(Container::of(path)?.id)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

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
        let root = tempfile::tempdir().unwrap();
        let run = root.path().join("1/root/run");
        for directory in ["netns", "docker/netns"] {
            fs::create_dir_all(run.join(directory)).unwrap();
        }
        let link = |name: &str| symlink("/proc/self/ns/net", run.join(name)).unwrap();
        link("docker/netns/1b2c");
        let process = root.path().join("7");
        fs::create_dir(&process).unwrap();
        fs::write(process.join("cgroup"), format!("0::/docker/{ID}\n")).unwrap();
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        let name = |pid| Names::read(root.path()).name(Namespace::new(own, pid));
        assert_eq!(name(Some(7)), SHORT_ID.unwrap());
        assert_eq!((name(Some(8)), name(None)), (String::new(), String::new()));
        link("netns/web");
        assert_eq!(name(Some(7)), "web");
        link("netns/\u{1b}[2J");
        assert_eq!(name(None), "?[2J");

        let names = Names::read(root.path());
        let of = |pairs: &[(u64, u32)]| {
            let namespaces = pairs
                .iter()
                .map(|&(inode, pid)| Some(Namespace::new(inode, pid)));
            let names = names.unique(&namespaces.collect::<Vec<_>>());
            names.into_iter().flatten().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(&[(1, 7), (2, 8)]), "4f0c3a9be1d2 2");
        assert_eq!(of(&[(1, 7), (2, 7), (own, 7)]), "1 2 ?[2J");
        assert_eq!(names.unique(&[None]), [None]);
    }
}
