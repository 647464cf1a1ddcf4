// SPDX-License-Identifier: MIT OR Apache-2.0

//! Whose a cgroup is: the systemd unit or the container that its path names.

use std::fmt;

/// The length of a container's ID, and of the short form of it.
const ID: usize = 64;
const SHORT: usize = 12;

/// What systemd calls the root of the cgroups.
const ROOT: &str = "-.slice";

/// The endings of the units that have processes.
const UNITS: [&str; 5] = [".service", ".scope", ".socket", ".mount", ".swap"];

/// A container, by the path of its cgroup. Its `Display` is `docker/4f0c3a9be1d2`, and in a pod of
/// Kubernetes `containerd/4f0c3a9be1d2/POD-UID`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Container {
    /// What runs it: `docker`, `podman`, `containerd`, `cri-o`, `kubepods` (Kubernetes, if the path
    /// says no more), or what the path has in this place.
    pub kind: String,
    /// The first 12 digits of its ID.
    pub id: String,
    /// The UID of its pod, if it is in one.
    pub pod: Option<String>,
}

impl Container {
    /// The innermost container in the path of a cgroup.
    ///
    /// ```
    /// # let id = "4f0c3a9be1d2".to_owned() + &"0".repeat(52);
    /// let container = tcpstat::Container::of(&format!("/system.slice/docker-{id}.scope"));
    /// assert_eq!(container.unwrap().to_string(), "docker/4f0c3a9be1d2");
    /// assert!(tcpstat::Container::of("/system.slice/docker.service").is_none());
    /// ```
    pub fn of(path: &str) -> Option<Self> {
        let mut parts = path.rsplit('/');
        let (prefix, id) = parts.find_map(id)?;
        let in_pod = path.contains("kubepods");
        let kind = match kind(prefix) {
            "" if in_pod => "kubepods",
            // Docker's own driver of cgroups; others have an ID alone in their paths as well.
            "" if parts.next() == Some("docker") => "docker",
            "" => "container",
            kind => kind,
        };
        Some(Self {
            kind: kind.to_owned(),
            id: id.to_owned(),
            pod: path.rsplit('/').filter(|_| in_pod).find_map(pod),
        })
    }
}

impl fmt::Display for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.id)?;
        match &self.pod {
            Some(pod) => write!(f, "/{pod}"),
            None => Ok(()),
        }
    }
}

/// The container or the unit of the cgroup with this path. The path itself where it names neither.
pub(crate) fn unit(path: &str) -> String {
    if let Some(container) = Container::of(path) {
        return container.to_string();
    }
    let innermost = |endings: &[&str]| {
        let has = |part: &&str| {
            let name = endings.iter().find_map(|ending| part.strip_suffix(ending));
            name.is_some_and(|name| !name.is_empty())
        };
        path.rsplit('/').find(has)
    };
    let unit = innermost(&UNITS).or_else(|| innermost(&[".slice"]));
    match unit {
        Some(unit) => unit.to_owned(),
        None if path.trim_matches('/').is_empty() => ROOT.to_owned(),
        None => path.to_owned(),
    }
}

/// The container that a part of a cgroup's path is for, as what precedes its ID and the short ID:
/// `ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`, `libpod-ID.scope`,
/// `kubepods-....slice:cri-containerd:ID`.
fn id(part: &str) -> Option<(&str, &str)> {
    let part = part.strip_suffix(".scope").unwrap_or(part);
    let (prefix, id) = part.split_at_checked(part.len().checked_sub(ID)?)?;
    let is_hex = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let is_id = id.bytes().all(is_hex) && (prefix.is_empty() || prefix.ends_with(['-', ':']));
    // `crio-conmon-ID`, `libpod-conmon-ID`: the process that watches the container, outside of it.
    (is_id && !prefix.ends_with("conmon-")).then(|| (prefix, &id[..SHORT]))
}

/// The kind of a container by what precedes its ID; empty if nothing does.
fn kind(prefix: &str) -> &str {
    let prefix = prefix.trim_end_matches(['-', ':']);
    match prefix.rsplit(':').next().unwrap_or(prefix) {
        "cri-containerd" | "nerdctl" => "containerd",
        "crio" => "cri-o",
        "libpod" => "podman",
        other => other,
    }
}

