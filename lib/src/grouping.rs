// SPDX-License-Identifier: MIT OR Apache-2.0

//! Counts sockets in groups: which group a socket belongs to, and what the groups are called.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::connections::Connection;
use crate::error::Error;
use crate::groups::{Family, Group, GroupKey, Key, Process, Weight};
use crate::readers::cgroups;
use crate::readers::heavy::{Entry, Heavy, Ranking};
use crate::readers::holders::{Holders, procfs_of};
use crate::source::Source;
use crate::units;
use tcpstat_census::counts::Counts;
use tcpstat_census::state::State;

/// Groups that have no value of the key, as numbers that no value has: as addresses, they are those
/// of no TCP socket.
const NONE: u128 = u128::MAX;
const GONE: u128 = u128::MAX - 1;
const HIDDEN: u128 = u128::MAX - 2;

/// Groups of sockets while they are counted, in one network namespace or in several.
///
/// ```
/// use tcpstat::{Filter, Grouping, Key, Options, Sampler, Weight};
///
/// let options = Options::default();
/// let mut grouping = Grouping::new(Key::Peer, Weight::Total);
/// Sampler::new(options.clone())?.group(&Filter::default(), &mut grouping)?;
/// // The same for other samplers, and then:
/// let groups = grouping.finish(&options.proc_root)?;
/// for group in groups.iter() {
///     println!("{}: {}", group.key, group.total);
/// }
/// # Ok::<(), tcpstat::Error>(())
/// ```
#[derive(Debug)]
pub struct Grouping {
    key: Key,
    weight: Weight,
    counted: Counted,
    sources: Vec<Source>,
    missing: Option<PathBuf>,
}

impl Grouping {
    /// No sockets yet, to be grouped by `key`.
    pub fn new(key: Key, weight: Weight) -> Self {
        Self {
            key,
            weight,
            counted: Counted::new(key, weight),
            sources: Vec::new(),
            missing: None,
        }
    }

    /// What sockets are grouped by.
    pub fn key(&self) -> Key {
        self.key
    }

    /// A part, to be added when all of a network namespace is counted. `netns` is its inode number.
    pub(crate) fn part(&self, netns: Option<u64>) -> Part {
        Part {
            key: self.key,
            netns: netns.map_or(NONE, u128::from),
            counted: Counted::new(self.key, self.weight),
        }
    }

    pub(crate) fn add(&mut self, part: Part, source: Source, missing: Option<PathBuf>) {
        match (&mut self.counted, part.counted) {
            (Counted::Keys(all), Counted::Keys(table)) => all.merge(table),
            (Counted::Sockets(all), Counted::Sockets(sockets)) => all.merge(sockets),
            // Both are made for the same key.
            (Counted::Keys(_), Counted::Sockets(_)) | (Counted::Sockets(_), Counted::Keys(_)) => {}
        }
        if !self.sources.contains(&source) {
            self.sources.push(source);
        }
        self.missing = self.missing.take().or(missing);
    }

    /// The groups that were counted. Looks for the names of cgroups and processes, on the machine
    /// that the procfs at `proc_root` is of.
    ///
    /// # Errors
    /// [`Error::NoCgroup2`] by [`Key::Unit`] and [`Key::Cgroup`]; by [`Key::Process`], errors about
    /// the processes in `proc_root`.
    pub fn finish(self, proc_root: &Path) -> Result<Groups, Error> {
        let (key, weight) = (self.key, self.weight);
        let mut groups = Groups {
            key,
            sources: self.sources,
            missing: self.missing,
            hidden: 0,
            invisible: false,
            names: Names::Values,
            ranking: Heavy::new(weight).finish(),
        };
        match self.counted {
            Counted::Keys(table) if key.is_of_cgroup() => {
                let mount = cgroups::mount(proc_root)?;
                groups.of_cgroups(table.finish(), weight, &mount);
            }
            Counted::Keys(table) => groups.ranking = table.finish(),
            Counted::Sockets(sockets) => {
                groups.of_processes(sockets, weight, procfs_of(proc_root))?;
            }
        }
        Ok(groups)
    }
}

