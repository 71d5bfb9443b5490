//! The configurations of both roles, and the builder that makes them of files.

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::server::ProducesTickets;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::version::TLS13;

use super::Tls;
use super::files::Pair;
use super::files::PairFiles;
use super::files::TlsError;
use super::files::authorities;
use super::named::Named;

/// The parts of a [`Tls`], by the files in which they are; made by [`Tls::mutual`] and [`Tls::server_only`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing before `build`"]
pub struct TlsBuilder {
    is_mutual: bool,
    pair: Option<PairFiles>,
    authorities: Vec<PathBuf>,
    peer_name: Option<String>,
}

impl TlsBuilder {
    pub(super) fn new(is_mutual: bool) -> TlsBuilder {
        TlsBuilder { is_mutual, pair: None, authorities: Vec::new(), peer_name: None }
    }

    /// Sets the certificate of this node and its private key, in two PEM files. Behind the certificate, its file may
    /// have those that lead to the authority. The key is in PKCS #8, PKCS #1 or SEC 1.
    ///
    /// Behind [`Tls::mutual`] the certificate is shown by either side, so it must be allowed for both: with an extended
    /// key usage for servers and clients, or without any. With [`Tls::server_only`], a node that only dials needs none.
    ///
    /// # Errors
    /// [`TlsError::Io`] if a file cannot be read, [`TlsError::NoCertificateInFile`] and [`TlsError::NoKeyInFile`] if it
    /// has something else in it. Whether the key fits is checked by [`build`](TlsBuilder::build).
    pub fn certificate_pem(
        mut self,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<TlsBuilder, TlsError> {
        let pair = PairFiles { certificate: certificate.as_ref().to_owned(), key: key.as_ref().to_owned() };
        pair.read()?;
        self.pair = Some(pair);
        Ok(self)
    }

    /// Adds the authorities of a PEM file: a peer's certificate must lead to one of them. It may be called for several
    /// files, and each may hold several certificates, such as the old and the new one while a cluster changes.
    ///
    /// # Errors
    /// [`TlsError::Io`] if the file cannot be read, [`TlsError::NoCertificateInFile`] if it has no certificate in it,
    /// [`TlsError::NotAnAuthority`] if one of them may not sign others, such as a node's own certificate that it has
    /// signed itself.
    pub fn authority_pem(mut self, path: impl AsRef<Path>) -> Result<TlsBuilder, TlsError> {
        let path = path.as_ref().to_owned();
        authorities(std::slice::from_ref(&path))?;
        self.authorities.push(path);
        Ok(self)
    }

    /// Sets the name that each peer's certificate must have, in place of the host that was dialled: for clusters whose
    /// hosts have no names of their own, and share one. Behind [`Tls::mutual`] the peers that dial this node must have
    /// it as well; without this call they need no certain name, only a certificate of an authority.
    pub fn peer_name(mut self, name: impl Into<String>) -> TlsBuilder {
        self.peer_name = Some(name.into());
        self
    }

    /// Reads the files, and makes the transport.
    ///
    /// # Errors
    /// Each [`TlsError`] of the files; [`TlsError::KeyMismatch`] if the key is not that of the certificate;
    /// [`TlsError::NoCertificate`] and [`TlsError::NoAuthority`] if a part is missing; [`TlsError::InvalidPeerName`].
    pub fn build(self) -> Result<Tls, TlsError> {
        let state = self.state()?;
        Ok(Tls::with(state, Some(self)))
    }

    /// Reads the files.
    pub(super) fn state(&self) -> Result<State, TlsError> {
        let peer_name = self.peer_name.as_ref().map(|name| {
            ServerName::try_from(name.clone()).map_err(|_| TlsError::InvalidPeerName { name: name.clone() })
        });
        let peer_name = peer_name.transpose()?;
        let needs_authority = self.is_mutual || self.pair.is_none();
        if self.is_mutual && self.pair.is_none() {
            return Err(TlsError::NoCertificate);
        }
        if needs_authority && self.authorities.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let provider = Arc::new(provider());
        let roots = Arc::new(authorities(&self.authorities)?);
        let shown = self.is_mutual.then_some(self.pair.as_ref()).flatten();
        let servers = server_verifier(&roots, &provider)?;
        let clients = if self.is_mutual { Some(client_verifier(roots, &provider, peer_name.clone())?) } else { None };
        let client = match &servers {
            Some(verifier) => Some(client_config(&provider, Arc::clone(verifier), shown)?),
            None => None,
        };
        let server = match &self.pair {
            Some(pair) => Some(server_config(&provider, clients.clone(), pair)?),
            None => None,
        };
        Ok(State { client, server, servers: servers.map(|verifier| verifier as _), clients, peer_name })
    }
}

/// The configurations in force.
#[derive(Debug)]
pub(super) struct State {
    /// For dialling; `None` if there is no authority.
    pub(super) client: Option<Arc<ClientConfig>>,
    /// For listening; `None` if there is no certificate.
    pub(super) server: Option<Arc<ServerConfig>>,
    /// The verifiers of both configurations; `None` for configurations of the application, which keep theirs.
    pub(super) servers: Option<Arc<dyn ServerCertVerifier>>,
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
    /// The name to check in place of the host that was dialled.
    pub(super) peer_name: Option<ServerName<'static>>,
}

impl State {
    /// Takes configurations of the application, without resumption: see [`without_resumption`].
    pub(super) fn of(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> State {
        let (mut client, mut server) = (Arc::unwrap_or_clone(client), Arc::unwrap_or_clone(server));
        without_resumption(&mut client, &mut server);
        let (client, server) = (Some(Arc::new(client)), Some(Arc::new(server)));
        State { client, server, servers: None, clients: None, peer_name: None }
    }
}

/// Has each connection make a whole handshake: one that resumes a session shows no certificate, and would be let in
/// although that has expired, or its authority is none any more. Connections of nodes are few, and last.
fn without_resumption(client: &mut ClientConfig, server: &mut ServerConfig) {
    client.resumption = Resumption::disabled();
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    server.ticketer = Arc::new(NoTickets);
}

/// Takes no tickets, also none that a server of the application has issued by the same configuration.
#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// Returns the provider of the cryptography: named here, since a process may have installed any as its default.
fn provider() -> CryptoProvider {
    #[cfg(feature = "tls-aws-lc")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls-aws-lc"))]
    return rustls::crypto::ring::default_provider();
}

fn server_verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Result<Option<Arc<WebPkiServerVerifier>>, TlsError> {
    if roots.is_empty() {
        return Ok(None);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider)).build();
    verifier.map(Some).map_err(|error| TlsError::Config(rustls::Error::General(error.to_string())))
}

fn client_verifier(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    peer_name: Option<ServerName<'static>>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider)).build();
    let verifier = verifier.map_err(|error| TlsError::Config(rustls::Error::General(error.to_string())))?;
    Ok(match peer_name {
        Some(name) => Arc::new(Named { verifier, name }),
        None => verifier,
    })
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    shown: Option<&PairFiles>,
) -> Result<Arc<ClientConfig>, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(TlsError::Config)?.with_webpki_verifier(verifier);
    let mut config = match shown {
        Some(files) => {
            let Pair { chain, key } = files.read()?;
            builder.with_client_auth_cert(chain, key).map_err(|error| files.refused(error))?
        }
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    files: &PairFiles,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::clone(provider)).with_protocol_versions(&[&TLS13]);
    let builder = builder.map_err(TlsError::Config)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let Pair { chain, key } = files.read()?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| files.refused(error))?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}
