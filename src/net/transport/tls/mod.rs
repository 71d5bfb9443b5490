//! TLS 1.3 by rustls: endpoints `tls:host:port`.
//!
//! A connection is TCP's, dialled and accepted as for plain endpoints; the handshake is made on it by this folder, and
//! the nodes' greeting follows inside. The greeting's signatures cover the exporter of the TLS connection (RFC 9266),
//! so nobody can pass a greeting on from one connection to another.
//!
//! rustls bounds the memory of a connection: 64 KiB that wait to be written, a record of 16 KiB in each direction, and
//! in the handshake a message of at most 64 KiB.

mod certificate;
mod channel;
mod fault;
mod files;
mod named;
mod state;
mod watch;

use std::fmt;
use std::io;
use std::sync::Arc;

use sha2::Digest;
use sha2::Sha256;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::TlsConnector;
use tokio_rustls::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::ConnectionCommon;
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_util::sync::CancellationToken;

use self::certificate::Contents;
use self::channel::Guarded;
pub use self::fault::TlsFault;
pub use self::files::TlsError;
use self::state::State;
pub use self::state::TlsBuilder;
use self::watch::Role;
use self::watch::Shown;
use self::watch::Verdict;
use self::watch::watch;
use super::over_tcp;
use super::over_tcp::Ends;
use super::over_tcp::OverTcp;
use super::over_tcp::Tcp;
use super::seam::BoxFuture;
use super::seam::Channel;
use super::seam::Incoming;
use super::seam::Transport;
use crate::observe::identity::Identity;

/// The label of the exporter to which the greeting is bound (RFC 9266 section 4.2).
const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";

/// TLS 1.3 between nodes, as a [transport](crate::NodeBuilder::transport) with endpoints `tls:host:port`.
///
/// It is rustls, with AWS-LC (feature `tls`, which is `tls-aws-lc`) or Ring (`tls-ring`) for the cryptography. If both
/// features are on, as two crates of an application may have it, AWS-LC is used. The provider is named in the
/// configurations, so the default of the process neither matters nor is set.
///
/// Certificates are checked as browsers do: the chain leads to an authority of [`authority_pem`], all dates fit, and
/// the host that is dialled stands among the certificate's names; its common name does not count. With [`peer_name`]
/// that name is looked for instead, and behind [`Tls::mutual`] in the certificates of clients as well. There is no
/// check of revocation: replace the authority, or give [`from_configs`] a list.
///
/// The peer's certificate is the [`Identity`] of the connection. Sessions are never resumed, because a resumed one
/// shows no certificate.
///
/// A stream that ends without the goodbye of the peer's node is a break, and is dialled again, whether TLS has closed
/// it in good order or not.
///
/// # Examples
/// ```no_run
/// use actix_hermod::{Node, Tls};
/// # use actix::prelude::*;
/// # #[derive(Message, serde::Serialize, serde::Deserialize)]
/// # #[rtype(result = "()")]
/// # struct Ping;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let tls = Tls::mutual()
///     .certificate_pem("node.pem", "node.key")?
///     .authority_pem("ca.pem")?
///     .peer_name("hermod-node")
///     .build()?;
/// let node = Node::builder().transport(tls.clone()).start();
/// node.listen("tls:0.0.0.0:4242").await?;
/// let to = node.remote::<Ping>("tls:other.example:4242", "ping-box")?;
/// to.do_send(Ping);
/// // When the files have changed:
/// tls.reload()?;
/// # Ok(()) }
/// ```
///
/// # Refusals
/// Both sides learn why there is no connection, within
/// [`handshake_timeout`](crate::NodeBuilder::handshake_timeout): in the log (`no connection`) and, at the side that
/// dials, in [`Event::DeadLetter`](crate::Event::DeadLetter) and [`AskError`](crate::AskError).
#[doc = include_str!("refusals.md")]
///
/// [`authority_pem`]: TlsBuilder::authority_pem
/// [`peer_name`]: TlsBuilder::peer_name
/// [`from_configs`]: Tls::from_configs
#[derive(Clone)]
pub struct Tls {
    shared: Arc<Shared>,
}

struct Shared {
    /// Watched by each live channel with a certificate.
    states: tokio::sync::watch::Sender<Arc<State>>,
    /// The files to read again.
    files: Option<TlsBuilder>,
}

