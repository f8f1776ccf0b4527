//! Which names an object of the API may have (pure): known before a pair is made, and without asking anybody.

use crate::exit::Exit;

/// The longest name of an object.
const LONGEST: usize = 253;

/// What a name may be, for whoever has to choose another.
pub const RULE: &str = "a name has at most 253 lower-case letters, digits, `-` and `.`; each part between dots begins and ends with a letter or a digit";

/// No object may have this name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name for a key")]
pub struct NameError(String);

impl NameError {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        Exit::Refused
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        Some(format!("choose another: {RULE}"))
    }
}

/// Whether an object may have this name, as the apiserver has it: a subdomain of RFC 1123.
pub fn check(name: &str) -> Result<(), NameError> {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        is_end(bytes.first())
            && is_end(bytes.last())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'-')
    };
    if name.len() <= LONGEST && name.split('.').all(is_part) {
        Ok(())
    } else {
        Err(NameError(name.to_owned()))
    }
}
