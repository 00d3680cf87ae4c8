//! The secret that the processes of one cluster share.

use std::{fmt, str::FromStr, sync::Arc};

use subtle::ConstantTimeEq;

/// Fewest characters of a secret: 16 random ones of base64 are 96 bits, out of reach of guessing over a network.
pub const SECRET_CHARS_MIN: usize = 16;
/// Most characters of a secret: it travels in a header.
pub const SECRET_CHARS_MAX: usize = 1_024;

/// How a bearer's secret begins in an `authorization` header (RFC 6750).
const BEARER: &str = "Bearer ";

/// The shared secret: whoever has it is an agent or a metadata process of the cluster. It is sent as
/// `authorization: Bearer ...` by agents to the metadata service and to each other.
///
/// Its text shows nowhere: not in `Debug`, not in errors.
#[derive(Clone)]
pub struct ClusterSecret(Arc<str>);

/// Why a text is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// It is too short to be one.
    #[error(
        "a cluster secret has at least {SECRET_CHARS_MIN} characters: make one with `openssl rand -base64 32`"
    )]
    TooShort,
    /// It is too long for a header.
    #[error("a cluster secret has at most {SECRET_CHARS_MAX} characters")]
    TooLong,
    /// It has characters that a header cannot carry.
    #[error("a cluster secret is made of visible ASCII characters, without spaces")]
    NotVisible,
}

impl ClusterSecret {
    /// The secret of this text. White space around it is not part of it (files end with a line feed).
    ///
    /// # Errors
    /// Texts shorter than [`SECRET_CHARS_MIN`], longer than [`SECRET_CHARS_MAX`], or of other than visible
    /// ASCII characters.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        let text = text.trim();
        if !text.bytes().all(|c| c.is_ascii_graphic()) {
            return Err(SecretError::NotVisible);
        }
        match text.len() {
            0..SECRET_CHARS_MIN => Err(SecretError::TooShort),
            SECRET_CHARS_MIN..=SECRET_CHARS_MAX => Ok(Self(Arc::from(text))),
            _ => Err(SecretError::TooLong),
        }
    }

    /// The value of the `authorization` header of who has this secret: visible ASCII and one space.
    /// Headers made of it are to be marked sensitive.
    #[must_use]
    pub fn bearer(&self) -> String {
        format!("{BEARER}{}", self.0)
    }

    /// Whether the value of an `authorization` header shows this secret. Takes the same time however
    /// much of it is right.
    #[must_use]
    pub fn admits(&self, authorization: &[u8]) -> bool {
        // the scheme's name is no secret, and is written in any case (RFC 9110, 11.1)
        let Some((scheme, shown)) = authorization.split_at_checked(BEARER.len()) else {
            return false;
        };
        let scheme_fits = scheme.eq_ignore_ascii_case(BEARER.as_bytes());
        scheme_fits & bool::from(shown.ct_eq(self.0.as_bytes()))
    }
}

impl PartialEq for ClusterSecret {
    fn eq(&self, other: &Self) -> bool {
        bool::from(self.0.as_bytes().ct_eq(other.0.as_bytes()))
    }
}

impl Eq for ClusterSecret {}

impl FromStr for ClusterSecret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        Self::new(text)
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "0123456789abcdef";

    #[test]
    fn only_the_whole_secret_is_admitted() {
        let secret = ClusterSecret::new(TEXT).expect("long enough");
        for (shown, admitted) in [
            (secret.bearer(), true),
            (format!("bearer {TEXT}"), true),
            (format!("Bearer {TEXT}0"), false),
            (format!("Bearer {}", &TEXT[1..]), false),
            ("Bearer 0123456789abcdeF".to_owned(), false),
            (format!("Basic  {TEXT}"), false),
            (TEXT.to_owned(), false),
            ("Bearer ".to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(secret.admits(shown.as_bytes()), admitted, "{shown:?}");
        }
    }

    #[test]
    fn secrets_can_travel_in_a_header_and_are_not_guessed() {
        let long = "x".repeat(SECRET_CHARS_MAX + 1);
        for (text, result) in [
            ("", Some(SecretError::TooShort)),
            (&TEXT[1..], Some(SecretError::TooShort)),
            (TEXT, None),
            (" 0123456789abcdef\n", None),
            ("0123456789 abcdef", Some(SecretError::NotVisible)),
            ("0123456789\nabcdef", Some(SecretError::NotVisible)),
            ("pässwörter sind lang", Some(SecretError::NotVisible)),
            (&long, Some(SecretError::TooLong)),
        ] {
            assert_eq!(ClusterSecret::new(text).err(), result, "{text:?}");
        }
        let padded = ClusterSecret::new(" 0123456789abcdef\n");
        assert_eq!(padded, ClusterSecret::new(TEXT));
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = ClusterSecret::new(TEXT).expect("long enough");
        let shown = format!("{secret:?} {secret:#?}");
        assert!(!shown.contains(TEXT), "{shown}");
        assert!(!shown.contains("0123"), "{shown}");
    }
}
