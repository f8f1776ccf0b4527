//! A key pair, made here.

use culvert_wireguard::key::{KeyError, PrivateKey, PublicKey};

use super::store::StoreError;

/// A private key and its public half. Neither prints.
#[derive(Debug)]
pub struct Pair {
    /// Stays on this machine.
    pub private: PrivateKey,

    /// What the cluster is told.
    pub public: PublicKey,
}

impl Pair {
    /// Draws a pair from the system's secure source.
    pub fn draw() -> Result<Self, StoreError> {
        PrivateKey::generate().map(Self::of).map_err(StoreError::Draw)
    }

    /// The pair of this private key.
    pub fn of(private: PrivateKey) -> Self {
        let public = private.public_key();
        Self { private, public }
    }

    /// Reads a private key as `wg genkey` writes it; blanks around it do not matter.
    pub fn read(text: &str) -> Result<Self, KeyError> {
        PrivateKey::from_base64(text.trim()).map(Self::of)
    }
}
