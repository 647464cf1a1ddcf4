// SPDX-License-Identifier: MIT OR Apache-2.0

//! The last rows that a live table has shown, by which a row that it shows again is recognized.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Sets of eight rows, of 64 bytes each: 512 KiB.
const SETS: usize = 1 << 13;
const WAYS: usize = 8;

/// The bits of an entry that are the number of the row; the others are its hash.
const NUMBER: u64 = (1 << 24) - 1;

/// Remembers tens of thousands of rows. What it forgets first is what was shown first.
#[derive(Debug, Default)]
pub(crate) struct Shown {
    /// A key of its own for each table, so that peers cannot choose ports that collide.
    key: RandomState,
    /// Entries by hash, the newest of a set first; allocated with the first row.
    sets: Vec<[u64; WAYS]>,
    /// The number of rows so far.
    rows: u64,
    /// The read that brought the last row, and the number of its first row.
    read: u64,
    first: u64,
}

impl Shown {
    /// Remembers a row that read number `read` has brought. If an earlier read brought it too,
    /// returns how many rows ago.
    ///
    /// Rows of one read do not count as shown again: the kernel walks a bucket under its lock, and
    /// sockets on two interfaces can have the same addresses and ports.
    pub(crate) fn again(&mut self, read: u64, ends: &[u8], inode: &[u8]) -> Option<u64> {
        if self.sets.is_empty() {
            self.sets = vec![[0; WAYS]; SETS];
        }
        if read != self.read {
            (self.read, self.first) = (read, self.rows);
        }
        let mut hasher = self.key.build_hasher();
        hasher.write(ends);
        hasher.write(inode);
        let hash = hasher.finish();
        let set = &mut self.sets[hash as usize % SETS];
        let found = set.iter().position(|entry| (entry ^ hash) & !NUMBER == 0);
        let ago = found.map(|at| self.rows.wrapping_sub(set[at]) & NUMBER);
        set[..=found.unwrap_or(WAYS - 1)].rotate_right(1);
        set[0] = hash & !NUMBER | self.rows & NUMBER;
        let since_first = self.rows - self.first;
        self.rows += 1;
        ago.filter(|&ago| ago > since_first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shows rows of one inode in reads of `per_read` rows.
    fn show(
        shown: &mut Shown,
        per_read: u64,
        rows: impl IntoIterator<Item = u64>,
    ) -> Vec<Option<u64>> {
        let rows = rows.into_iter();
        rows.map(|row| {
            let read = 1 + shown.rows / per_read;
            shown.again(read, &row.to_ne_bytes(), b"1")
        })
        .collect()
    }

    #[test]
    fn rows_of_an_earlier_read_are_recognized() {
        let mut shown = Shown::default();
        let again = show(&mut shown, 4, [1, 2, 3, 3, 3, 2, 5, 2, 2, 6]);
        let expected = [
            None,
            None,
            None,
            None,
            Some(1),
            Some(4),
            None,
            None,
            Some(1),
            None,
        ];
        assert_eq!(again, expected);
        assert_eq!(
            shown.again(9, &1u64.to_ne_bytes(), b"2"),
            None,
            "another inode"
        );
        assert_eq!(shown.again(10, &1u64.to_ne_bytes(), b"2"), Some(1));
    }

    #[test]
    fn the_last_thousands_are_remembered_after_any_number() {
        // The numbers begin again at 0 meanwhile.
        let mut shown = Shown {
            rows: NUMBER - 150_000,
            ..Shown::default()
        };
        let rows = 300_000;
        assert!(show(&mut shown, 27, 0..rows).iter().all(Option::is_none));
        let last = 4096;
        for ago in show(&mut shown, 27, rows - last..rows) {
            assert_eq!(ago, Some(last));
        }
        // Older ones are forgotten one by one: some of them go on to be recognized.
        let older = show(&mut shown, 27, rows - 100_000..rows - 90_000);
        assert!(older.iter().flatten().count() > 100);
        let memory = shown.sets.len() * size_of::<[u64; WAYS]>();
        assert_eq!(memory, 512 * 1024);
    }
}
