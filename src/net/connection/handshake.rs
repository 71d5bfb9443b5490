//! The greeting on a connection, in each role: it establishes who is at the other end, and that both speak this
//! protocol. Its frames and rules are in [`wire::greeting`](crate::wire::greeting); here they are read, written, and
//! acted upon.
//!
//! An unproven peer costs a slot among the unproven connections, and a signature. Nothing is noted under an id before
//! it is proven.

use std::io;
use std::sync::Arc;

use bytes::Buf;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::sync::OwnedSemaphorePermit;

use super::dispatch::Dispatcher;
use super::dispatch::Signal;
use super::numbers::AnnouncedNumbers;
use super::refusal::FirstWords;
use super::refusal::first_words;
use super::refusal::goodbye_instead;
use super::refusal::linger;
use crate::env;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::net::control::settlement::ConnectionNames;
use crate::net::peers::admission::NoRoom;
use crate::net::peers::admission::UnprovenConnection;
use crate::net::shared::NodeInner;
use crate::net::transport::Stream;
use crate::observe::event::Event;
use crate::observe::peer_info::PeerInfo;
use crate::reason::DropReason;
use crate::reason::Side;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::Front;
use crate::wire::frames::Raw;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::frames::proof::BESIDE_ENDPOINTS;
use crate::wire::frames::proof::Disclosure;
use crate::wire::greeting::Dialled;
use crate::wire::greeting::Dialling;
use crate::wire::greeting::Greeted;
use crate::wire::greeting::GreetingError;
use crate::wire::greeting::Ourselves;
use crate::wire::greeting::Step;
use crate::wire::greeting::Unwelcomed;
use crate::wire::hello::Hello;
use crate::wire::hello::OLDEST_VERSION;
use crate::wire::hello::VERSION;
use crate::wire::hello::put_versions;

/// Bytes of room added at a time while a greeting is read.
const ROOM: usize = 1024;

/// A connection whose peer is known.
pub(crate) struct Established {
    pub(crate) stream: Stream,
    /// The limits and features of the other side.
    pub(crate) hello: Hello,
    /// The names that both ends give the connection.
    pub(crate) names: ConnectionNames,
    pub(super) numbers: AnnouncedNumbers,
    /// Bytes that were read beyond the greeting.
    pub(crate) rest: BytesMut,
    pub(crate) standing: Standing,
    pub(crate) info: Arc<PeerInfo>,
}

/// The progress of the greeting when this side may write.
pub(crate) enum Standing {
    /// This side was dialled, and has welcomed the peer, which lists these endpoints to dial it at.
    Welcomed(Vec<String>),
    /// This side has dialled. Nothing is acted upon before the peer's welcome, which is its first frame.
    Unwelcomed(Box<Unwelcomed>),
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Greeting(#[from] GreetingError),
    #[error("connecting and greeting took too long; see handshake_timeout")]
    Late,
    #[error("the node has as many connections as it may have")]
    TooMany,
    #[error("not dialled for the peer that has named the endpoint: {0}; see max_connections")]
    NoShare(NoRoom),
    #[error("{0}")]
    NoRoom(NoRoom),
    #[error("the node is shutting down")]
    Closing,
    #[error("the peer has turned this node away: {0}")]
    TurnedAway(String),
    #[error("the peer has given the connection up for another")]
    GivenUp,
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("the peer speaks TLS, and this endpoint is plain: both sides need one that begins with tls:, or none")]
    Tls,
}

/// The accept policy of one side has refused the other.
#[derive(Debug, thiserror::Error)]
#[error("{} the connection: {reason}", if *by == Side::Here { "this node's accept policy refuses" } else { "the peer refuses" })]
pub(crate) struct Refusal {
    /// The peer, if it is known.
    pub(crate) peer: Option<NodeId>,
    pub(crate) by: Side,
    pub(crate) reason: String,
}