/// The sockets of one network namespace.
#[derive(Debug)]
pub(crate) struct Part {
    key: Key,
    netns: u128,
    counted: Counted,
}

impl Part {
    /// Counts a socket. `cgroup` is the ID of its cgroup, if sockets are grouped by it.
    pub(crate) fn add(&mut self, connection: &Connection, cgroup: Option<u64>) {
        let Connection { state, inode, .. } = *connection;
        match &mut self.counted {
            Counted::Keys(table) => {
                table.add(number(self.key, connection, cgroup, self.netns), state);
            }
            Counted::Sockets(sockets) => sockets.add(inode, state),
        }
    }

    /// Counts sockets of which only the states are known: by [`Key::State`] or [`Key::Netns`].
    pub(crate) fn add_counts(&mut self, counts: &Counts) {
        let Counted::Keys(table) = &mut self.counted else {
            return;
        };
        if self.key == Key::Netns {
            table.add_all(self.netns, counts);
            return;
        }
        for (state, count) in counts.iter() {
            let mut only = Counts::ZERO;
            only.set(state, count);
            table.add_all(state.code().into(), &only);
        }
    }
}

/// What is counted: a number for each key, or the sockets whose processes are looked for at the
/// end.
#[derive(Debug)]
enum Counted {
    Keys(Heavy),
    Sockets(Sockets),
}

impl Counted {
    fn new(key: Key, weight: Weight) -> Self {
        match key {
            Key::Process => Self::Sockets(Sockets::default()),
            _ => Self::Keys(Heavy::new(weight)),
        }
    }
}

/// Sockets by their inode numbers.
#[derive(Debug, Default)]
struct Sockets {
    /// The inode number and the state's code of each, in one number: the memory of a grouping by
    /// process.
    held: Vec<u64>,
    /// Those without an inode.
    unheld: Counts,
}

/// The bits of the state's code.
const CODE: u32 = 4;

impl Sockets {
    fn add(&mut self, inode: Option<u64>, state: State) {
        // The kernel's inode numbers of sockets have 32 bits.
        match inode.and_then(|inode| u32::try_from(inode).ok()) {
            Some(inode) => {
                let packed = (u64::from(inode) << CODE) | u64::from(state.code());
                self.held.push(packed);
            }
            None => self.unheld.add_one(state),
        }
    }

    fn merge(&mut self, other: Self) {
        if self.held.is_empty() {
            self.held = other.held;
        } else {
            self.held.extend(other.held);
        }
        self.unheld = [self.unheld, other.unheld].into_iter().sum();
    }
}

/// The number that stands for the group of a socket.
#[inline]
fn number(key: Key, connection: &Connection, cgroup: Option<u64>, netns: u128) -> u128 {
    let Connection {
        state,
        local,
        remote,
        uid,
        ..
    } = *connection;
    // A socket without a peer has the remote port 0.
    let peer = |number: fn(SocketAddr) -> u128| match remote.port() {
        0 => NONE,
        _ => number(remote),
    };
    match key {
        Key::Unit | Key::Cgroup => cgroup.map_or(NONE, u128::from),
        Key::User => uid.map_or(NONE, u128::from),
        Key::Peer => peer(|remote| bits(remote.ip())),
        Key::PeerPort => peer(|remote| remote.port().into()),
        Key::LocalPort => local.port().into(),
        Key::LocalAddress => bits(local.ip()),
        Key::State => state.code().into(),
        Key::Family => match local.ip().to_canonical() {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 6,
        },
        Key::Netns => netns,
        // Counted by their inodes.
        Key::Process => NONE,
    }
}

