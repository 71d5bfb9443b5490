//! The protocol, as bytes: pure functions and state machines without a socket, a clock, a runtime or an actor.
//!
//! This page is the specification of version 1. Golden vectors (`tests/golden/wire-v1.txt`) pin every byte of it.
//! Nothing that a peer sends can make this module panic, read past what it was given, or reserve memory beyond the
//! limits named here.
//!
//! # The stream
//! One reliable, ordered stream of bytes between two nodes (TCP, a Unix socket, TLS above either). Both directions are
//! alike but for the order of the first messages:
//!
//! ```text
//!      dialling node                                     listening node
//!        │  1 hello: what I accept                            │
//!        ├───────────────────────────────────────────────────▶│
//!        │             2 hello: what I accept, who I am (signed)
//!        │◀───────────────────────────────────────────────────┤
//!        │  3 proof: who I am, what I read (signed)           │
//!        ├───────────────────────────────────────────────────▶│
//!        │  post ▶ post ▶ post …                              │
//!        ├───────────────────────────────────────────────────▶│
//!        │    4 welcome: once the proof was right (signed)    │
//!        │◀───────────────────────────────────────────────────┤
//!        │               post ▶ release ▶ pong ▶ …            │
//!        │◀──────────────────────────────────────────────────▶│
//!        │  goodbye: the last frame of this direction         │
//!        ├───────────────────────────────────────────────────▶│
//!        │                            goodbye, end of stream  │
//!        │◀───────────────────────────────────────────────────┤
//! ```
//!
//! # Values
//! | written | is |
//! |---|---|
//! | `u8`, `u16`, `u32`, `u64` | little-endian, of fixed size |
//! | `number` | unsigned, 64 bits at most, 7 bits a byte, lowest first, high bit set on all but the last byte |
//! | `id` | 16 bytes |
//! | `bytes` | `number` of bytes, then the bytes |
//! | `text` | `bytes` that are UTF-8; names have at most 255 bytes, endpoints 300 |
//! | `extensions` | pairs of a `number` (which extension) and `bytes`, to the end; a reader skips what it does not know |
//!
//! # Greeting
//! A node is an Ed25519 key (RFC 8032): its id is the first 16 bytes of SHA-256 over `hermod1 node\0` and the public key.
//! Its epoch, 16 random bytes, is fresh at every start: boxes, leases and connections are of one run of a node. Each side
//! shows in the greeting that the key is its own.
//!
//! ## Hello
//! Not a frame: the first thing on the stream, in each direction once.
//!
//! | part | type | |
//! |---|---|---|
//! | magic | 8 bytes | `HERMOD\r\n` |
//! | oldest version | `u16` | that the writer speaks |
//! | newest version | `u16` | that the writer speaks; the newest that both speak is spoken |
//! | length | `u32` | of what follows; with the 16 bytes so far at most the reader's limit, by default 1,024 |
//! | features | `u64` | bits of what the writer may be sent: 1, reports; 2, questions for shapes; 4, watches; 8, pressure; 16, fragments; 32, holds; 64, restated leases; others are ignored |
//! | connection | `id` | the writer's name for this connection, fresh and random |
//! | max frame | `u32` | longest frame that the writer reads (its own limit, or less) |
//! | numbers | `u32` | how many handles the reader may give numbers to; at least 64 are always allowed |
//! | nonce | 32 bytes | fresh and random |
//! | epoch | `id` | of the writer, in the hello of the listening node only |
//! | public key | 32 bytes | of the writer, likewise |
//! | | `extensions` | none so far |
//! | signature | 64 bytes | in the hello of the listening node only |
//!
//! The dialling node says nothing about itself before it knows who is there. A listening node that speaks none of its
//! versions answers with a hello that ends behind its length, 0.
//!
//! ## Proof and welcome
//! The first frames of the dialling and of the listening node. A dialling node that has expected another node hangs up in
//! place of its proof; else its messages may follow at once. A listening node acts on nothing before the proof is right, and
//! a dialling node on nothing before the welcome is: only a goodbye may come in its place.
//!
//! | part | type | |
//! |---|---|---|
//! | epoch | `id` | of the writer, in the proof only |
//! | public key | 32 bytes | of the writer, likewise |
//! | endpoints | `number` ≤ 8, so many `text`s | where the writer can be dialled |
//! | ended connections | `number` ≤ 32, so many pairs of `id` and `number` | see *Settling* |
//! | | `extensions` | none so far |
//! | signature | 64 bytes | |
//!
//! ## Signatures
//! With B for the 32 bytes that the channel below gives to bind to (zeros, for plain TCP and Unix sockets), *m* for the bytes
//! of a message up to its signature, as they are on the stream, and *s* for its signature:
//!
//! | of | is by the | over |
//! |---|---|---|
//! | 2 | listening node | `hermod1 listener\0` ‖ T2, where T2 = SHA-256(m1 ‖ m2 ‖ B) |
//! | 3 | dialling node | `hermod1 dialler\0` ‖ T3, where T3 = SHA-256(T2 ‖ s2 ‖ m3) |
//! | 4 | listening node | `hermod1 welcome\0` ‖ SHA-256(T3 ‖ s3 ‖ m4) |
//!
//! They are checked strictly: no key of small order, and no signature that others could make of one.
//!
//! So nobody takes, squats or replays an id, whatever of other greetings was overheard, and whoever is dialled. Whoever is
//! on the path, or is dialled itself, can pass a greeting on whole while it goes on, and change what follows on a stream that
//! is not protected otherwise: that is what B is for.
//!
//! # Frames
//! `u32` length of the rest (1 to the limit), `u8` kind, payload.
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 0 | | never used |
//! | 1 | proof | first frame of the dialling node: see *Greeting* |
//! | 2 | post | flags `u8`, [extension block], target handle, [handles], body to the end |
//! | 3 | ask | flags `u8`, correlation `number`, [extension block], target handle, [handles], body to the end |
//! | 4 | answer | flags `u8`, correlation `number`, [extension block], [handles], body to the end |
//! | 5 | refuse | correlation `number`, reason `u8`, detail `text` ≤ 256 bytes, `extensions` |
//! | 6 | cancel | correlation `number`, `extensions` |
//! | 7 | release | pairs to the end: box `id` of the frame's reader, how many handles of it `number` |
//! | 8 | report | messages read on this connection `number`, then to the end: box, fingerprint `u64`, reason `u8`, how many `number` |
//! | 9 | ping | nonce `u64`, messages read on this connection `number`, `extensions` |
//! | 10 | pong | the ping's nonce `u64`, messages read on this connection `number`, `extensions` |
//! | 11 | goodbye | why `u8`, messages read on this connection `number`, detail `text` ≤ 256 bytes, `extensions` |
//! | 12 | welcome | first frame of the listening node: see *Greeting* |
//! | 13 | fragment | which frame `number`, how many bytes of it follow this piece `number`, the piece to the end |
//! | 14 | shape? | question, `extensions` |
//! | 15 | shape | the question, and its answer to the end |
//! | 16 | watch | `u8`, box, `extensions` |
//! | 17 | closed | box, why `u8`, `extensions` |
//! | 18 | pressure | to the end: box, how full `u8` |
//! | 19 | hold | pairs to the end: box `id` of the frame's reader, how many handles of it `number` |
//! | 20 | restated | connection `id`s to the end, which have ended, as the reader has called them |
//! | 21–127 | | an unknown one ends the connection |
//! | 128 | remark | box, fingerprint `u64`, reason `u8`, words `text` ≤ 256 bytes, `extensions` |
//! | 129–255 | | an unknown one is skipped |
//!
//! Reports, questions for shapes, watches, pressure, fragments, holds and restated leases are sent only to a peer whose
//! hello has their feature bit, and a reserved kind only to one whose hello has the bit that will define it.
//!
//! A node that ends answers or refuses the requests that it has read, as far as it can, and handles no message that it reads
//! after it has said so, but for answers. So the side that reads goodbye 0 knows of its messages beyond the count of those
//! read that they were not handled, and never will be; of the requests before them that have no answer it knows nothing.
//!
//! Goodbyes say why: 0 shutdown, 1 unneeded, 2 violation of the protocol, 3 no room; others are to come. A node that has no
//! room for a connection may say goodbye 3 in place of its hello, and hang up.
//!
//! A reader need not wait for ever for the rest of a frame, or of frames that are under way in pieces: a writer goes on with
//! what it has begun, as fast as the stream takes it.
//!
//! ## Posts
//! Flags: 1, an extension block follows (`bytes` that are `extensions`); 2, handles follow (`number` ≤ 16,384, so many
//! handles); any other bit ends the connection. Extension 1 is the deadline of an ask, 3 how many relays a post or an
//! ask has passed; 2, trace, is reserved. An extension that stands in a block twice is what it is first.
//! A release returns handles that the writer has let go of, and follows all posts that it wrote before: so what was sent
//! through a handle arrives before the box behind it is let go. A hold says that the writer has handles of the reader's
//! boxes that came to it by other nodes, and will release so many of each beside those that the reader has written to it:
//! such a box is not let go when the node that has introduced it is gone. One that is not there any more is skipped.
//!
//! The target must be a box of the reader. The body is the message in postcard's format, in which an address is the
//! position of its handle in the frame's list, so that body bytes do not depend on the connection. A message whose target does not exist, whose
//! body does not decode, or for which there is no room is dropped; only a malformed frame ends the connection.
//!
//! ## Relays
//! A node that introduces a third node's box does so with a box of its own, *via*, that passes on what is sent to it, as
//! it is: a relay. It leads where the box was reached when it was introduced, and never anywhere else; so it leads to what
//! was there before it, and relays form no circle.
//!
//! Extension 3 of a post or an ask, a `number`, says how many relays have passed it on already; without it, none has, and
//! more than 255 count as 255. A relay writes one more than it has read. It drops a message that has passed as many
//! relays as its node allows, its own not included (drop 34), and every message if its node allows none (drop 32).
//! Answers do not have it: they go back the way that the ask has come.
//!
//! ## Requests
//! An ask is a post that wants an answer, and an answer is a post without a target: flags, extension block, handles and
//! body of both are those of posts. The asker chooses the correlation, any number; an answer, a refuse and a cancel name
//! the ask by it. Each ask is followed by exactly one answer or refuse, in any order among them, or by none if it was
//! cancelled, or if the connection ends first. An answer or refuse to nothing that is asked has crossed a cancel and is
//! skipped, as is a cancel of nothing that is asked. A cancel follows its ask.
//!
//! A number may be asked again once it was answered or refused; one that was cancelled had better not be, because an
//! answer may have crossed the cancel. An ask with the number of one that is unanswered ends the connection: were it
//! refused, or answered, nobody could tell which of the two was meant, and an asker who is told "not handled" may repeat
//! what is being handled. With the connection's end, the outcome of both is unknown, which is true.
//!
//! Extension 1 of an ask, a `number`, is its deadline: so many milliseconds after it was read, nobody waits for the
//! answer any more. An ask without it has none.
//!
//! A reader keeps as many unanswered requests as its own limit says, and refuses further ones (reason 31). A peer that
//! asks on and does not read its refusals is cut off once more of them wait than the reader keeps: none is left out
//! silently, as its asker would wait for it. Asks count as messages read, answers do not.
//!
//! Reasons of a refuse; each number means the same for ever, and later versions add to them:
//!
//! | reason | name | was the request handled? |
//! |---|---|---|
//! | 0 | Abandoned | it may have been: the actor stopped, or left it unanswered |
//! | 1 | NotEncodable | yes, and its result could not be encoded |
//! | 3 | LostOnTheWay | it may have been: it was passed on, and the connection by which it went has ended |
//! | 16–35 | | no: the message was dropped, for the reason of that number in the next table |
//! | others | | unknown: it may have been |
//!
//! Drops, 16 + n for the nth of the reasons of version 1, counted from 0:
//!
//! | drop | name | |
//! |---|---|---|
//! | 16 | OutboxFull | more waited for a connection than its outbox holds |
//! | 17 | HandleShed | more waited behind the process's recipients than they may hold |
//! | 18 | NotConnected | there was no connection |
//! | 19 | Lost | the connection broke before it was written |
//! | 20 | TooLarge | it is longer than a frame may be |
//! | 21 | NotEncodable | the message could not be encoded |
//! | 22 | NoSuchBox | no box has that name or id |
//! | 23 | BoxClosed | the box was closed |
//! | 24 | NewestShed | the box was full |
//! | 25 | OldestShed | the box let it go for a newer one |
//! | 26 | Replaced | a newer message of the same key took its place |
//! | 27 | TypeMismatch | the box takes messages of another shape |
//! | 28 | NotDecodable | the body is not one of the box's type |
//! | 29 | Expired | its deadline passed while it waited |
//! | 30 | Cancelled | it was cancelled before it was handled |
//! | 31 | RequestsFull | too many requests are unanswered |
//! | 32 | Refused | policy forbids it |
//! | 33 | NoRoute | nothing leads to the box any more |
//! | 34 | HopLimit | it was passed on too often |
//! | 35 | Shutdown | the node was shut down |
//!
//! ## Fragments
//! A post, an ask or an answer may be cut into pieces, between which other frames stand. The frames that are cut are
//! counted up in each direction, from 0. The first piece begins with the frame's kind; each has a byte at least; how many
//! bytes follow the first tells how long the frame is, and each further piece must agree. A piece of a frame that is
//! whole, or whose number is not next, ends the connection, and so does a frame of another kind.
//!
//! At most 8 frames are under way in pieces at a time, and all of them together, without their length fields, are no longer
//! than the longest frame that the reader reads. A frame counts where its last piece stands: for settlement, and for the
//! numbers that it sets. A writer that has other messages for the box of a frame that is under way lets them wait behind
//! it. A reader may drop a frame of which no piece has come for long, if no other message and no piece of one has come
//! either, and takes what comes of it later for a violation.
//!
//! ## Handles
//! A handle is a tagged `number`, `n × 4 + tag`:
//!
//! | tag | | followed by |
//! |---|---|---|
//! | 0 | *use n*: what number n was last set to in this direction | |
//! | 1 | *set n*: from here on, n means this | introduction |
//! | 2 | *inline*: this once (n is 0) | introduction |
//! | 3 | ends the connection | |
//!
//! Sets take effect where they stand, before the next handle of the same frame is read, and whatever becomes of the
//! message. Numbers are 0 to the reader's announced count less one. Each connection starts with empty tables; frames
//! other than posts, asks and answers carry no numbers.
//!
//! An introduction is a `u8`: form in the low four bits; `0x10`, a fingerprint follows at the end; `0x20`, the writer
//! counts this handle, each use of it included, and wants it returned in a release; other bits end the connection.
//!
//! | form | means | parts |
//! |---|---|---|
//! | 0 | the reader's box of that name | name `text` |
//! | 1 | the reader's box with that id, or the writer's own way through the reader | box `id` |
//! | 2 | the writer's box | box `id`, name `text` (empty: the id is its name) |
//! | 3 | a third node's box, reached through the writer's box *via* | node `id`, its epoch `id`, box `id`, via `id`, name `text`, endpoints (as in the hello) |
//! | 4 | the box of that name at whatever node listens there | endpoint `text`, name `text` |
//! | 5 | the same, and that node is the reader | endpoint `text`, name `text` |
//! | 6 | the box of that name at that node, if it is the one that listens there | node `id`, endpoint `text`, name `text` |
//!
//! Endpoints of a third node are what the writer was told of it, and may be wrong or mean something else to the reader. A
//! reader that dials one takes it for that node only if it greets as such, in the same epoch; those that every host uses for itself (loopback,
//! a Unix socket) mean something only if the writer is on the reader's host.
//!
//! The fingerprint (`u64`) is that of the shape of the box's message and result; absent or 0 means unchecked.
//!
//! ## Reports
//! A node tells its peer what it dropped of the messages that it read from it: per box, fingerprint and reason (16–35, as
//! above) the number so far on this connection, never a difference, so that a report that is left out costs nothing. What
//! did not change since the last report may be left out. A reader ignores counts that shrink and reasons that it does not
//! know.
//!
//! The fingerprint (`u64`) tells apart messages of several types that were sent to one box: it is that of the shape with
//! which the box was introduced as their target. Of messages that the box had taken it may be that of the shape that the
//! box takes. It is 0 if neither is known, and where the writer keeps no count of their own; such a count is about
//! messages of any shape.
//!
//! A remark has words for a person about the last of the drops that a report counts for that box, fingerprint and reason: of
//! a message that a relay could not pass on as it is too large, its size and the limit. It follows the report, may be left
//! out, and counts nothing.
//!
//! A box is a `u8` and what follows: 0, the box of that name, `text`; 1, the box with that `id`; 2, nothing: all boxes
//! for which the writer keeps no count of their own.
//!
//! ## Shapes
//! Either side may ask the other, at any time, and ends nothing by leaving a question unanswered. A question is a `u8`
//! and what follows: 0, for the shape that has the fingerprint `u64`; 1, for the shape that a box (as in reports) takes;
//! 2, for the names of the writer's boxes in order, from behind the name `text`. The answer repeats the question; behind
//! it stands the canonical encoding of the shape, or nothing if there is none, or as many names (`text`) as the writer
//! cares to put into one frame.
//!
//! ## Settling
//! A connection that ends without a goodbye leaves both sides in doubt about what the other has read of it. The node that
//! dials names in its proof the connections that it is in doubt about, as it has called them in its hellos, those only which
//! it had with this node in this epoch, and says how many messages it has read of each. The other node ends those that it
//! takes for alive or that have not greeted yet, reads no more of them, and says in its welcome, under the same names, how
//! many messages it has read: 0 of one that never came to its proof. It leaves out those of which it does not know. What was
//! written and not read is lost.
//!
//! ## Leases after a break
//! Boxes that a peer holds stay held when a connection ends without a goodbye, for as long as the peer is expected back.
//! On its next connection with the same node, or on another that is up already, a peer states once more what it holds by
//! connections that have ended: a hold for each box, in as many frames as that takes, and behind them one restated frame
//! that names those connections, at most 32 as a rule. The reader then lets go of all that it counted for them, and of
//! their messages that never arrived with it. A connection that it takes for alive ends; one that it does not know is
//! skipped. After a goodbye nothing stays held.
//!
//! ## Watching
//! A watch asks to be told once when a box (as in reports) of the reader is gone: 1. What is not there is gone at once. 0
//! takes it back; any other byte ends the connection. Watching what is watched already changes nothing. A watch ends with
//! its connection; who still wants to know watches anew on the next. A reader may leave a watch without an answer if the
//! writer has very many. Extension 5, a `number`, says for how many milliseconds a third node's box may be out of reach
//! before the writer wants to be told; the reader may have less patience.
//!
//! The answer says why: 0, the box has closed, or there is none; behind a pointer to a third node's box, which is told of
//! the way it leads, also 1, its node is gone; 2, there is no connection to it any more. Others are to come, and mean that
//! the box is gone. It follows what was written before about that box. Extension 6 of an answer 2, a `number`, says since
//! how many milliseconds there has been no connection, if the writer knows.
//!
//! ## Pressure
//! A node tells its peer how full a box (as in reports) is that the peer sends to, from 0, empty, to 255, full: soon
//! after it has become more than half full, and from then on a few times a second when that has changed, until it is
//! nearly empty. A box that was not told of is taken for empty, and so is each at the beginning of a connection.

pub(crate) mod assembly;
pub(crate) mod batch;
pub(crate) mod codec;
pub(crate) mod extensions;
pub(crate) mod features;
pub(crate) mod frames;
pub(crate) mod greeting;
pub(crate) mod handshake;
pub(crate) mod incoming;
pub(crate) mod introduction;
pub(crate) mod numbering;
pub(crate) mod outgoing;
pub(crate) mod target;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod properties;
