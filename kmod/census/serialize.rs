// SPDX-License-Identifier: GPL-2.0-only OR MIT

//! The public types for `serde`: a state by its kernel name, counts as a map in kernel order, an
//! accept queue as a structure.

use core::fmt;

use serde::de::{Error, MapAccess, Unexpected, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::counts::Counts;
use super::queue::AcceptQueue;
use super::state::State;

/// As the kernel's name.
impl Serialize for State {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// From every spelling that `FromStr` understands.
impl<'de> Deserialize<'de> for State {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(StateVisitor)
    }
}

struct StateVisitor;

impl Visitor<'_> for StateVisitor {
    type Value = State;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a TCP state")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<State, E> {
        text.parse()
            .map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// As a map of all eleven states, in kernel order.
impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

/// From a map that has every state once, in any order.
impl<'de> Deserialize<'de> for Counts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(CountsVisitor)
    }
}

struct CountsVisitor;

impl<'de> Visitor<'de> for CountsVisitor {
    type Value = Counts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of all TCP states to their counts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Counts, A::Error> {
        let mut counts = [None; State::COUNT];
        while let Some((state, count)) = map.next_entry::<State, u64>()? {
            if counts[Counts::position(state)].replace(count).is_some() {
                return Err(A::Error::duplicate_field(state.name()));
            }
        }
        let pairs = State::ALL.into_iter().zip(counts);
        pairs
            .map(|(state, count)| match count {
                Some(count) => Ok((state, count)),
                None => Err(A::Error::missing_field(state.name())),
            })
            .collect()
    }
}

/// As its fields.
impl Serialize for AcceptQueue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("AcceptQueue", 2)?;
        fields.serialize_field("length", &self.length)?;
        fields.serialize_field("backlog", &self.backlog)?;
        fields.end()
    }
}