/// An address as a number: IPv4 as IPv4-mapped IPv6.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// Groups of sockets, the largest first, and what is in none of them. At most 65,536 groups are
/// kept, in constant memory: if there are more, these are the largest ones, and not all of them are
/// exact.
#[derive(Debug)]
#[non_exhaustive]
pub struct Groups {
    /// What the sockets of a group have in common.
    pub key: Key,
    /// The sources that answered.
    pub sources: Vec<Source>,
    /// The file of IPv6 that a saved sample does not have: only IPv4 was counted then.
    pub missing: Option<PathBuf>,
    /// By process, the number of processes whose descriptors may not be looked at. Sockets that
    /// these have open are in the group [`GroupKey::Hidden`].
    pub hidden: u64,
    /// By process, whether the procfs hides processes: it is mounted with `hidepid=invisible`.
    pub invisible: bool,
    names: Names,
    ranking: Ranking,
}

/// What the numbers of groups mean.
#[derive(Debug)]
enum Names {
    /// They are values.
    Values,
    /// They are indices of these.
    Texts(Vec<Arc<str>>),
    Processes(Vec<Arc<[Process]>>),
}

impl Groups {
    /// The groups, the largest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Group> + Clone + '_ {
        self.ranking.entries.iter().map(|entry| self.group(entry))
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.ranking.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranking.entries.is_empty()
    }

    /// The sockets that are not counted in the `most` largest groups.
    pub fn other(&self, most: usize) -> Counts {
        self.ranking.rest(most)
    }

    /// All sockets.
    pub fn all(&self) -> Counts {
        self.ranking.all
    }

    /// Whether every group is there and counted exactly.
    pub fn is_exact(&self) -> bool {
        self.ranking.exact
    }

    fn group(&self, entry: &Entry) -> Group {
        let (counts, error) = (entry.counts(), u64::from(entry.error));
        Group {
            key: self.group_key(entry.key),
            total: counts.total() + error,
            error,
            counts,
        }
    }

    fn group_key(&self, number: u128) -> GroupKey {
        match number {
            NONE => return GroupKey::None,
            GONE => return GroupKey::Gone,
            HIDDEN => return GroupKey::Hidden,
            _ => {}
        }
        // A number is made from a value of its key, so that none of these is cut.
        match (self.key, &self.names) {
            (Key::Unit, Names::Texts(units)) => GroupKey::Unit(units[number as usize].clone()),
            (_, Names::Texts(paths)) => GroupKey::Cgroup(paths[number as usize].clone()),
            (_, Names::Processes(sets)) => GroupKey::Processes(sets[number as usize].clone()),
            (Key::Peer | Key::LocalAddress, _) => {
                GroupKey::Address(IpAddr::V6(Ipv6Addr::from_bits(number)).to_canonical())
            }
            (Key::PeerPort | Key::LocalPort, _) => GroupKey::Port(number as u16),
            (Key::User, _) => GroupKey::User(number as u32),
            (Key::State, _) => {
                State::from_code(number as u8).map_or(GroupKey::None, GroupKey::State)
            }
            (Key::Family, _) if number == 4 => GroupKey::Family(Family::Ipv4),
            (Key::Family, _) => GroupKey::Family(Family::Ipv6),
            (Key::Netns, _) => GroupKey::Netns(number as u64),
            (Key::Unit | Key::Cgroup | Key::Process, Names::Values) => GroupKey::None,
        }
    }

    /// Takes groups by the IDs of cgroups.
    fn of_cgroups(&mut self, ranking: Ranking, weight: Weight, mount: &Path) {
        let ids = ranking.entries.iter().map(|entry| entry.key);
        let ids: HashSet<u64> = ids.filter_map(|id| u64::try_from(id).ok()).collect();
        let paths = cgroups::paths(mount, ids);
        let name = |path: &str| match self.key {
            Key::Unit => units::unit(path),
            _ => path.to_owned(),
        };
        // In alphabetical order; several cgroups may be of one unit.
        let mut numbers: BTreeMap<String, u128> = BTreeMap::new();
        for path in paths.values() {
            numbers.insert(name(path), 0);
        }
        for (next, number) in numbers.values_mut().enumerate() {
            *number = next as u128;
        }
        self.ranking = ranking.renamed(weight, |id| match u64::try_from(id) {
            Err(_) => id,
            Ok(id) => match paths.get(&id) {
                Some(path) => numbers[&name(path)],
                None => GONE,
            },
        });
        self.names = Names::Texts(numbers.into_keys().map(Arc::from).collect());
    }

    /// Takes sockets by the processes that have them open.
    fn of_processes(
        &mut self,
        sockets: Sockets,
        weight: Weight,
        proc_root: &Path,
    ) -> Result<(), Error> {
        let Sockets { mut held, unheld } = sockets;
        held.sort_unstable();
        // As many bits as were packed.
        let inode_of = |packed: u64| (packed >> CODE) as u32;
        let is_wanted = |inode: u32| {
            let found = held.binary_search_by_key(&inode, |&packed| inode_of(packed));
            found.is_ok()
        };
        let holders = Holders::find(proc_root, is_wanted)?;
        let nowhere = match holders.hidden > 0 || holders.invisible {
            true => HIDDEN,
            false => GONE,
        };
        let mut table = Heavy::new(weight);
        table.add_all(NONE, &unheld);
        for sockets in held.chunk_by(|a, b| inode_of(*a) == inode_of(*b)) {
            let set = holders.set(inode_of(sockets[0]));
            let number = set.map_or(nowhere, u128::from);
            for packed in sockets {
                // The code is that of a state.
                if let Some(state) = State::from_code((packed & ((1 << CODE) - 1)) as u8) {
                    table.add(number, state);
                }
            }
        }
        self.ranking = table.finish();
        self.hidden = holders.hidden;
        self.invisible = holders.invisible;
        self.names = Names::Processes(holders.sets);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// The groups as text, each with its total.
    fn text(groups: &Groups) -> String {
        let group = |group: Group| format!("{} {}", group.key, group.total);
        groups.iter().map(group).collect::<Vec<_>>().join(", ")
    }

    fn connections() -> Vec<Connection> {
        let mut connections = vec![
            Connection::between("0.0.0.0:443", "0.0.0.0:0", State::Listen),
            Connection::between("[::]:443", "[::]:0", State::Listen),
            Connection::between(
                "[::ffff:10.0.0.1]:443",
                "[::ffff:192.0.2.7]:50000",
                State::Established,
            ),
            Connection::between("10.0.0.1:443", "192.0.2.7:50001", State::CloseWait),
            Connection::between("10.0.0.1:40000", "192.0.2.9:5432", State::TimeWait),
            Connection::between("[::1]:40000", "[::1]:5432", State::Established),
        ];
        for (connection, inode) in connections.iter_mut().zip([7, 7, 8, 9]) {
            (connection.uid, connection.inode) = (Some(1000), Some(inode));
        }
        connections
    }

    fn grouped(key: Key) -> Grouping {
        let mut grouping = Grouping::new(key, Weight::Total);
        for (part, netns) in connections().chunks(4).zip([1, 2]) {
            let mut counted = grouping.part(Some(netns));
            for connection in part {
                counted.add(connection, None);
            }
            grouping.add(counted, Source::Netlink, None);
        }
        grouping
    }

    #[test]
    fn each_key_has_its_groups() {
        for (key, expected) in [
            (Key::User, "1000 4, (none) 2"),
            (Key::Peer, "192.0.2.7 2, (none) 2, ::1 1, 192.0.2.9 1"),
            (Key::PeerPort, "5432 2, (none) 2, 50000 1, 50001 1"),
            (Key::LocalPort, "443 4, 40000 2"),
            (Key::LocalAddress, "10.0.0.1 3, :: 1, ::1 1, 0.0.0.0 1"),
            (
                Key::State,
                "ESTABLISHED 2, LISTEN 2, TIME_WAIT 1, CLOSE_WAIT 1",
            ),
            (Key::Family, "ipv4 4, ipv6 2"),
            (Key::Netns, "1 4, 2 2"),
        ] {
            let groups = grouped(key).finish(Path::new("/proc")).unwrap();
            assert_eq!(text(&groups), expected, "{key}");
            assert!(groups.is_exact() && groups.len() > 1 && !groups.is_empty());
            assert_eq!(groups.all().total(), 6);
            assert_eq!(groups.other(usize::MAX), Counts::ZERO);
            let first = groups.iter().next().unwrap();
            assert_eq!(groups.other(1).total(), 6 - first.total);
        }
    }

    #[test]
    fn counts_alone_have_states_and_a_namespace() {
        for (key, expected) in [(Key::State, "LISTEN 2, ESTABLISHED 1"), (Key::Netns, "7 3")] {
            let mut grouping = Grouping::new(key, Weight::Total);
            let mut part = grouping.part(Some(7));
            let counts = [(State::Listen, 2), (State::Established, 1)];
            part.add_counts(&counts.into_iter().collect());
            grouping.add(part, Source::Module, None);
            let groups = grouping.finish(Path::new("/proc")).unwrap();
            assert_eq!(text(&groups), expected);
            assert_eq!(groups.sources, [Source::Module]);
        }
    }

    #[test]
    fn units_are_named_by_their_cgroups() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        fs::create_dir_all(at("system.slice/nginx.service/workers")).unwrap();
        let id = |path| fs::metadata(at(path)).unwrap().ino();
        let ids = [
            None,
            Some(u64::MAX),
            Some(id("system.slice/nginx.service")),
            Some(id("system.slice/nginx.service/workers")),
            Some(id("system.slice")),
            Some(id("system.slice/nginx.service")),
        ];
        for (key, expected) in [
            (
                Key::Unit,
                "nginx.service 3, system.slice 1, (gone) 1, (none) 1",
            ),
            (
                Key::Cgroup,
                "/system.slice/nginx.service 2, /system.slice 1, \
                 /system.slice/nginx.service/workers 1, (gone) 1, (none) 1",
            ),
        ] {
            let mut grouping = Grouping::new(key, Weight::Total);
            let mut part = grouping.part(None);
            for (connection, id) in connections().iter().zip(ids) {
                part.add(connection, id);
            }
            grouping.add(part, Source::Netlink, None);
            let Counted::Keys(table) = grouping.counted else {
                panic!("not by cgroup")
            };
            let mut groups = Groups {
                key,
                sources: grouping.sources,
                missing: None,
                hidden: 0,
                invisible: false,
                names: Names::Values,
                ranking: Heavy::new(Weight::Total).finish(),
            };
            groups.of_cgroups(table.finish(), Weight::Total, root.path());
            assert_eq!(text(&groups), expected);
            assert_eq!(groups.all().total(), 6);
            assert!(groups.is_exact());
        }
    }

    #[test]
    fn processes_are_found_by_their_descriptors() {
        let root = tempfile::tempdir().unwrap();
        for (pid, links) in [
            ("5", &["socket:[7]", "socket:[8]"][..]),
            ("6", &["socket:[7]"]),
        ] {
            let fd = root.path().join(pid).join("fd");
            fs::create_dir_all(&fd).unwrap();
            for link in links {
                symlink(link, fd.join(&link[8..9])).unwrap();
            }
            fs::write(root.path().join(pid).join("comm"), "nginx\n").unwrap();
        }
        let groups = |proc_root: &Path| grouped(Key::Process).finish(proc_root).unwrap();
        let all = "nginx[5,6] 2, nginx[5] 1, (gone) 1";
        assert_eq!(text(&groups(root.path())).replace("(none) 2, ", ""), all);
        // The directory of a process means its procfs.
        assert_eq!(groups(&root.path().join("5")).len(), 4);
        // A live procfs without process 1 hides processes.
        fs::create_dir(root.path().join("self")).unwrap();
        let hidden = groups(root.path());
        assert!(hidden.invisible && text(&hidden).contains("(hidden) 1"));
    }

    #[test]
    fn an_inode_that_no_socket_can_have_is_nobodys() {
        let mut sockets = Sockets::default();
        sockets.add(Some(u64::MAX), State::Closing);
        sockets.add(Some(u64::from(u32::MAX)), State::Closing);
        assert_eq!((sockets.held.len(), sockets.unheld.total()), (1, 1));
    }
}
