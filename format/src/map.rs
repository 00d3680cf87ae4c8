//! Hash maps whose order is the same in every run, so that the simulation can replay a seed.

use std::hash::{BuildHasherDefault, DefaultHasher};

/// A hash map with a fixed hash. Not for keys that an attacker chooses freely without a bound on
/// their number; ids and offsets of our own are fine.
#[allow(
    clippy::disallowed_types,
    reason = "the fixed hasher is what the ban asks for"
)]
pub type FixedMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// A hash set with a fixed hash; see [`FixedMap`].
#[allow(
    clippy::disallowed_types,
    reason = "the fixed hasher is what the ban asks for"
)]
pub type FixedSet<K> = std::collections::HashSet<K, BuildHasherDefault<DefaultHasher>>;
