//! The first exchange on a connection, in each role: who is there, and do both speak this protocol.

use std::io;
use std::sync::Arc;

use bytes::Buf;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::dispatch::Dispatcher;
use super::dispatch::Signal;
use crate::handle::ports::Router;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::net::control::settlement::ConnectionNames;
use crate::net::peers::identity::Proof;
use crate::net::shared::NodeInner;
use crate::net::transport::Stream;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::Front;
use crate::wire::frames::Raw;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::frames::resume::Resume;
use crate::wire::handshake::Hello;
use crate::wire::handshake::HelloFront;
use crate::wire::handshake::OLDEST_VERSION;
use crate::wire::handshake::VERSION;

/// The longest resume frame that is waited for, in bytes, extensions included.
const MAX_RESUME: usize = 1024;

/// A connection whose other end is known.
pub(crate) struct Established {
    pub(crate) stream: Stream,
    pub(crate) hello: Hello,
    /// Both ends' names of the connection.
    pub(crate) names: ConnectionNames,
    /// What was read beyond the greeting.
    pub(crate) rest: BytesMut,
    /// Whether the peer has resumed; if not, its first frame will.
    pub(crate) resumed: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("the node id {0} was first claimed with another token")]
    Unproven(NodeId),
    #[error("connecting and greeting took too long; see handshake_timeout")]
    Late,
    #[error("the node has as many connections as it may have")]
    TooMany,
    #[error("the node is shutting down")]
    Closing,
    #[error("the peer has given the connection up for another")]
    GivenUp,
}

impl HandshakeError {
    /// Whether there is nobody at the other end who could be greeted.
    pub(crate) fn nobody_listens(&self) -> bool {
        matches!(self, HandshakeError::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ))
    }
}

/// Greets as the side that has opened the connection, and asks how much the peer has read of earlier ones.
pub(crate) async fn dialler(node: &Arc<NodeInner>, mut stream: Stream) -> Result<Established, HandshakeError> {
    let mut buffer = BytesMut::new();
    let ours = ConnectionId::random();
    say_hello(node, &mut stream, ours).await?;
    let hello = read_hello(node, &mut stream, &mut buffer).await?;
    let told = node.settlement.tell(hello.node, node.settlement.untold(hello.node));
    resume(node, &mut stream, &hello, told).await?;
    let names = ConnectionNames { peer: hello.node, ours, theirs: hello.connection };
    Ok(Established { stream, hello, names, rest: buffer, resumed: false })
}

/// Greets as the side that was called. Says who it is only to one who speaks the protocol, and shows its token only to
/// one who has shown the right one.
pub(crate) async fn listener(node: &Arc<NodeInner>, mut stream: Stream) -> Result<Established, HandshakeError> {
    let mut buffer = BytesMut::new();
    let hello = match read_hello(node, &mut stream, &mut buffer).await {
        // So that a peer of another version, too, can say what is wrong.
        Err(HandshakeError::Violation(violation @ Violation::Version { .. })) => {
            say_hello(node, &mut stream, ConnectionId::random()).await?;
            return Err(violation.into());
        }
        other => other?,
    };
    let names = ConnectionNames { peer: hello.node, ours: ConnectionId::random(), theirs: hello.connection };
    // Whatever becomes of it, the peer may take the connection for up from now on.
    node.settlement.record_unproven(names);
    say_hello(node, &mut stream, names.ours).await?;
    let theirs = read_resume(&mut stream, &mut buffer).await?;
    if node.peers.prove(hello.node, theirs.token) == Proof::Refused {
        let mut out = BytesMut::new();
        Goodbye { why: Farewell::Unproven, read: 0, detail: "this node id is another's" }.put(&mut out);
        stream.write.write_all(&out).await?;
        stream.write.shutdown().await?;
        return Err(HandshakeError::Unproven(hello.node));
    }
    node.peers.supersede(hello.node, &theirs.told);
    node.holdings.note_ended(hello.node, theirs.told.iter().map(|(connection, _)| *connection));
    node.settlement.settle_all(&node.observer, hello.node, &theirs.told);
    let told = node.settlement.tell(hello.node, theirs.told.iter().map(|(connection, _)| *connection));
    resume(node, &mut stream, &hello, told).await?;
    if !node.settlement.prove(names) {
        return Err(HandshakeError::GivenUp);
    }
    Ok(Established { stream, hello, names, rest: buffer, resumed: true })
}

