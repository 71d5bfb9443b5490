//! Clients whose certificates must have a certain name, too.

use std::fmt::Debug;
use std::sync::Arc;

use tokio_rustls::rustls::DigitallySignedStruct;
use tokio_rustls::rustls::DistinguishedName;
use tokio_rustls::rustls::Error;
use tokio_rustls::rustls::SignatureScheme;
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::server::danger::ClientCertVerified;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;

/// A verifier that asks for a name beside an authority. rustls verifies the chain alone, since clients have no name
/// that was dialled.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    pub(super) name: ServerName<'static>,
}

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, chain, now)?;
        verify_server_name(&ParsedCertificate::try_from(certificate)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
