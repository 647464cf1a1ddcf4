// SPDX-License-Identifier: MIT OR Apache-2.0

//! The names of users, by their IDs: those of `/etc/passwd`. Others (LDAP) have none here.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use tcpstat::Options;

/// The names of the users of a machine. No two users have the same name.
#[derive(Debug, Default)]
pub(crate) struct Users(HashMap<u32, String>);

impl Users {
    /// Reads the names of the machine that the procfs at `proc_root` is of. What cannot be read has
    /// no name.
    pub(crate) fn read(proc_root: &Path) -> Self {
        let passwd = match proc_root == Path::new(Options::PROC_ROOT) {
            true => PathBuf::from("/etc/passwd"),
            // Another procfs may be that of a host, whose files are those of its first process.
            false => proc_root.join("1/root/etc/passwd"),
        };
        // Reading a FIFO in a saved sample would wait.
        let is_file = fs::metadata(&passwd).is_ok_and(|metadata| metadata.is_file());
        let text = is_file.then(|| fs::read(passwd));
        Self::parse(&text.and_then(Result::ok).unwrap_or_default())
    }

    fn parse(passwd: &[u8]) -> Self {
        let mut names: HashMap<u32, String> = HashMap::new();
        let mut taken: HashMap<String, u32> = HashMap::new();
        for line in String::from_utf8_lossy(passwd).lines() {
            let mut columns = line.split(':');
            let (Some(name), Some(Ok(uid))) = (columns.next(), columns.nth(1).map(str::parse))
            else {
                continue;
            };
            // Of several with the same ID or the same name, the first, as for the system.
            let is_new = !names.contains_key(&uid) && !taken.contains_key(name);
            // A name that is a number would be another user's ID.
            if is_new && !name.is_empty() && name.parse::<u32>().is_err() {
                taken.insert(name.to_owned(), uid);
                names.insert(uid, name.to_owned());
            }
        }
        Self(names)
    }

    /// The name of a user; the ID if it has none.
    pub(crate) fn name(&self, uid: u32) -> String {
        self.0
            .get(&uid)
            .map_or_else(|| uid.to_string(), String::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_first_name_of_their_id() {
        let users = Users::parse(
            b"root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:\nwww:x:33:33\nwww:x:34:33\n\n7:x:8:8\n:x:9:9\nbad:x:y:\n+\n\xff:x:40:1\n",
        );
        for (uid, expected) in [
            (0, "root"),
            (33, "www"),
            (34, "34"),
            (8, "8"),
            (9, "9"),
            (40, "\u{fffd}"),
        ] {
            assert_eq!(users.name(uid), expected);
        }
    }
}