/// Says who this node is, and what it calls the connection.
async fn say_hello(node: &NodeInner, stream: &mut Stream, connection: ConnectionId) -> io::Result<()> {
    let mut hello = Hello {
        versions: (OLDEST_VERSION, VERSION),
        features: feature::KNOWN,
        node: node.id,
        connection,
        max_frame: u32::try_from(node.limits.max_message).unwrap_or(u32::MAX),
        numbers: u32::try_from(node.limits.interned).unwrap_or(u32::MAX),
        endpoints: node.endpoints().iter().map(ToString::to_string).collect(),
    };
    let mut out = BytesMut::new();
    hello.put(&mut out);
    // Endpoints are hints: what would make the hello longer than any peer reads is left out.
    while out.len() > node.limits.handshake_bytes && hello.endpoints.pop().is_some() {
        out.clear();
        hello.put(&mut out);
    }
    stream.write.write_all(&out).await
}

async fn resume(
    node: &NodeInner,
    stream: &mut Stream,
    hello: &Hello,
    told: Vec<(ConnectionId, u64)>,
) -> io::Result<()> {
    let token = node.secret.token_for(hello.node);
    let mut out = BytesMut::new();
    Resume { token, told }.put(&mut out);
    stream.write.write_all(&out).await
}

async fn read_hello(node: &NodeInner, stream: &mut Stream, buffer: &mut BytesMut) -> Result<Hello, HandshakeError> {
    loop {
        match Hello::front(buffer, node.limits.handshake_bytes)? {
            HelloFront::Hello(hello, size) => {
                buffer.advance(size);
                return Ok(hello);
            }
            HelloFront::Wants(_) => read_more(stream, buffer).await?,
        }
    }
}

async fn read_resume(stream: &mut Stream, buffer: &mut BytesMut) -> Result<Resume, HandshakeError> {
    loop {
        match front(buffer, MAX_RESUME)? {
            Front::Frame(raw) if raw.kind == kind::RESUME => {
                let resume = Resume::read(raw.payload)?;
                let size = raw.size;
                buffer.advance(size);
                return Ok(resume);
            }
            Front::Frame(raw) => return Err(Violation::OutOfTurn(raw.kind).into()),
            Front::Wants(_) => read_more(stream, buffer).await?,
        }
    }
}

async fn read_more(stream: &mut Stream, buffer: &mut BytesMut) -> io::Result<()> {
    buffer.reserve(MAX_RESUME);
    match stream.read.read_buf(buffer).await? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the peer hung up before it had greeted")),
        _ => Ok(()),
    }
}

impl Dispatcher {
    /// The peer resumes, or says why it does not.
    pub(super) fn first_frame(&mut self, raw: Raw<'_>) -> Result<Signal, Violation> {
        match raw.kind {
            kind::RESUME => {
                let resume = Resume::read(raw.payload)?;
                match self.context.peers.prove(self.context.peer, resume.token) {
                    Proof::Proven => {
                        self.resumed = true;
                        self.context.settle(&resume.told);
                        Ok(Signal::Proven)
                    }
                    Proof::Refused => Err(Violation::Unproven),
                }
            }
            kind::GOODBYE => {
                let goodbye = Goodbye::read(raw.payload)?;
                Ok(Signal::Goodbye(goodbye.why, goodbye.detail.to_owned()))
            }
            kind => Err(Violation::OutOfTurn(kind)),
        }
    }
}
