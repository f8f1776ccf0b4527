//! Certificates of a test cluster: one authority, a server certificate, client certificates, a key pair that signs
//! service account tokens.
//!
//! Everything is ECDSA and made in a few milliseconds. The certificates are valid from 1970 to 4096, because the
//! tests move clocks.

use std::{fs, net::IpAddr, path::Path};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate with its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,

    /// The private key, PKCS #8.
    pub key: String,
}

/// The authority that signs every certificate of one test cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// Makes a new one.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate().context("failed to generate the authority's key")?;
        let mut params = params("culvert-test-ca", None, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        let certificate = params
            .self_signed(&key)
            .context("failed to sign the authority's certificate")?
            .pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for the apiserver: valid for loopback, the service's names and first address, and `extra`.
    pub fn server(&self, extra: &[IpAddr]) -> Result<Identity> {
        let mut names: Vec<String> = [
            "127.0.0.1",
            "10.96.0.1",
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
        ]
        .map(str::to_owned)
        .to_vec();
        for address in extra.iter().map(IpAddr::to_string) {
            if !names.contains(&address) {
                names.push(address);
            }
        }
        let mut params = params("kube-apiserver", None, &names)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(&params)
    }

    /// A client certificate of the user `name` in `group`, as the apiserver reads them from CN and O. One group at
    /// most: rcgen's names hold each attribute once.
    pub fn client(&self, name: &str, group: Option<&str>) -> Result<Identity> {
        let mut params = params(name, group, &[])?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Result<Identity> {
        let key = KeyPair::generate().context("failed to generate a key")?;
        let certificate = params
            .signed_by(&key, &self.issuer)
            .context("failed to sign a certificate")?
            .pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

/// The key pair of service account tokens: PEM of the private key, PEM of the public key.
pub fn token_keys() -> Result<(String, String)> {
    let key = KeyPair::generate().context("failed to generate the token key")?;
    Ok((key.serialize_pem(), key.public_key_pem()))
}

/// Writes one PEM file.
pub fn write(folder: &Path, name: &str, pem: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, pem).with_context(|| format!("failed to write {}", path.display()))
}

fn params(name: &str, group: Option<&str>, alternatives: &[String]) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(alternatives).context("failed to name a certificate")?;
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.not_before = date_time_ymd(1970, 1, 1);
    Ok(params)
}
