//! Keys: the 32 bytes behind the base64 text of WireGuard's tools.
//!
//! A [`PublicKey`] is 32 bytes and nothing else: parsing accepts exactly one text for each, so two texts can
//! never name one key. Whether a key can hold a session is a separate question with a typed answer
//! ([`PublicKey::check`]): the kernel accepts unusable keys with success and does nothing.
//!
//! A [`PrivateKey`] is clamped when it is made (the kernel clamps too, so what it gives back compares equal),
//! wipes itself, compares in constant time and has no printing `Debug`. No key has `Display`: whoever wants the
//! text asks for it by name. Everything that fails here fails closed, with an error that repeats no input.

use std::convert::Infallible;
use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::{TryRng as _, rngs::SysRng};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

/// Bytes in a key.
pub const KEY_BYTES: usize = 32;

/// Characters in the base64 text of a key, padding included.
pub const KEY_CHARACTERS: usize = 44;

/// Why a text or a run of bytes is no key, or no usable one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not [`KEY_CHARACTERS`] long.
    #[error("a key is {KEY_CHARACTERS} characters of base64, this is {found} bytes of text")]
    Length {
        /// Bytes in the refused text.
        found: usize,
    },

    /// The text is not the one canonical base64 text of 32 bytes.
    #[error("a key is canonical base64 with padding")]
    Encoding,

    /// Bit 255 is set or the number is not below 2^255 − 19: another text names the same point.
    #[error("the public key is not in canonical form")]
    NotCanonical,

    /// The point has low order: every session with it would have the same, known secret.
    #[error("the public key is a point of low order")]
    LowOrder,

    /// The system's random source gave nothing.
    #[error("failed to draw a private key from the system's random source")]
    Random(#[source] rand::rngs::SysError),
}

/// A peer's identity on an interface: 32 bytes, any value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; KEY_BYTES]);

/// Canonical points of low order; p − 1 and, above it, their aliases fail the canonical test first.
const LOW_ORDER: [[u8; KEY_BYTES]; 5] = [
    [0; KEY_BYTES],
    {
        let mut one = [0; KEY_BYTES];
        one[0] = 1;
        one
    },
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    {
        let mut below_p = [0xff; KEY_BYTES];
        below_p[0] = 0xec;
        below_p[31] = 0x7f;
        below_p
    },
];

impl PublicKey {
    /// The key with these bytes.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key's bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Parses the one canonical text of a key: 44 characters, padding included, no spare bits set.
    ///
    /// Says nothing about use: see [`PublicKey::check`].
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; KEY_BYTES];
        decode(text, &mut bytes)?;
        Ok(Self(bytes))
    }

    /// The key's 44 characters, as `wg(8)` prints them.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Whether a session with this key is possible and nothing else names the same point.
    ///
    /// Fails with [`KeyError::NotCanonical`] or [`KeyError::LowOrder`].
    pub fn check(&self) -> Result<(), KeyError> {
        let [first, middle @ .., last] = &self.0;
        let top_bit = last & 0x80 != 0;
        let at_least_p = *last == 0x7f && middle.iter().all(|byte| *byte == 0xff) && *first >= 0xed;
        if top_bit || at_least_p {
            Err(KeyError::NotCanonical)
        } else if LOW_ORDER.contains(&self.0) {
            Err(KeyError::LowOrder)
        } else {
            Ok(())
        }
    }

    /// [`PublicKey::check`] without the reason.
    pub fn is_usable(&self) -> bool {
        self.check().is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(…)")
    }
}

/// An interface's secret: 32 clamped bytes that stay where they were made, so that wiping them leaves no copy.
#[derive(ZeroizeOnDrop)]
pub struct PrivateKey(Box<[u8; KEY_BYTES]>);

impl PrivateKey {
    /// Draws a key from the system's CSPRNG.
    pub fn generate() -> Result<Self, KeyError> {
        Self::fill(|bytes| SysRng.try_fill_bytes(bytes).map_err(KeyError::Random))
    }

    /// The key with these bytes, clamped as X25519 and the kernel do.
    ///
    /// The caller wipes its own copy.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        let Ok(key) = Self::fill(|key| {
            key.copy_from_slice(bytes);
            Ok::<_, Infallible>(())
        });
        key
    }

    /// The key whose bytes this writes, clamped.
    pub(crate) fn fill<E>(write: impl FnOnce(&mut [u8; KEY_BYTES]) -> Result<(), E>) -> Result<Self, E> {
        let mut key = Self(Box::new([0; KEY_BYTES]));
        write(&mut key.0)?;
        key.0[0] &= 0xf8;
        key.0[31] = (key.0[31] & 0x7f) | 0x40;
        Ok(key)
    }

    /// The key's clamped bytes.
    pub fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Parses the one canonical text of 32 bytes, as `wg genkey` writes it, and clamps the result.
    pub fn from_base64(text: &str) -> Result<Self, KeyError> {
        Self::fill(|bytes| decode(text, bytes))
    }

    /// The clamped key's 44 characters, wiped when dropped.
    pub fn to_base64(&self) -> Zeroizing<String> {
        // Room for the whole text: growing would leave a copy behind.
        let mut text = Zeroizing::new(String::with_capacity(KEY_CHARACTERS));
        STANDARD.encode_string(*self.0, &mut text);
        text
    }

    /// The public key that belongs to this one.
    pub fn public_key(&self) -> PublicKey {
        let public = multiply(&self.0);
        wipe_stack();
        public
    }
}

/// Keeps its copies of the secret below the caller's part of the stack.
#[inline(never)]
fn multiply(secret: &[u8; KEY_BYTES]) -> PublicKey {
    let secret = x25519_dalek::StaticSecret::from(*secret);
    PublicKey(x25519_dalek::PublicKey::from(&secret).to_bytes())
}

