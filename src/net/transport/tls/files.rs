//! The PEM files of a node's certificate, its key and its authorities.

use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use tokio_rustls::rustls;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::certificate::Contents;

/// The reason why there is no [`Tls`](crate::Tls), or why its files were not taken anew.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// A file has no certificate in PEM, or none that is whole.
    #[error("{}: there is no certificate in PEM (-----BEGIN CERTIFICATE-----)", .path.display())]
    NoCertificateInFile {
        /// The file.
        path: PathBuf,
    },
    /// A file has no private key in PEM, or none that is whole.
    #[error("{}: there is no private key in PEM (-----BEGIN PRIVATE KEY-----)", .path.display())]
    NoKeyInFile {
        /// The file.
        path: PathBuf,
    },
    /// The private key is not that of the certificate.
    #[error("the key in {} does not fit the certificate in {}", .key.display(), .certificate.display())]
    KeyMismatch {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
    },
    /// A file has a certificate that may not sign others, and so is no authority.
    #[error(
        "{}: a certificate in it is no authority (its basic constraints do not say CA): name the one that has signed it",
        .path.display()
    )]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
    },
    /// rustls does not take what is in a file.
    #[error("{}: {source}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The error of rustls.
        source: rustls::Error,
    },
    /// Both ends show a certificate, and this one has none.
    #[error("Tls::mutual needs a certificate of this node: call certificate_pem")]
    NoCertificate,
    /// Nothing says by whom the peers' certificates must be signed.
    #[error("nothing says which certificates to accept: call authority_pem")]
    NoAuthority,
    /// The name to be checked is neither a DNS name nor an IP address.
    #[error("{name:?} is neither a DNS name nor an IP address, as which peer_name is looked for in certificates")]
    InvalidPeerName {
        /// The name.
        name: String,
    },
    /// There are no files that could be read again.
    #[error("made by Tls::from_configs: there are no files to read again")]
    NoFiles,
    /// rustls does not take the configuration.
    #[error("TLS: {0}")]
    Config(#[source] rustls::Error),
}

/// A certificate with the chain that leads to its authority, and its key.
pub(super) struct Pair {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
}

/// The files of a pair.
#[derive(Clone, Debug)]
pub(super) struct PairFiles {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl PairFiles {
    /// Reads both files. Whether the key fits is found when the pair is used.
    pub(super) fn read(&self) -> Result<Pair, TlsError> {
        let chain = certificates(&self.certificate)?;
        let text = Zeroizing::new(bytes(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| TlsError::NoKeyInFile { path: self.key.clone() })?;
        Ok(Pair { chain, key })
    }

    /// Returns the error of a pair that rustls has not taken.
    pub(super) fn refused(&self, error: rustls::Error) -> TlsError {
        match error {
            rustls::Error::InconsistentKeys(_) => {
                TlsError::KeyMismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => {
                TlsError::Unusable { path: self.certificate.clone(), source: error }
            }
            error => TlsError::Unusable { path: self.key.clone(), source: error },
        }
    }
}

/// Reads the authorities of all files.
pub(super) fn authorities(paths: &[PathBuf]) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for path in paths {
        for certificate in certificates(path)? {
            if !Contents::of(&certificate).is_authority {
                return Err(TlsError::NotAnAuthority { path: path.clone() });
            }
            store.add(certificate).map_err(|source| TlsError::Unusable { path: path.clone(), source })?;
        }
    }
    Ok(store)
}

/// Reads all certificates of a file: at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let none = || TlsError::NoCertificateInFile { path: path.to_owned() };
    let text = bytes(path)?;
    let read: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    read.ok().filter(|chain| !chain.is_empty()).ok_or_else(none)
}

fn bytes(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}