impl Refusal {
    /// Tells the subscribers of the node.
    pub(super) fn tell(&self, node: &NodeInner) {
        let Refusal { peer, by, reason } = self;
        node.observer.tell(&Event::PeerRefused { peer: *peer, by: *by, reason: reason.clone() });
    }
}

impl From<Violation> for HandshakeError {
    fn from(violation: Violation) -> HandshakeError {
        GreetingError::from(violation).into()
    }
}

impl HandshakeError {
    /// Whether nobody listens at the other end, or another node than expected, or one that lets this node not in; or
    /// this node has no way to get there.
    pub(crate) fn nobody_listens(&self) -> bool {
        match self {
            HandshakeError::Io(error) => {
                let kinds = [io::ErrorKind::ConnectionRefused, io::ErrorKind::NotFound, io::ErrorKind::Unsupported];
                kinds.contains(&error.kind())
            }
            HandshakeError::Greeting(GreetingError::AnotherNode { .. }) | HandshakeError::Refused(_) => true,
            _ => false,
        }
    }

    /// Returns the reason why messages that wait for the connection are dropped.
    pub(super) fn drops_as(&self) -> DropReason {
        match self {
            HandshakeError::Refused(_) => DropReason::Refused,
            _ => DropReason::NotConnected,
        }
    }
}

/// Greets as the dialling side, and asks how much the peer has read of earlier connections. If a node is `expected`
/// there, discloses nothing to another node.
pub(crate) async fn dialler(
    node: &Arc<NodeInner>,
    mut stream: Stream,
    expected: Option<NodeId>,
) -> Result<Established, HandshakeError> {
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    let numbers = AnnouncedNumbers::reserve(&node.limits, node.quotas());
    let ours = hello_of(node, &numbers);
    let dialling = Dialling::begin(&ours, stream.binding, expected, &mut out);
    // If this side is turned away, it may not be able to write any more, but can still read the reason.
    let said = stream.say(&out).await;
    let limit = node.limits.handshake_bytes;
    let read = read_hello(&mut stream, &mut buffer, |buffer| Dialling::is_answered(buffer, limit)).await;
    match read {
        Err(error @ (HandshakeError::TurnedAway(_) | HandshakeError::Tls)) => return Err(error),
        read => said.map_err(HandshakeError::from).and(read)?,
    }
    let alone = node.greetings.alone().await;
    let Step::To((proving, Greeted { peer, hello }), size) = dialling.answered(&buffer, limit)? else {
        return Err(Violation::Truncated.into());
    };
    drop(alone);
    buffer.advance(size);
    out.clear();
    // Before the proof: a peer that is refused learns nothing about this node.
    let info = judged(node, &mut stream, peer.node).await?;
    let alone = node.greetings.alone().await;
    let unwelcomed = proving.prove(ourselves(node), disclosed(node, node.settlement.untold(peer)), &mut out);
    drop(alone);
    stream.say(&out).await?;
    let names = ConnectionNames { peer, local: ours.connection, remote: hello.connection };
    let standing = Standing::Unwelcomed(Box::new(unwelcomed));
    Ok(Established { stream, hello, names, numbers, rest: buffer, standing, info })
}

