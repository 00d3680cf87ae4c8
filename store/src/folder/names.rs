//! How keys are written as names of files, reversibly.
//!
//! Letters, digits, `.`, `_` and `-` stand for themselves, `/` is written `~`, any other byte `%XX`. A dot at
//! the beginning is escaped too, so that no object is a hidden file.

use std::fmt::Write as _;

use crate::keys;

/// Longest name of a file in bytes, on every file system that matters.
const NAME_BYTES_MAX: usize = 255;

/// Folder and file name of a key. An error says what is wrong with the key.
pub(super) fn of_key(key: &str) -> Result<(String, String), String> {
    keys::check(key)?;
    let name = escaped(key);
    if name.len() > NAME_BYTES_MAX {
        return Err(format!(
            "in a folder bucket a key has at most {NAME_BYTES_MAX} bytes, this one has {}",
            name.len()
        ));
    }
    Ok((escaped(&folder_characters(key)), name))
}

/// The characters of a key that choose its folder.
pub(super) fn folder_characters(key: &str) -> String {
    key.chars().take(2).collect()
}

/// The key that a file's name stands for; None where no key has this name.
pub(super) fn to_key(name: &str) -> Option<String> {
    let key = unescaped(name)?;
    (keys::check(&key).is_ok() && escaped(&key) == name).then_some(key)
}

/// The characters that a folder's name stands for; None for folders that are not ours.
pub(super) fn folder_to_characters(name: &str) -> Option<String> {
    let characters = unescaped(name)?;
    (characters.chars().count() <= 2 && escaped(&characters) == name).then_some(characters)
}

fn escaped(key: &str) -> String {
    let mut name = String::with_capacity(key.len());
    for (at, byte) in key.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                name.push(char::from(byte));
            }
            b'/' => name.push('~'),
            _ => write!(name, "%{byte:02X}").expect("writing to a String cannot fail"),
        }
    }
    name
}

fn unescaped(name: &str) -> Option<String> {
    let mut key = Vec::with_capacity(name.len());
    let mut bytes = name.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'~' => key.push(b'/'),
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                let digits = std::str::from_utf8(&digits).ok()?;
                key.push(u8::from_str_radix(digits, 16).ok()?);
            }
            _ => key.push(byte),
        }
    }
    String::from_utf8(key).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_readable() {
        assert_eq!(
            of_key("ab12/c/7/0-1-x"),
            Ok(("ab".to_owned(), "ab12~c~7~0-1-x".to_owned()))
        );
        assert_eq!(of_key(".a"), Ok(("%2Ea".to_owned(), "%2Ea".to_owned())));
        assert_eq!(of_key("a"), Ok(("a".to_owned(), "a".to_owned())));
        assert!(of_key(&"x".repeat(256)).is_err());
    }

    #[test]
    fn names_that_no_put_made_are_no_keys() {
        for name in [
            "a%2", "a%zz", "a%2f", "a b", ".a", "~a", "a%FF", "x~", "%61",
        ] {
            assert_eq!(to_key(name), None, "{name}");
        }
        assert_eq!(folder_to_characters(".writing"), None);
        assert_eq!(folder_to_characters("lost+found"), None);
    }

    proptest! {
        #[test]
        fn every_key_comes_back(key in "[a-z0-9/._~% üß-]{1,60}") {
            if let Ok((folder, name)) = of_key(&key) {
                prop_assert_eq!(to_key(&name), Some(key.clone()));
                prop_assert!(!name.starts_with('.') && !name.contains('/'));
                prop_assert_eq!(folder_to_characters(&folder), Some(folder_characters(&key)));
            }
        }
    }
}
