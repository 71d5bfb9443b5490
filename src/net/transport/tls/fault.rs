//! The reasons for which a handshake of TLS fails, in words for those who run the nodes.

use std::io;

use tokio_rustls::rustls;
use tokio_rustls::rustls::AlertDescription;
use tokio_rustls::rustls::CertificateError;

/// The reason why a TLS connection was not made, or has ended. It is the source of the [`io::Error`] of a
/// [`Tls`](crate::Tls) channel, where applications that call the [`Transport`](crate::transport::Transport) themselves
/// find it by [`io::Error::get_ref`]. Nodes write it to the log and into
/// [`Event::DeadLetter`](crate::Event::DeadLetter).
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The peer's certificate leads to none of this node's authorities.
    #[error("the peer's certificate leads to no authority that this node knows (authority_pem)")]
    UnknownAuthority,
    /// The peer's certificate, or one of its chain, is not valid any more.
    #[error("the peer's certificate has expired{}", ago(*.seconds))]
    Expired {
        /// The seconds since then, if they are known.
        seconds: Option<u64>,
    },
    /// The peer's certificate, or one of its chain, is not valid yet.
    #[error("the peer's certificate is not valid yet{}: are the clocks right?", ahead(*.seconds))]
    NotYetValid {
        /// The seconds until then, if they are known.
        seconds: Option<u64>,
    },
    /// The peer's certificate is for other names than the one that was dialled, or than
    /// [`peer_name`](crate::TlsBuilder::peer_name).
    #[error("the peer's certificate is for {}, and not for {expected}", listed(.names))]
    WrongName {
        /// The name that the certificate has to have.
        expected: String,
        /// The names that it has.
        names: Vec<String>,
    },
    /// The peer has shown no certificate, and this node asks for one ([`Tls::mutual`](crate::Tls::mutual)).
    #[error("the peer has shown no certificate, and this node asks for one")]
    NoCertificate,
    /// The peer has refused this node's certificate.
    #[error("the peer refuses this node's certificate: {why}")]
    Refused {
        /// The reason, as far as TLS has a word for it.
        why: &'static str,
    },
    /// The peer's bytes are no TLS.
    #[error("the peer does not speak TLS: one side has an endpoint that begins with tls:, and the other has not")]
    NotTls,
    /// The peer has ended the connection in the middle of the handshake.
    #[error("the peer has hung up in the TLS handshake: perhaps its endpoint does not begin with tls:")]
    HungUp,
    /// This node's own configuration lacks a part.
    #[error("{0}")]
    Incomplete(&'static str),
    /// The peer's certificate was accepted once, and is not any more.
    #[error("the peer's certificate is not accepted any more: {0}")]
    NoLonger(#[source] Box<TlsFault>),
    /// Another error of TLS.
    #[error("TLS: {0}")]
    Other(#[source] rustls::Error),
}

fn ago(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(" {seconds} s ago"))
}

fn ahead(seconds: Option<u64>) -> String {
    seconds.map_or_else(String::new, |seconds| format!(", for another {seconds} s"))
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no name".to_owned() } else { names.join(", ") }
}

/// Returns a name without the kind that rustls writes around it: `DnsName("localhost")`, `IpAddress(127.0.0.1)`.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.map_or(name, |inner| inner.trim_matches('"')).to_owned()
}

impl From<rustls::Error> for TlsFault {
    fn from(error: rustls::Error) -> TlsFault {
        match error {
            rustls::Error::InvalidCertificate(error) => TlsFault::of_certificate(error),
            rustls::Error::NoCertificatesPresented => TlsFault::NoCertificate,
            rustls::Error::InvalidMessage(
                rustls::InvalidMessage::InvalidContentType | rustls::InvalidMessage::UnknownProtocolVersion,
            ) => TlsFault::NotTls,
            rustls::Error::AlertReceived(alert) => match refused(alert) {
                Some(why) => TlsFault::Refused { why },
                None => TlsFault::Other(error),
            },
            error => TlsFault::Other(error),
        }
    }
}

impl TlsFault {
    fn of_certificate(error: CertificateError) -> TlsFault {
        match error {
            CertificateError::UnknownIssuer => TlsFault::UnknownAuthority,
            CertificateError::Expired => TlsFault::Expired { seconds: None },
            CertificateError::ExpiredContext { time, not_after } => {
                TlsFault::Expired { seconds: Some(time.as_secs().saturating_sub(not_after.as_secs())) }
            }
            CertificateError::NotValidYet => TlsFault::NotYetValid { seconds: None },
            CertificateError::NotValidYetContext { time, not_before } => {
                TlsFault::NotYetValid { seconds: Some(not_before.as_secs().saturating_sub(time.as_secs())) }
            }
            CertificateError::NotValidForNameContext { expected, presented } => {
                let names = presented.iter().map(|name| plain(name)).collect();
                TlsFault::WrongName { expected: expected.to_str().into_owned(), names }
            }
            error => TlsFault::Other(rustls::Error::InvalidCertificate(error)),
        }
    }

    /// Returns the error of a stream in whose place rustls, or the system below it, has given another.
    pub(super) fn explain(error: io::Error) -> io::Error {
        if !error.get_ref().is_some_and(|source| source.is::<rustls::Error>()) {
            return error;
        }
        let kind = error.kind();
        match error.into_inner().map(|source| source.downcast::<rustls::Error>()) {
            Some(Ok(source)) => io::Error::new(kind, TlsFault::from(*source)),
            Some(Err(other)) => io::Error::new(kind, other),
            None => kind.into(),
        }
    }

    /// Returns the error of a handshake in whose place rustls, or the system below it, has given another.
    pub(super) fn explain_handshake(error: io::Error) -> io::Error {
        let kind = error.kind();
        let is_cut = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
        if is_cut.contains(&kind) {
            return io::Error::new(kind, TlsFault::HungUp);
        }
        TlsFault::explain(error)
    }

    pub(super) fn into_io(self) -> io::Error {
        let kind = match self {
            TlsFault::Incomplete(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, self)
    }
}

/// Returns the words for an alert about this node's certificate (RFC 8446 section 6.2).
fn refused(alert: AlertDescription) -> Option<&'static str> {
    Some(match alert {
        AlertDescription::UnknownCA => "it leads to no authority that the peer knows",
        AlertDescription::CertificateExpired => "it has expired, or is not valid yet",
        AlertDescription::CertificateRequired => "there is none, and the peer asks for one (Tls::mutual)",
        AlertDescription::BadCertificate => "it is not for the name that the peer asks for, or it cannot be read",
        AlertDescription::UnsupportedCertificate => "it is for another purpose",
        AlertDescription::CertificateRevoked => "it is revoked",
        AlertDescription::CertificateUnknown | AlertDescription::AccessDenied => "the peer does not say why",
        AlertDescription::DecryptError => "its signature does not fit",
        _ => return None,
    })
}