/// Greets as the side that was dialled. Says who it is only to a peer that speaks the protocol, and where else it
/// listens only to a proven peer.
pub(crate) async fn listener(
    node: &Arc<NodeInner>,
    mut stream: Stream,
    unproven: &UnprovenConnection,
) -> Result<Established, HandshakeError> {
    let (mut buffer, mut out) = (BytesMut::new(), BytesMut::new());
    let limit = node.limits.handshake_bytes;
    let dialled = match read_hello(&mut stream, &mut buffer, |buffer| Ok(Dialled::front(buffer, limit)?)).await {
        // So that a peer of another version can report the mismatch as well, and one with TLS that there is none here.
        Err(
            error @ (HandshakeError::Greeting(GreetingError::Violation(Violation::Version { .. }))
            | HandshakeError::Tls),
        ) => {
            put_versions(&mut out);
            stream.say(&out).await?;
            return Err(error);
        }
        other => other?,
    };
    unproven.is_called(dialled.hello.connection);
    let alone = may_sign(node, unproven, &mut stream, &mut buffer).await?;
    let numbers = AnnouncedNumbers::reserve(&node.limits, &node.quotas_from(unproven.origin()));
    let ours = hello_of(node, &numbers);
    let name = ours.connection;
    let answered = dialled.answer(ours, ourselves(node), stream.binding, &mut out);
    drop(alone);
    stream.say(&out).await?;
    let size = read_proof(&mut stream, &mut buffer, limit.saturating_add(BESIDE_ENDPOINTS)).await?;
    let alone = node.greetings.alone().await;
    let proof = front(&buffer, usize::MAX)?;
    let Front::Frame(raw) = proof else { return Err(Violation::Truncated.into()) };
    if raw.kind == kind::GOODBYE {
        return Err(turned_away(node, raw)?);
    }
    let (accepting, Greeted { peer, hello }, theirs) = match answered.proven(raw) {
        Ok(proven) => proven,
        Err(violation) => {
            drop(alone);
            goodbye_instead(&mut stream, Farewell::Violation, &violation.to_string()).await?;
            return Err(violation.into());
        }
    };
    drop(alone);
    buffer.advance(size);
    let info = judged_caller(node, &mut stream, peer.node).await?;
    let names = ConnectionNames { peer, local: name, remote: hello.connection };
    out.clear();
    let alone = node.greetings.alone().await;
    accepting.welcome(&node.key, disclosed(node, settle(node, names, &theirs)), &mut out);
    drop(alone);
    stream.say(&out).await?;
    let standing = Standing::Welcomed(theirs.endpoints);
    Ok(Established { stream, hello, names, numbers, rest: buffer, standing, info })
}

/// Waits before this node signs for an unproven peer that has dialled it, until it is the peer's turn. The turn ends
/// when the permit is dropped. An error if the peer hangs up meanwhile.
async fn may_sign(
    node: &NodeInner,
    unproven: &UnprovenConnection,
    stream: &mut Stream,
    buffer: &mut BytesMut,
) -> Result<Option<OwnedSemaphorePermit>, HandshakeError> {
    // A closing node would only say goodbye to the peer.
    if node.closing.is_cancelled() {
        return Err(HandshakeError::Closing);
    }
    tokio::select! {
        biased;
        turn = node.greetings.turn(unproven.origin()) => Ok(turn),
        error = hung_up(stream, buffer) => Err(error.into()),
    }
}

/// Completes if the peer hangs up before it sends anything further.
async fn hung_up(stream: &mut Stream, buffer: &mut BytesMut) -> io::Error {
    match read_more(stream, buffer).await {
        Ok(()) => std::future::pending().await,
        Err(error) => error,
    }
}

/// Ends the connections that a proven peer has given up, and returns how much was read of them.
fn settle(node: &NodeInner, names: ConnectionNames, theirs: &Disclosure) -> Vec<(ConnectionId, u64)> {
    node.admission.give_up(&theirs.told);
    node.peers.supersede(names.peer, &theirs.told);
    node.holdings.note_ended(names.peer, theirs.told.iter().map(|(connection, _)| *connection));
    node.settlement.settle_asked(&node.observer, names.peer, &theirs.told)
}

fn ourselves(node: &NodeInner) -> Ourselves<'_> {
    Ourselves { key: &node.key, epoch: node.id.epoch }
}

/// Returns the hello of this node for one more connection.
fn hello_of(node: &NodeInner, numbers: &AnnouncedNumbers) -> Hello {
    Hello {
        versions: (OLDEST_VERSION, VERSION),
        features: feature::KNOWN,
        connection: ConnectionId::random(),
        max_frame: u32::try_from(node.limits.max_message).unwrap_or(u32::MAX),
        numbers: u32::try_from(numbers.count()).unwrap_or(u32::MAX),
        nonce: env::random_bytes(),
    }
}

