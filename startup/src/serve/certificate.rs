//! What TLS begins with.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// None could be made.
    #[error("failed to make a certificate for /metrics; name the folder of one with --metrics-tls-dir")]
    Made(#[from] rcgen::Error),

    /// A file cannot be read, or is not what it should be.
    #[error("`{}` is no readable PEM file with what its name says; see --metrics-tls-dir", .0.display())]
    File(PathBuf),

    /// The two files, or the two made, are no pair.
    #[error("the certificate for /metrics and its key do not fit together")]
    Pair(#[from] rustls::Error),
}

/// A certificate and its key, of our own making or out of a folder.
#[derive(Debug)]
pub struct Certificate {
    folder: Option<PathBuf>,
    /// The last that was usable.
    last: Mutex<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads them, or makes them where no folder is named.
    pub fn new(folder: Option<PathBuf>) -> Result<Self, CertificateError> {
        let config = match &folder {
            Some(folder) => read(folder)?,
            None => make()?,
        };
        Ok(Self {
            folder,
            last: Mutex::new(config),
        })
    }

    /// What the next connection begins with. Read anew each time: whoever renews a certificate tells nobody. While it is
    /// half written, the last one serves.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ok(config)) = self.folder.as_deref().map(read) {
            *last = config;
        }
        Arc::clone(&last)
    }
}

fn read(folder: &Path) -> Result<Arc<ServerConfig>, CertificateError> {
    let (certificate, key) = (folder.join("tls.crt"), folder.join("tls.key"));
    let chain = CertificateDer::pem_file_iter(&certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|_| CertificateError::File(certificate))?;
    let key = PrivateKeyDer::from_pem_file(&key).map_err(|_| CertificateError::File(key))?;
    config(chain, key)
}

/// Nobody can check it, so it hides what is said and proves nothing.
fn make() -> Result<Arc<ServerConfig>, CertificateError> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    config(vec![made.cert.der().clone()], key)
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, CertificateError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path) {
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        std::fs::write(folder.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn one_is_made_where_none_is_named() {
        let certificate = Certificate::new(None).unwrap();
        assert!(Arc::ptr_eq(&certificate.current(), &certificate.current()));
    }

    #[test]
    fn a_renewed_one_is_taken_up_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            Certificate::new(Some(folder.path().to_owned())),
            Err(CertificateError::File(file)) if file.ends_with("tls.crt")
        ));
        write(folder.path());
        let certificate = Certificate::new(Some(folder.path().to_owned())).unwrap();
        let first = certificate.current();
        write(folder.path());
        let second = certificate.current();
        assert!(!Arc::ptr_eq(&first, &second));
        std::fs::write(folder.path().join("tls.key"), "-----BEGIN").unwrap();
        assert!(Arc::ptr_eq(&second, &certificate.current()));
    }
}