impl Tls {
    /// Begins a transport with which both sides show a certificate.
    ///
    /// # Examples
    /// ```no_run
    /// use actix_hermod::Tls;
    ///
    /// let tls = Tls::mutual().certificate_pem("node.pem", "node.key")?.authority_pem("ca.pem")?.build()?;
    /// # Ok::<(), actix_hermod::TlsError>(())
    /// ```
    pub fn mutual() -> TlsBuilder {
        TlsBuilder::new(true)
    }

    /// Begins a transport with which only the side that listens shows a certificate; the other one stays unknown to
    /// TLS. A node that only dials needs an authority, and one that only listens a certificate.
    ///
    /// # Examples
    /// ```no_run
    /// use actix_hermod::Tls;
    ///
    /// let listening = Tls::server_only().certificate_pem("node.pem", "node.key")?.build()?;
    /// let dialling = Tls::server_only().authority_pem("ca.pem")?.build()?;
    /// # Ok::<(), actix_hermod::TlsError>(())
    /// ```
    pub fn server_only() -> TlsBuilder {
        TlsBuilder::new(false)
    }

    /// Makes a transport of configurations of the application, for all that the files do not say: revocation lists,
    /// keys in hardware, verifiers of one's own. The types are those of `transport::rustls`.
    ///
    /// Sessions are never resumed, whatever the configurations say, and connections with TLS 1.2 are refused. The
    /// verifiers see new connections only: a live one ends when the peer's own certificate expires, and
    /// [`reload`](Tls::reload) is an error.
    ///
    /// # Examples
    /// ```no_run
    /// use std::sync::Arc;
    ///
    /// use actix_hermod::Tls;
    /// use actix_hermod::transport::rustls::{ClientConfig, ServerConfig};
    ///
    /// fn transport(client: ClientConfig, server: ServerConfig) -> Tls {
    ///     Tls::from_configs(Arc::new(client), Arc::new(server))
    /// }
    /// ```
    pub fn from_configs(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> Tls {
        Tls::with(State::of(client, server), None)
    }

    fn with(state: State, files: Option<TlsBuilder>) -> Tls {
        Tls { shared: Arc::new(Shared { states: tokio::sync::watch::Sender::new(Arc::new(state)), files }) }
    }

    /// Reads the certificate, its key and the authorities again, for all clones of this transport.
    ///
    /// New connections are made with them. Live links are looked at once more, on their nodes' threads: those whose
    /// peer would not be let in any more end, and are dialled again like all links that break. The others go on as they
    /// are, also those at which this node has shown its old certificate.
    ///
    /// It reads files, so it blocks for a moment. Nothing calls it by itself: call it when the files have changed, or
    /// once a day.
    ///
    /// # Errors
    /// Those of [`TlsBuilder::build`], and [`TlsError::NoFiles`] for [`from_configs`](Tls::from_configs). Then all
    /// stays as it was: a certificate that is replaced before its key, say, leaves the old pair in force.
    ///
    /// # Examples
    /// ```no_run
    /// # let tls = actix_hermod::Tls::server_only().authority_pem("ca.pem")?.build()?;
    /// if let Err(error) = tls.reload() {
    ///     eprintln!("the certificates stay as they were: {error}");
    /// }
    /// # Ok::<(), actix_hermod::TlsError>(())
    /// ```
    pub fn reload(&self) -> Result<(), TlsError> {
        let files = self.shared.files.as_ref().ok_or(TlsError::NoFiles)?;
        self.shared.states.send_replace(Arc::new(files.state()?));
        Ok(())
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.shared.states.borrow())
    }

    async fn dial(&self, host: &str, tcp: Tcp, ends: Ends) -> io::Result<Channel> {
        let mut states = self.shared.states.subscribe();
        let state = Arc::clone(&states.borrow_and_update());
        let config = state.client.clone().ok_or_else(no_authority)?;
        let name = match &state.peer_name {
            Some(name) => name.clone(),
            None => name_of(host)?,
        };
        let connecting = TlsConnector::from(config).connect(name.clone(), tcp);
        let tls = match connecting.into_fallible().await {
            Ok(tls) => tls,
            Err((error, tcp)) => return Err(refused(error, tcp).await),
        };
        let proven = Proven::of(tls.get_ref().1)?;
        Ok(proven.channel(tls.into(), ends, Role::Server(name), states))
    }

