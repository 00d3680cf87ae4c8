//! The requests that are served, as tables. Field order is that of the wire; the source is Apache
//! Kafka's message definitions (`clients/src/main/resources/common/message/*Request.json`, 4.1).
//!
//! Notation: `one(KIND)` is a field, `.since(v)` and `.until(v)` bound its versions, `.null_since(v)`
//! are the versions in which it may be null, `.tagged(t)` is a field that is sent with tag t.

mod acls;
mod cluster;
mod configs;
mod data;
mod groups;
mod partitions;
mod telemetry;
mod topics;

pub use self::{
    acls::*, cluster::*, configs::*, data::*, groups::*, partitions::*, telemetry::*, topics::*,
};

/// What a field is.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(u8),
    /// Text: 16-bit length, or compact.
    String,
    /// Bytes or record batches: 32-bit length, or compact.
    Bytes,
    /// Elements: 32-bit count, or compact.
    Array(&'static Kind),
    /// Fields one after the other; behind a presence byte where it may be null.
    Struct(&'static [Field]),
}

/// A field of a structure.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is.
    pub kind: Kind,
    /// First version that has it.
    pub since: i16,
    /// Last version that has it.
    pub until: i16,
    /// First version in which it may be null.
    pub null_since: i16,
    /// Its tag, for a tagged field.
    pub tag: Option<u32>,
}

impl Field {
    const fn since(mut self, version: i16) -> Self {
        self.since = version;
        self
    }

    const fn until(mut self, version: i16) -> Self {
        self.until = version;
        self
    }

    const fn null_since(mut self, version: i16) -> Self {
        self.null_since = version;
        self
    }

    const fn tagged(mut self, tag: u32) -> Self {
        self.tag = Some(tag);
        self
    }

    /// Whether `version` has it.
    #[must_use]
    pub fn in_version(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }

    /// Whether it may be null in `version`.
    #[must_use]
    pub fn nullable_in(&self, version: i16) -> bool {
        version >= self.null_since
    }
}

const fn one(kind: Kind) -> Field {
    Field {
        kind,
        since: 0,
        until: i16::MAX,
        null_since: i16::MAX,
        tag: None,
    }
}

/// A request.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Name of the API, for log lines.
    pub name: &'static str,
    /// First version that is flexible: compact lengths and tagged fields, header version 2.
    pub flexible_since: i16,
    /// The body.
    pub fields: &'static [Field],
}

impl Shape {
    /// Whether `version` is flexible.
    #[must_use]
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible_since
    }
}

const BOOL: Kind = Kind::Fixed(1);
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