/// Returns the disclosure of this node to a proven peer. Endpoints are hints: those that would make the frame longer
/// than any peer reads are left out.
fn disclosed(node: &NodeInner, told: Vec<(ConnectionId, u64)>) -> Disclosure {
    let endpoints = node.endpoints().iter().map(ToString::to_string).collect();
    let mut disclosed = Disclosure { endpoints, told };
    disclosed.shorten(node.limits.handshake_bytes);
    disclosed
}

/// Reads on until `read` finds a whole hello at the front, and removes from the buffer as many bytes as `read` says.
async fn read_hello<T>(
    stream: &mut Stream,
    buffer: &mut BytesMut,
    read: impl Fn(&[u8]) -> Result<Step<T>, GreetingError>,
) -> Result<T, HandshakeError> {
    loop {
        match first_words(buffer) {
            FirstWords::Greeting => {}
            FirstWords::Wants => {
                read_more(stream, buffer).await?;
                continue;
            }
            FirstWords::Refusal(words) => return Err(HandshakeError::TurnedAway(words)),
            FirstWords::Tls => return Err(HandshakeError::Tls),
        }
        match read(buffer)? {
            Step::To(next, size) => {
                buffer.advance(size);
                return Ok(next);
            }
            Step::Wants => read_more(stream, buffer).await?,
        }
    }
}

/// Reads on until a proof of at most `limit` bytes stands at the front, and returns its size.
async fn read_proof(stream: &mut Stream, buffer: &mut BytesMut, limit: usize) -> Result<usize, HandshakeError> {
    loop {
        match front(buffer, limit)? {
            Front::Frame(raw) => return Ok(raw.size),
            Front::Wants(_) => read_more(stream, buffer).await?,
        }
    }
}

async fn read_more(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<()> {
    buffer.reserve(ROOM);
    match stream.read.read_buf(buffer).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer hung up before it had greeted")),
        _ => Ok(()),
    }
}

/// Asks the accept policy about a peer, which has proven that it is that node. A peer that is refused is told so.
async fn judged(node: &NodeInner, stream: &mut Stream, peer: NodeId) -> Result<Arc<PeerInfo>, HandshakeError> {
    let info = Arc::new(stream.info(peer));
    if let Err(reason) = node.policy.judge(&info) {
        let refusal = Refusal { peer: Some(peer), by: Side::Here, reason };
        refusal.tell(node);
        goodbye_instead(stream, Farewell::Refused, &refusal.reason).await?;
        return Err(refusal.into());
    }
    Ok(info)
}

/// Does the same for a peer that has dialled, and waits until a peer that is refused has read so.
async fn judged_caller(node: &NodeInner, stream: &mut Stream, peer: NodeId) -> Result<Arc<PeerInfo>, HandshakeError> {
    let judged = judged(node, stream, peer).await;
    if matches!(judged, Err(HandshakeError::Refused(_))) {
        linger(stream).await;
    }
    judged
}

/// Returns the error for a peer that says goodbye in place of its proof.
fn turned_away(node: &NodeInner, raw: Raw<'_>) -> Result<HandshakeError, Violation> {
    let Goodbye { why, detail, .. } = Goodbye::read(raw.payload)?;
    let reason = detail.to_owned();
    if why != Farewell::Refused {
        return Ok(HandshakeError::TurnedAway(reason));
    }
    let refusal = Refusal { peer: None, by: Side::Peer, reason };
    refusal.tell(node);
    Ok(refusal.into())
}

impl Dispatcher {
    /// Handles the peer's first frame: its welcome, or the reason for a refusal.
    pub(super) fn first_frame(&mut self, unwelcomed: Unwelcomed, raw: Raw<'_>) -> Result<Signal, Violation> {
        if raw.kind == kind::GOODBYE {
            let goodbye = Goodbye::read(raw.payload)?;
            return Ok(Signal::Goodbye(goodbye.why, goodbye.detail.to_owned()));
        }
        let welcome = unwelcomed.welcome(raw)?;
        self.context.welcomed(&welcome);
        Ok(Signal::Welcomed)
    }
}
