//! The protocol, as bytes: pure functions and state machines without a socket, a clock, a runtime or an actor.
//!
//! This page is the specification of version 1. Golden vectors (`src/wire/golden-v1.txt`) pin every byte of it.
//! Nothing that a peer sends can make this module panic, read past its input, or reserve memory beyond the limits named
//! here.
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
//! A node is an Ed25519 key (RFC 8032): its id is the first 16 bytes of SHA-256 over `hermod1 node\0` and the public
//! key. Its epoch, 16 random bytes, is fresh at every start: boxes, leases and connections belong to one run of a node.
//! Each side proves in the greeting that the key is its own.
//!
//! ## Hello
//! The hello is not a frame: it is the first message on the stream, once in each direction.
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
//! The dialling node says nothing about itself before it knows the listener's identity. A listening node that speaks
//! none of the dialling node's versions answers with a hello that ends behind its length, 0.
//!
//! ## Proof and welcome
//! The first frames of the dialling and of the listening node. A dialling node that has expected another node hangs up
//! instead of sending its proof; otherwise its messages may follow at once. A listening node acts on nothing before it
//! has verified the proof, and a dialling node on nothing before it has verified the welcome; only a goodbye may come
//! in place of the welcome, or of the proof.
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
//! With B for the 32 bytes of the channel binding (zeros for plain TCP and Unix sockets), *m* for the bytes of a
//! message up to its signature, as they are on the stream, and *s* for its signature:
//!
//! | of | is by the | over |
//! |---|---|---|
//! | 2 | listening node | `hermod1 listener\0` ‖ T2, where T2 = SHA-256(m1 ‖ m2 ‖ B) |
//! | 3 | dialling node | `hermod1 dialler\0` ‖ T3, where T3 = SHA-256(T2 ‖ s2 ‖ m3) |
//! | 4 | listening node | `hermod1 welcome\0` ‖ SHA-256(T3 ‖ s3 ‖ m4) |
//!
//! Signatures are checked strictly: keys of small order are refused, and so is a signature that others could derive
//! from a valid one.
//!
//! So nobody can take, squat on or replay an id, whatever they have overheard of other greetings, and whichever node is
//! dialled. An attacker on the path, or one that is dialled itself, can pass on a whole greeting while it goes on, and
//! change everything that follows on a stream without other protection: B is there to prevent that.
//!
//! # Frames
//! `u32` length of the rest (1 to the limit), `u8` kind, payload.
//!
//! | kind | name | payload |
//! |---|---|---|
//! | 0 | | never used |
//! | 1 | proof | first frame of the dialling node: see *Greeting* |
//! | 2 | post | flags `u8`, [extension block], target handle, \[handles\], body to the end |
//! | 3 | ask | flags `u8`, correlation `number`, [extension block], target handle, \[handles\], body to the end |
//! | 4 | answer | flags `u8`, correlation `number`, [extension block], \[handles\], body to the end |
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
//! | 129 | unwatched | box, `extensions` |
//! | 130–255 | | an unknown one is skipped |
//!
//! Reports, questions for shapes, watches, pressure, fragments, holds and restated leases are sent only to a peer whose
//! hello has their feature bit, and a reserved kind only to one whose hello has the bit that will define it.
//!
//! A node that ends answers or refuses the requests that it has read, as far as it can, and after its goodbye it
//! handles no message that it reads, except answers. So the side that reads goodbye 0 knows that its messages beyond
//! the stated count were not handled, and never will be; it knows nothing about earlier requests that have no answer.
//!
//! The reasons of a goodbye are 0 shutdown, 1 unneeded, 2 violation of the protocol, 3 no room, 4 refused; later
//! versions may add others. A node that has no room for a connection may send goodbye 3 in place of its hello, and hang
//! up. A node whose policy does not let the other side in sends goodbye 4: the dialling node in place of its proof, once
//! it has verified the listener's hello, and the listening node in place of its welcome, once it has verified the proof.
//! It has read no message then, and a node that was refused dials again after a long pause only.
//!
//! A reader need not wait for ever for the rest of a frame, or of frames that are under way in pieces: a writer
//! continues a frame that it has begun, as fast as the stream takes it.
//!
//! ## Posts
//! Flags: 1, an extension block follows (`bytes` that are `extensions`); 2, handles follow (their `number` ≤ 16,384,
//! then the handles); any other bit ends the connection. Extension 1 is the deadline of an ask, 3 the number of relays
//! that a post or an ask has passed; 2, trace, is reserved. If an extension stands in a block twice, the first one
//! counts.
//!
//! A release returns handles that the writer has dropped, and follows all posts that it wrote before: so messages sent
//! through a handle arrive before the box behind it is released. A hold says that the writer has handles of the
//! reader's boxes that came to it by other nodes, and will release this number of each in addition to those that the
//! reader has written to it: such a box is not released when the node that has introduced it is gone. A box in a hold
//! that does not exist any more is skipped.
//!
//! The target must be a box of the reader. The body is the message in postcard's format, in which an address is the
//! position of its handle in the frame's list, so that body bytes do not depend on the connection. A message is dropped
//! if its target does not exist, its body does not decode, or there is no room for it; only a malformed frame ends the
//! connection.
//!
//! ## Relays
//! A node that introduces a third node's box does so with a box of its own, *via*, that passes on every message
//! unchanged: a relay. A relay leads to the place where the box was reached when it was introduced, and never anywhere
//! else; so it leads to a box that existed before the relay, and relays form no circle.
//!
//! Extension 3 of a post or an ask, a `number`, is the count of relays that have passed it on already; without it the
//! count is 0, and more than 255 count as 255. A relay writes one more than it has read. It drops a message that has
//! passed as many relays as its node allows, itself not included (drop 34), and every message if its node allows none
//! (drop 32). Answers do not have this extension: they go back the way that the ask has come.
//!
//! ## Requests
//! An ask is a post that wants an answer, and an answer is a post without a target: both have the flags, extension
//! block, handles and body of posts. The asker chooses the correlation, any number; an answer, a refuse and a cancel
//! name the ask by it. Each ask is followed by exactly one answer or refuse, in any order among them, or by none if it
//! was cancelled, or if the connection ends first. An answer or refuse that belongs to no open ask has crossed a cancel
//! and is skipped, and so is a cancel that belongs to no open ask. A cancel follows its ask.
//!
//! A correlation may be used again once its ask was answered or refused; after a cancel it should not be, because an
//! answer may have crossed the cancel. An ask with the correlation of an unanswered one ends the connection: if it were
//! refused, or answered, the asker could not tell which of the two was meant, and after "not handled" it might repeat a
//! request that is being handled. When the connection ends instead, the outcome of both is unknown, which is true.
//!
//! Extension 1 of an ask, a `number`, is its deadline: this number of milliseconds after the ask was read, nobody waits
//! for the answer any more. An ask without the extension has no deadline.
//!
//! A reader keeps as many unanswered requests as its own limit says, and refuses further ones (reason 31). A peer that
//! goes on asking and does not read its refusals is cut off once more of them wait than the reader keeps: no refusal is
//! left out silently, as its asker would wait for it. Asks count as messages read, answers do not.
//!
//! Reasons of a refuse; each number means the same for ever, and later versions add to them:
//!
//! | reason | name | was the request handled? |
//! |---|---|---|
//! | 0 | Abandoned | it may have been: the actor stopped, or left it unanswered |
//! | 1 | NotEncodable | yes, and its result could not be encoded |
//! | 3 | LostOnTheWay | it may have been: it was passed on, and the connection by which it went has ended |
//! | 4 | NoRoom | yes, and there was no room for its result on the way back |
//! | 16–35 | | no: the message was dropped, for the reason of that number in the next table |
//! | others | | unknown: it may have been |
//!
//! The code of a drop is 16 + n for the nth of the reasons of version 1, counted from 0:
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
//! A post, an ask or an answer may be cut into pieces, between which other frames may stand. Frames in pieces are
//! numbered in each direction, from 0. The first piece begins with the frame's kind; each piece has at least one byte;
//! the number of bytes that follow the first piece fixes the length of the frame, and each further piece must agree. A
//! piece of a frame that is whole already, or whose number is not the next, ends the connection, and so does a frame of
//! another kind in pieces.
//!
//! At most 8 frames are under way in pieces at a time, and all of them together, without their length fields, are no
//! longer than the longest frame that the reader reads. A frame counts where its last piece stands: for settlement, and
//! for the numbers that it sets. If a writer has other messages for the box of a frame that is under way, they wait
//! behind that frame. A reader may drop a frame of which no piece has come for long, if no other message and no piece
//! of one has come either, and treats later pieces of the frame as a violation.
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
//! A *set* takes effect at once, before the next handle of the same frame is read, whatever becomes of the message.
//! Numbers are 0 to the reader's announced count less one. Each connection starts with empty tables; frames other than
//! posts, asks and answers carry no numbers.
//!
//! An introduction begins with a `u8`: form in the low four bits; `0x10`, a fingerprint follows at the end; `0x20`, the
//! writer counts this handle, each use of it included, and wants it returned in a release; other bits end the
//! connection.
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
//! The writer knows the endpoints of a third node from hearsay; they may be wrong or mean something else to the reader.
//! A reader that dials one accepts the listener as that node only if it proves this identity in its greeting, in the
//! same epoch; endpoints that every host uses for itself (loopback, a Unix socket) are valid only if the writer is on
//! the reader's host.
//!
//! The fingerprint (`u64`) is that of the shape of the box's message and result; absent or 0 means unchecked.
//!
//! ## Reports
//! A node reports to its peer the drops among the messages that it read from that peer: per box, fingerprint and reason
//! (16–35, as above) the number so far on this connection, never a difference, so that a report that is left out costs
//! nothing. Counts that did not change since the last report may be left out. A reader ignores counts that shrink and
//! reasons that it does not know.
//!
//! The fingerprint (`u64`) distinguishes messages of several types that were sent to one box: it is that of the shape
//! with which the box was introduced as their target. For messages that the box had taken it may be that of the shape
//! that the box takes. The fingerprint is 0 if neither is known, or if the writer keeps no separate count; such a count
//! is about messages of any shape.
//!
//! A remark is an explanation, for a person to read, of the last of the drops that a report counts for that box,
//! fingerprint and reason: for instance the size and the limit, for a message that was too large for a relay to pass
//! on. A remark follows the report, may be left out, and counts nothing.
//!
//! A box is written as a `u8` and its parameter: 0, the box of that name, `text`; 1, the box with that `id`; 2, without
//! a parameter: all boxes for which the writer keeps no separate count.
//!
//! ## Shapes
//! Either side may ask the other, at any time; a question may stay unanswered, which does not end the connection. A
//! question is a `u8` and its parameter: 0, for the shape that has the fingerprint `u64`; 1, for the shape that a box
//! (as in reports) takes; 2, for the names of the writer's boxes in order, after the name `text`. The answer repeats
//! the question, followed by the canonical encoding of the shape, or nothing if there is none, or as many names
//! (`text`) as the writer chooses to put into one frame.
//!
//! ## Settling
//! A connection that ends without a goodbye leaves both sides in doubt about the messages that the other has read from
//! it. The node that dials lists in its proof the connections that it is in doubt about, by the ids in its hellos, only
//! those it had with this node in this epoch, each with the number of messages it has read. The other node ends listed
//! connections that it believes alive or that have not completed their greeting, reads no more from them, and states in
//! its welcome, under the same ids, how many messages it has read: 0 for a connection that never came to its proof. It
//! leaves out connections that it does not know. Messages written and not read are lost.
//!
//! ## Leases after a break
//! Boxes that a peer holds stay held when a connection ends without a goodbye, for as long as the peer is expected
//! back. On its next connection with the same node, or on another that is up already, a peer states anew the handles
//! that it holds by connections that have ended: a hold for each box, in as many frames as needed, and behind them one
//! restated frame that lists those connections, at most 32 as a rule. The reader then releases all handles that it
//! counted for these connections, including those in messages that never arrived. A listed connection that the reader
//! believes alive ends; one that it does not know is skipped. After a goodbye nothing stays held.
//!
//! ## Watching
//! A watch with byte 1 asks for one notice when a box (as in reports) of the reader is gone. A box that does not exist
//! is gone at once. Byte 0 withdraws the watch; any other byte ends the connection. Watching a watched box again
//! changes nothing. A watch ends with its connection; a writer that is still interested watches anew on the next
//! connection. Extension 5, a `number`, is the time in milliseconds for which a third node's box may be out of reach before the
//! writer wants a notice; the reader may have less patience.
//!
//! A reader that has no room for a watch does not keep it, and says so by *unwatched*: it sends no notice of that box
//! unless the box is watched anew. Box 2 refuses watches without naming them: at least one of those read before is not
//! kept. A writer that is still interested asks again after a pause, which grows while the answer is the same. If a node
//! leaves *unwatched* out, or skips it, the other side hears nothing until the connection ends.
//!
//! The answer has the reason: 0, the box has closed, or there is none; behind a pointer to a third node's box, whose
//! notices concern the way it leads, also 1, its node is gone; 2, there is no connection to it any more. Later versions
//! may add others, which mean that the box is gone. The answer follows the frames written before about that box.
//! Extension 6 of an answer 2, a `number`, is the time in milliseconds for which there has been no connection, if the
//! writer knows it.
//!
//! ## Pressure
//! A node reports to its peer the fill level of a box (as in reports) that the peer sends to, from 0, empty, to 255,
//! full: soon after it has become more than half full, and from then on a few times a second when the level has
//! changed, until the box is nearly empty. A box without a report counts as empty, and so does each box at the
//! beginning of a connection.

pub(crate) mod assembly;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod codec;
pub(crate) mod extensions;
pub(crate) mod features;
pub(crate) mod frames;
pub(crate) mod greeting;
pub(crate) mod hello;
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
