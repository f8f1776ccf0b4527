//! An answer to a look, kept until it is read.
//!
//! The program holds a lock while it writes its answer, and a change would wait for that: so the answer is taken whole,
//! at once, and read from here. It is one snapshot, so every look is coherent.

use std::fmt;

use super::line::Lines;
use super::write::Text;
use crate::{Error, PeerPart, Progress};

/// Bytes of the answer that are read at a time, about as many peers as a datagram of the kernel's holds.
const PART: usize = 32 * 1024;

/// A look at an interface, to be read part by part.
pub struct Look {
    object: String,
    /// What the program said, without its status.
    said: Text,
    at: usize,
    lines: Lines,
}

impl Look {
    /// A look at `object` whose answer is the first `length` bytes of a text.
    pub(super) fn new(object: &str, mut said: Text, length: usize) -> Self {
        said.truncate(length);
        Self {
            object: object.to_owned(),
            said,
            at: 0,
            lines: Lines::default(),
        }
    }

    /// Reads the next part and hands its peers to `each`. After the end and after an error there is no more to read.
    pub fn next(&mut self, each: &mut dyn FnMut(PeerPart<'_>)) -> Result<Progress, Error> {
        let start = self.at;
        while self.at < self.said.len() {
            if self.at - start >= PART {
                return Ok(Progress::More);
            }
            let rest = &self.said[self.at..];
            let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
            self.lines
                .line(&rest[..length], each)
                .map_err(|source| Error::Garbled {
                    object: self.object.clone(),
                    source,
                })?;
            self.at += length + 1;
        }
        Ok(Progress::Done {
            settings: std::mem::take(&mut self.lines).finish(each),
            coherent: true,
        })
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Look(…)")
    }
}