/// Writes over what the last call has left on the stack: arithmetic takes numbers by value.
#[inline(never)]
fn wipe_stack() {
    let mut room = [0_u8; 16 << 10];
    room.zeroize();
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&*other.0).into()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

/// Writes the bytes of a key's text. On failure what is written means nothing.
fn decode(text: &str, key: &mut [u8; KEY_BYTES]) -> Result<(), KeyError> {
    if text.len() != KEY_CHARACTERS {
        return Err(KeyError::Length { found: text.len() });
    }
    // One byte more than a key: without padding, 44 characters are 33 bytes.
    let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
    let written = STANDARD
        .decode_slice(text, bytes.as_mut_slice())
        .map_err(|_| KeyError::Encoding)?;
    let decoded = bytes[..written].first_chunk::<KEY_BYTES>();
    let decoded = decoded
        .filter(|_| written == KEY_BYTES)
        .ok_or(KeyError::Encoding)?;
    key.copy_from_slice(decoded);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRIVATE: &str = "SGb+ojrRNDuMePufwtIYhXzA//k6wF3R21tEBgKlzlM=";
    const PUBLIC: &str = "DD5yKRfzExcV5+kDnTroDgCU15latdMjiQ59j1hEuk8=";

    fn check(text: &str) -> Result<(), KeyError> {
        PublicKey::from_base64(text).unwrap().check()
    }

    #[test]
    fn the_public_key_is_what_wg_pubkey_says() {
        let private = PrivateKey::from_base64(PRIVATE).unwrap();
        assert_eq!(private.public_key().to_base64(), PUBLIC);
        assert_eq!(private.public_key(), PublicKey::from_base64(PUBLIC).unwrap());
    }

    #[test]
    fn a_base64_alias_is_refused() {
        // The last character before the padding carries two spare bits: `9` decodes to the same bytes as `8`.
        let alias = format!("{}9=", &PUBLIC[..42]);
        let canonical = format!("{}8=", &PUBLIC[..42]);
        assert!(PublicKey::from_base64(&canonical).is_ok());
        assert!(matches!(PublicKey::from_base64(&alias), Err(KeyError::Encoding)));
    }

    #[test]
    fn other_lengths_padding_and_alphabets_are_refused() {
        for text in ["", &PUBLIC[..43], &format!("{PUBLIC}\n"), "not a key"] {
            assert!(matches!(
                PublicKey::from_base64(text),
                Err(KeyError::Length { .. })
            ));
        }
        let unpadded = PUBLIC.replace('=', "A");
        let url_safe = PUBLIC.replace('+', "-");
        let blank = PUBLIC.replacen('D', " ", 1);
        for text in [unpadded, url_safe, blank, "=".repeat(44)] {
            assert!(matches!(PublicKey::from_base64(&text), Err(KeyError::Encoding)));
        }
    }

    #[test]
    fn the_points_of_low_order_are_those_of_the_admission_rule() {
        for text in [
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
            "4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA=",
            "X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc=",
            "7P///////////////////////////////////////38=",
        ] {
            assert!(matches!(check(text), Err(KeyError::LowOrder)), "{text}");
        }
    }

    #[test]
    fn points_of_low_order_share_no_secret() {
        let secret = x25519_dalek::StaticSecret::from([0x55; KEY_BYTES]);
        for point in LOW_ORDER {
            let shared = secret.diffie_hellman(&x25519_dalek::PublicKey::from(point));
            assert!(!shared.was_contributory());
        }
    }

    #[test]
    fn numbers_from_p_on_and_a_set_top_bit_are_not_canonical() {
        for first in 0xed..=0xff {
            let mut bytes = [0xff; KEY_BYTES];
            (bytes[0], bytes[31]) = (first, 0x7f);
            assert!(matches!(PublicKey(bytes).check(), Err(KeyError::NotCanonical)));
        }
        let mut bytes = *PublicKey::from_base64(PUBLIC).unwrap().as_bytes();
        bytes[31] |= 0x80;
        assert!(matches!(PublicKey(bytes).check(), Err(KeyError::NotCanonical)));
    }

    #[test]
    fn an_ordinary_key_is_usable() {
        assert!(check(PUBLIC).is_ok());
        assert!(PrivateKey::generate().unwrap().public_key().is_usable());
    }

    #[test]
    fn generated_keys_are_clamped_and_differ() {
        let (one, two) = (PrivateKey::generate().unwrap(), PrivateKey::generate().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.as_bytes()[0] & 7, 0);
        assert_eq!(one.as_bytes()[31] & 0xc0, 0x40);
        assert_eq!(one, PrivateKey::from_base64(&one.to_base64()).unwrap());
    }

    #[test]
    fn keys_do_not_print() {
        let private = PrivateKey::from_base64(PRIVATE).unwrap();
        let shown = format!(
            "{private:?} {:?} {:#?}",
            private.public_key(),
            private.public_key()
        );
        assert_eq!(shown, "PrivateKey(…) PublicKey(…) PublicKey(…)");
    }

    proptest! {
        #[test]
        fn every_key_has_exactly_its_own_text(bytes: [u8; KEY_BYTES]) {
            let key = PublicKey::from_bytes(bytes);
            let text = key.to_base64();
            prop_assert_eq!(text.len(), KEY_CHARACTERS);
            prop_assert!(PublicKey::from_base64(&text).unwrap() == key);
        }

        #[test]
        fn a_text_that_parses_is_the_one_that_is_written(text in "[A-Za-z0-9+/]{42}[A-Za-z0-9+/=]=") {
            if let Ok(key) = PublicKey::from_base64(&text) {
                prop_assert_eq!(key.to_base64(), text);
            }
        }
    }
}
