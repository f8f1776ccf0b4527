//! Netlink messages inside a received datagram.
//!
//! Any bytes give messages or one error and then the end; nothing is read past a stated length.

use super::abi::{NLMSG_HEADER, aligned};
use super::decode::DecodeError;

/// One message of a datagram.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    /// Message type: a control type below 16, else a family's number.
    pub kind: u16,

    /// `NLM_F_*` flags.
    pub flags: u16,

    /// The request's sequence number.
    pub sequence: u32,

    /// The port the message is for.
    pub port: u32,

    /// What follows the header.
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// The error number of an error or done message: 0 for success, else positive.
    pub fn errno(&self) -> Result<i32, DecodeError> {
        let (code, _) = self.payload.split_first_chunk().ok_or(DecodeError::Message)?;
        Ok(i32::from_ne_bytes(*code).saturating_abs())
    }
}

/// The messages of a datagram, in order.
pub struct Frames<'a>(&'a [u8]);

impl<'a> Frames<'a> {
    /// The messages in these bytes.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }

    fn take(&mut self) -> Option<Frame<'a>> {
        let header: &[u8; NLMSG_HEADER] = self.0.first_chunk()?;
        let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).ok()?;
        let payload = self.0.get(NLMSG_HEADER..length)?;
        // The last message's padding may be missing.
        self.0 = self.0.get(aligned(length)..).unwrap_or_default();
        Some(Frame {
            kind: u16::from_ne_bytes([k0, k1]),
            flags: u16::from_ne_bytes([f0, f1]),
            sequence: u32::from_ne_bytes([s0, s1, s2, s3]),
            port: u32::from_ne_bytes([p0, p1, p2, p3]),
            payload,
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let frame = self.take().ok_or(DecodeError::Message);
        if frame.is_err() {
            self.0 = &[];
        }
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(length: u32, kind: u16, rest: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(rest);
        bytes
    }

    #[test]
    fn two_messages_in_one_datagram_are_two() {
        let mut datagram = message(18, 30, &[1, 2, 0, 0]);
        datagram.extend(message(20, 3, &(-19_i32).to_ne_bytes()));
        let frames: Vec<_> = Frames::new(&datagram).collect::<Result<_, _>>().unwrap();
        assert_eq!((frames[0].kind, frames[0].payload), (30, &[1, 2][..]));
        assert_eq!((frames[1].kind, frames[1].errno().unwrap()), (3, 19));
        assert_eq!(frames.len(), 2);
    }

    #[test]
    fn a_length_outside_the_datagram_is_an_error_and_the_end() {
        for length in [0, 15, 17, u32::MAX] {
            let datagram = message(length, 30, &[]);
            let mut frames = Frames::new(&datagram);
            assert!(frames.next().unwrap().is_err(), "{length}");
            assert!(frames.next().is_none());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(datagram: Vec<u8>) {
            for frame in Frames::new(&datagram).flatten() {
                let _ = frame.errno();
            }
        }
    }
}