/// The UID of the pod that a part of a cgroup's path is for: `podUID`,
/// `kubepods-burstable-podUID.slice`, where systemd has no dashes.
fn pod(part: &str) -> Option<String> {
    let part = part.split(".slice").next()?;
    let uid = match part.strip_prefix("pod") {
        Some(uid) => uid,
        None => part.strip_prefix("kubepods")?.rsplit_once("-pod")?.1,
    };
    let is_uid = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-' | b'_');
    (!uid.is_empty() && uid.bytes().all(is_uid)).then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: &str = "4f0c3a9be1d27d6e5f8091a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6";

    #[test]
    fn containers_are_found_in_all_forms() {
        let pod = "pod6f0b3c4e_1a2b_4c5d_8e9f_0a1b2c3d4e5f";
        let dashes = pod.replace('_', "-");
        let in_pod = |kind| format!("{kind}/4f0c3a9be1d2/6f0b3c4e-1a2b-4c5d-8e9f-0a1b2c3d4e5f");
        let alone = |kind| format!("{kind}/4f0c3a9be1d2");
        for (path, expected) in [
            // Docker, by cgroupfs and by systemd, and in a container.
            (format!("/docker/{LONG}"), alone("docker")),
            (
                format!("/system.slice/docker-{LONG}.scope"),
                alone("docker"),
            ),
            (
                format!("/docker/{}/docker/{LONG}", LONG.replace('4', "5")),
                alone("docker"),
            ),
            (format!("/docker/{LONG}/init.scope"), alone("docker")),
            (
                format!("/system.slice/docker-{LONG}.scope/system.slice/nginx.service"),
                alone("docker"),
            ),
            // containerd and CRI-O, in Kubernetes.
            (
                format!("/kubepods/burstable/{dashes}/{LONG}"),
                in_pod("kubepods"),
            ),
            (
                format!("/kubepods.slice/kubepods-{pod}.slice/cri-containerd-{LONG}.scope"),
                in_pod("containerd"),
            ),
            (
                format!(
                    "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-{pod}.slice/crio-{LONG}.scope"
                ),
                in_pod("cri-o"),
            ),
            (
                format!(
                    "/system.slice/containerd.service/kubepods-{pod}.slice:cri-containerd:{LONG}"
                ),
                in_pod("containerd"),
            ),
            (
                format!("/kubepods.slice/kubepods-{pod}.slice/crio-{LONG}.scope/container"),
                in_pod("cri-o"),
            ),
            // Podman, as root and as another user.
            (
                format!("/machine.slice/libpod-{LONG}.scope"),
                alone("podman"),
            ),
            (
                format!(
                    "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{LONG}.scope/container"
                ),
                alone("podman"),
            ),
            (format!("/libpod_parent/libpod-{LONG}"), alone("podman")),
            (format!("/ecs/7/{LONG}"), alone("container")),
            (
                format!("/system.slice/nerdctl-{LONG}.scope"),
                alone("containerd"),
            ),
        ] {
            let container = Container::of(&path).unwrap();
            assert_eq!(container.to_string(), expected, "{path}");
            assert_eq!(unit(&path), expected, "{path}");
        }
        for path in [
            "/".to_owned(),
            "/init.scope".to_owned(),
            "/system.slice/docker.service".to_owned(),
            "/user.slice/user-1000.slice/session-3.scope".to_owned(),
            format!("/machine.slice/libpod-conmon-{LONG}.scope"),
            format!("/machine.slice/crio-conmon-{LONG}.scope"),
            format!("/docker/{}", &LONG[1..]),
            format!("/docker/{}", LONG.to_uppercase()),
            format!("/docker/a{LONG}"),
            format!("/é{}", &LONG[1..]),
            format!("/kubepods/{}", "pod6f0b3c4e-1a2b-4c5d-8e9f-0a1b2c3d4e5f"),
        ] {
            assert_eq!(Container::of(&path), None, "{path}");
        }
    }

    #[test]
    fn the_unit_is_the_innermost_or_else_the_slice() {
        for (path, expected) in [
            ("/system.slice/nginx.service", "nginx.service"),
            ("/system.slice/nginx.service/workers", "nginx.service"),
            ("/system.slice/sshd.socket", "sshd.socket"),
            ("/system.slice/var-lib.mount", "var-lib.mount"),
            ("/system.slice/dev-sda2.swap", "dev-sda2.swap"),
            ("/init.scope", "init.scope"),
            (
                "/user.slice/user-1000.slice/session-3.scope",
                "session-3.scope",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                "web.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice",
                "user@1000.service",
            ),
            ("/machine.slice/payload", "machine.slice"),
            ("/system.slice/.service", "system.slice"),
            ("/", "-.slice"),
            ("", "-.slice"),
            ("/batch/7", "/batch/7"),
        ] {
            assert_eq!(unit(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_has_a_unit(path: String) {
            prop_assert!(!unit(&path).is_empty());
        }
    }
}