    /// Makes the handshake as the side that was dialled. The future owns all that it needs, so that it runs beside
    /// others.
    async fn greet(self, tcp: Tcp, ends: Ends) -> io::Result<Channel> {
        let mut states = self.shared.states.subscribe();
        let config = states.borrow_and_update().server.clone().ok_or_else(no_certificate)?;
        let tls = match TlsAcceptor::from(config).accept(tcp).into_fallible().await {
            Ok(tls) => tls,
            Err((error, tcp)) => return Err(refused(error, tcp).await),
        };
        let proven = Proven::of(tls.get_ref().1)?;
        Ok(proven.channel(tls.into(), ends, Role::Client, states))
    }
}

fn no_authority() -> io::Error {
    TlsFault::Incomplete("this node has no authority to which certificates lead, so it cannot dial: see authority_pem")
        .into_io()
}

fn no_certificate() -> io::Error {
    TlsFault::Incomplete("this node has no certificate, so it cannot listen: see certificate_pem").into_io()
}

/// Returns the name by which a host's certificate is checked: without the zone of a link-local address.
fn name_of(host: &str) -> io::Result<ServerName<'static>> {
    let plain = host.split_once('%').map_or(host, |(ip, _)| ip);
    ServerName::try_from(plain.to_owned()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{host} is no name that a certificate could have"))
    })
}

/// Returns the error of a handshake that has failed, once the peer has read the alert.
async fn refused(error: io::Error, tcp: Tcp) -> io::Error {
    over_tcp::hang_up(tcp).await;
    TlsFault::explain_handshake(error)
}

/// The results of a handshake.
struct Proven {
    binding: [u8; 32],
    chain: Vec<rustls::pki_types::CertificateDer<'static>>,
}

impl Proven {
    fn of<Data>(session: &ConnectionCommon<Data>) -> io::Result<Proven> {
        if session.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err(TlsFault::Incomplete("the connection has another version than TLS 1.3").into_io());
        }
        let binding = session.export_keying_material([0; 32], EXPORTER, Some(&[]));
        let binding = binding.map_err(|error| TlsFault::from(error).into_io())?;
        let chain = session.peer_certificates().unwrap_or_default();
        Ok(Proven { binding, chain: chain.iter().map(|certificate| certificate.clone().into_owned()).collect() })
    }

    fn channel(
        self,
        tls: TlsStream<Tcp>,
        ends: Ends,
        role: Role,
        states: tokio::sync::watch::Receiver<Arc<State>>,
    ) -> Channel {
        let identity = match self.chain.first() {
            Some(certificate) => {
                let fingerprint = Sha256::digest(certificate).into();
                Identity::certificate(Contents::of(certificate).names, fingerprint)
            }
            None => Identity::Unknown,
        };
        let verdict = Arc::new(Verdict::default());
        let watcher = (!self.chain.is_empty()).then(|| {
            let gone = CancellationToken::new();
            let shown = Shown { role, chain: self.chain };
            tokio::spawn(watch(shown, states, Arc::clone(&verdict), gone.clone()));
            gone.drop_guard()
        });
        ends.channel(Guarded { tls, verdict, _watcher: watcher }).identity(identity).binding(self.binding)
    }
}

impl OverTcp for Tls {
    fn may_dial(&self) -> io::Result<()> {
        if self.state().client.is_some() { Ok(()) } else { Err(no_authority()) }
    }

    fn may_listen(&self) -> io::Result<()> {
        if self.state().server.is_some() { Ok(()) } else { Err(no_certificate()) }
    }

    fn dialled<'a>(&'a self, host: &'a str, tcp: Tcp, ends: Ends) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(self.dial(host, tcp, ends))
    }

    fn accepted(&self, tcp: Tcp, ends: Ends) -> BoxFuture<'static, io::Result<Channel>> {
        Box::pin(self.clone().greet(tcp, ends))
    }
}

impl Transport for Tls {
    fn scheme(&self) -> &str {
        "tls"
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Channel>> {
        Box::pin(over_tcp::connect(address, None, self))
    }

    fn bind<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Incoming>>> {
        Box::pin(over_tcp::bind(address, Arc::new(self.clone())))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.shared.files).finish_non_exhaustive()
    }
}
