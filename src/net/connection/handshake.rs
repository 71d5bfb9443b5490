//! The first exchange on a connection, in each role: who is there, and do both speak this protocol.

use std::io;
use std::sync::Arc;

use bytes::Buf;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use crate::handle::ports::Household;
use crate::ident::ConnectionId;
use crate::ident::NodeId;
use crate::net::control::settlement::Names;
use crate::net::peers::identity::Proof;
use crate::net::shared::House;
use crate::net::transport::Stream;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::Front;
use crate::wire::frames::front;
use crate::wire::frames::goodbye::Farewell;
use crate::wire::frames::goodbye::Goodbye;
use crate::wire::frames::kind;
use crate::wire::frames::resume::Resume;
use crate::wire::handshake::Greeting;
use crate::wire::handshake::Hello;
use crate::wire::handshake::OLDEST_VERSION;
use crate::wire::handshake::VERSION;

/// The longest resume frame that is waited for, in bytes, extensions included.
const MAX_RESUME: usize = 1024;

/// A connection whose other end is known.
pub(crate) struct Greeted {
    pub(crate) stream: Stream,
    pub(crate) hello: Hello,
    /// Both ends' names of the connection.
    pub(crate) names: Names,
    /// What was read beyond the greeting.
    pub(crate) rest: BytesMut,
    /// Whether the peer has resumed; if not, its first frame will.
    pub(crate) resumed: bool,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GreetError {
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

impl GreetError {
    /// Whether there is nobody at the other end who could be greeted.
    pub(crate) fn nobody_listens(&self) -> bool {
        matches!(self, GreetError::Io(error) if matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
        ))
    }
}

/// Greets as the side that has opened the connection, and asks how much the peer has read of earlier ones.
pub(crate) async fn dialler(house: &Arc<House>, mut stream: Stream) -> Result<Greeted, GreetError> {
    let mut buffer = BytesMut::new();
    let ours = ConnectionId::random();
    say_hello(house, &mut stream, ours).await?;
    let hello = read_hello(house, &mut stream, &mut buffer).await?;
    let told = house.books.tell(hello.node, house.books.untold(hello.node));
    resume(house, &mut stream, &hello, told).await?;
    let names = Names { peer: hello.node, ours, theirs: hello.connection };
    Ok(Greeted { stream, hello, names, rest: buffer, resumed: false })
}

/// Greets as the side that was called. Says who it is only to one who speaks the protocol, and shows its token only to
/// one who has shown the right one.
pub(crate) async fn listener(house: &Arc<House>, mut stream: Stream) -> Result<Greeted, GreetError> {
    let mut buffer = BytesMut::new();
    let hello = match read_hello(house, &mut stream, &mut buffer).await {
        // So that a peer of another version, too, can say what is wrong.
        Err(GreetError::Violation(violation @ Violation::Version { .. })) => {
            say_hello(house, &mut stream, ConnectionId::random()).await?;
            return Err(violation.into());
        }
        other => other?,
    };
    let names = Names { peer: hello.node, ours: ConnectionId::random(), theirs: hello.connection };
    // Whatever becomes of it, the peer may take the connection for up from now on.
    house.books.enter_unproven(names);
    say_hello(house, &mut stream, names.ours).await?;
    let theirs = read_resume(&mut stream, &mut buffer).await?;
    if house.links.prove(hello.node, theirs.token) == Proof::Refused {
        let mut out = BytesMut::new();
        Goodbye { why: Farewell::Unproven, read: 0, detail: "this node id is another's" }.put(&mut out);
        stream.write.write_all(&out).await?;
        stream.write.shutdown().await?;
        return Err(GreetError::Unproven(hello.node));
    }
    house.links.supersede(hello.node, &theirs.told);
    house.books.settle_all(&house.observer, hello.node, &theirs.told);
    let told = house.books.tell(hello.node, theirs.told.iter().map(|(connection, _)| *connection));
    resume(house, &mut stream, &hello, told).await?;
    if !house.books.prove(names) {
        return Err(GreetError::GivenUp);
    }
    Ok(Greeted { stream, hello, names, rest: buffer, resumed: true })
}

/// Says who this node is, and what it calls the connection.
async fn say_hello(house: &House, stream: &mut Stream, connection: ConnectionId) -> io::Result<()> {
    let mut hello = Hello {
        versions: (OLDEST_VERSION, VERSION),
        features: feature::KNOWN,
        node: house.id,
        connection,
        max_frame: u32::try_from(house.limits.max_message).unwrap_or(u32::MAX),
        numbers: u32::try_from(house.limits.interned).unwrap_or(u32::MAX),
        endpoints: house.endpoints().iter().map(ToString::to_string).collect(),
    };
    let mut out = BytesMut::new();
    hello.put(&mut out);
    // Endpoints are hints: what would make the hello longer than any peer reads is left out.
    while out.len() > house.limits.handshake_bytes && hello.endpoints.pop().is_some() {
        out.clear();
        hello.put(&mut out);
    }
    stream.write.write_all(&out).await
}

async fn resume(house: &House, stream: &mut Stream, hello: &Hello, told: Vec<(ConnectionId, u64)>) -> io::Result<()> {
    let token = house.secret.token_for(hello.node);
    let mut out = BytesMut::new();
    Resume { token, told }.put(&mut out);
    stream.write.write_all(&out).await
}

async fn read_hello(house: &House, stream: &mut Stream, buffer: &mut BytesMut) -> Result<Hello, GreetError> {
    loop {
        match Hello::front(buffer, house.limits.handshake_bytes)? {
            Greeting::Hello(hello, size) => {
                buffer.advance(size);
                return Ok(hello);
            }
            Greeting::Wants(_) => read_more(stream, buffer).await?,
        }
    }
}

async fn read_resume(stream: &mut Stream, buffer: &mut BytesMut) -> Result<Resume, GreetError> {
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
