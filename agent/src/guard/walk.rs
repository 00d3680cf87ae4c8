//! The walker: follows a shape over bytes, allocating nothing.

use aquifer_format::limits::REQUEST_ELEMENTS_MAX;

use super::{
    GuardError,
    shapes::{Field, Kind, Shape},
};

/// Longest text in bytes. Versions that are not flexible can send no longer one, and Kafka takes none in those
/// that are.
const TEXT_BYTES_MAX: u64 = 32_767;

/// Checks that `body` is exactly one request body of `shape` at `version`.
///
/// # Errors
/// The first thing that is wrong.
pub fn walk_body(body: &[u8], shape: &Shape, version: i16) -> Result<(), GuardError> {
    let mut walk = Walk::new(body, version, shape.is_flexible(version));
    walk.structure(shape.fields)?;
    match walk.rest.len() {
        0 => Ok(()),
        bytes => Err(GuardError::Trailing { bytes }),
    }
}

/// A position in a frame. Its depth is that of the shapes, which are constants, so recursion is
/// bounded.
#[derive(Debug)]
pub struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
}

impl<'a> Walk<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8], version: i16, flexible: bool) -> Self {
        Self {
            rest: bytes,
            version,
            flexible,
            elements_left: REQUEST_ELEMENTS_MAX,
        }
    }

    /// The bytes that remain.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Steps over a structure: its fields, and its tagged fields in flexible versions.
    ///
    /// # Errors
    /// As [`walk_body`].
    pub fn structure(&mut self, fields: &[Field]) -> Result<(), GuardError> {
        for field in fields {
            if field.tag.is_none() && field.in_version(self.version) {
                self.field(field)?;
            }
        }
        if self.flexible {
            self.tags(fields)?;
        }
        Ok(())
    }

    /// Steps over the tagged fields of a structure.
    ///
    /// # Errors
    /// As [`walk_body`].
    pub fn tags(&mut self, fields: &[Field]) -> Result<(), GuardError> {
        let count = self.varint()?;
        self.check_count(u64::from(count))?;
        for _ in 0..count {
            let tag = self.varint()?;
            let size = u64::from(self.varint()?);
            match fields.iter().find(|f| f.tag == Some(tag)) {
                None => {
                    self.count_elements(1)?;
                    self.take(size)?;
                }
                // The decoder does not look at the size of a tag that it knows: it must be right.
                Some(field) if field.in_version(self.version) => {
                    self.known_tag(field, tag, size)?;
                }
                Some(_) => return Err(GuardError::Tag { tag }),
            }
        }
        Ok(())
    }

    fn known_tag(&mut self, field: &Field, tag: u32, size: u64) -> Result<(), GuardError> {
        let before = self.rest.len();
        self.field(field)?;
        let used = before - self.rest.len();
        if u64::try_from(used) == Ok(size) {
            Ok(())
        } else {
            Err(GuardError::Tag { tag })
        }
    }

    fn field(&mut self, field: &Field) -> Result<(), GuardError> {
        self.value(&field.kind, field.nullable_in(self.version))
    }

    fn value(&mut self, kind: &Kind, nullable: bool) -> Result<(), GuardError> {
        match kind {
            Kind::Fixed(bytes) => self.take(u64::from(*bytes)),
            Kind::String => {
                let length = if self.flexible {
                    self.compact_length()?
                } else {
                    signed_length(i64::from(self.i16()?))?
                };
                check_text(length)?;
                self.take_or_null(length, nullable)
            }
            Kind::Bytes => {
                let length = if self.flexible {
                    self.compact_length()?
                } else {
                    signed_length(i64::from(self.i32()?))?
                };
                self.take_or_null(length, nullable)
            }
            Kind::Array(element) => self.array(element, nullable),
            Kind::Struct(fields) if nullable => match self.byte()? {
                1 => self.structure(fields),
                0xff => Ok(()),
                byte => Err(GuardError::Presence { byte }),
            },
            Kind::Struct(fields) => self.structure(fields),
        }
    }

    fn array(&mut self, element: &Kind, nullable: bool) -> Result<(), GuardError> {
        let count = if self.flexible {
            self.compact_length()?
        } else {
            signed_length(i64::from(self.i32()?))?
        };
        let Some(count) = count else {
            return null_if(nullable);
        };
        self.check_count(count)?;
        self.count_elements(count)?;
        if let Kind::Fixed(bytes) = element {
            return self.take(count.saturating_mul(u64::from(*bytes)));
        }
        for _ in 0..count {
            self.value(element, false)?;
        }
        Ok(())
    }

    /// Every element takes at least one byte.
    fn check_count(&self, count: u64) -> Result<(), GuardError> {
        let remain = self.rest.len();
        if usize::try_from(count).is_ok_and(|count| count <= remain) {
            Ok(())
        } else {
            Err(GuardError::Count { count, remain })
        }
    }

    /// Elements become structures that are larger than their bytes in the frame: bounded in all.
    fn count_elements(&mut self, count: u64) -> Result<(), GuardError> {
        self.elements_left = usize::try_from(count)
            .ok()
            .and_then(|count| self.elements_left.checked_sub(count))
            .ok_or(GuardError::TooManyElements {
                max: REQUEST_ELEMENTS_MAX,
            })?;
        Ok(())
    }

    fn take_or_null(&mut self, length: Option<u64>, nullable: bool) -> Result<(), GuardError> {
        match length {
            Some(length) => self.take(length),
            None => null_if(nullable),
        }
    }

    fn take(&mut self, bytes: u64) -> Result<(), GuardError> {
        match usize::try_from(bytes)
            .ok()
            .and_then(|bytes| self.rest.get(bytes..))
        {
            Some(rest) => {
                self.rest = rest;
                Ok(())
            }
            None => Err(self.truncated(bytes)),
        }
    }

    fn truncated(&self, needed: u64) -> GuardError {
        let remain = u64::try_from(self.rest.len()).unwrap_or(u64::MAX);
        GuardError::Truncated {
            missing: needed.saturating_sub(remain),
        }
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], GuardError> {
        let Some((chunk, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(u64::try_from(N).unwrap_or(u64::MAX)));
        };
        self.rest = rest;
        Ok(*chunk)
    }

    fn byte(&mut self) -> Result<u8, GuardError> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn i16(&mut self) -> Result<i16, GuardError> {
        self.chunk().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Result<i32, GuardError> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// An unsigned variable-length integer of at most 32 bits (the decoder would take more and shift
    /// the surplus away).
    fn varint(&mut self) -> Result<u32, GuardError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return Err(GuardError::Varint);
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    /// Length plus one, zero for null.
    fn compact_length(&mut self) -> Result<Option<u64>, GuardError> {
        Ok(u64::from(self.varint()?).checked_sub(1))
    }
}

/// Null is -1; anything else below zero is wrong.
fn signed_length(length: i64) -> Result<Option<u64>, GuardError> {
    match u64::try_from(length) {
        Ok(length) => Ok(Some(length)),
        Err(_) if length == -1 => Ok(None),
        Err(_) => Err(GuardError::Negative { length }),
    }
}

fn check_text(length: Option<u64>) -> Result<(), GuardError> {
    match length {
        Some(bytes) if bytes > TEXT_BYTES_MAX => Err(GuardError::TextTooLong {
            bytes,
            max: TEXT_BYTES_MAX,
        }),
        _ => Ok(()),
    }
}

fn null_if(nullable: bool) -> Result<(), GuardError> {
    if nullable {
        Ok(())
    } else {
        Err(GuardError::Null)
    }
}
