//! A link's part in shape queries, and the explanation of drops of messages whose shape differs from that of the box.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::Link;
use super::outbox::Outbox;
use super::outbox::Phase;
use crate::boxes::view::View;
use crate::handle::ask_error::AskError;
use crate::handle::context::NodeContext;
use crate::ident::endpoint::no_endpoint;
use crate::message::shape::Shape;
use crate::net::control::requests::PendingRequest;
use crate::net::control::shape_query::AnswerCallback;
use crate::net::control::shape_query::ShapeAnswer;
use crate::net::control::shape_query::unanswered;
use crate::reason::DropReason;
use crate::reason::Side;
use crate::wire::codec::Violation;
use crate::wire::features::feature;
use crate::wire::frames::report::Account;
use crate::wire::frames::shape::Question;
use crate::wire::frames::shape::put_names;
use crate::wire::frames::shape::read_names;
use crate::wire::target::Target;

impl Outbox {
    /// Asks a question, now or once the peer has greeted. Returns whether a dial has to be started.
    fn query(&mut self, question: &Question, callback: AnswerCallback) -> bool {
        let admitted = self.admit(true);
        let is_deaf = !self.session.understands(feature::SHAPES) || self.control.room() == 0;
        let refused = match self.phase {
            _ if admitted.is_err() => unanswered(callback),
            Phase::Up if is_deaf => unanswered(callback),
            Phase::Up => {
                let before = self.control.frames.len();
                let refused = self.shape_queries.ask(question, callback, &mut self.control.frames);
                if self.control.frames.len() > before {
                    self.wake();
                }
                refused
            }
            _ => self.shape_queries.ask_later(question, callback),
        };
        self.later(refused);
        matches!(admitted, Ok(true))
    }
}

impl Link {
    /// Has `callback` called with the peer's answer. Makes the connection if there is none.
    pub(crate) fn query(self: &Arc<Self>, question: &Question, callback: AnswerCallback) {
        if self.outbox.with(|outbox| outbox.query(question, callback)) {
            self.begin();
        }
    }

    /// Takes the peer's answer to a question.
    pub(crate) fn answered(&self, payload: &[u8]) -> Result<(), Violation> {
        let (question, answer) = Question::read_answered(payload)?;
        let waiting = self.outbox.with(|outbox| outbox.shape_queries.on_answer(&question));
        let told = ShapeAnswer::new(answer);
        waiting.into_iter().for_each(|callback| callback(Some(&told)));
        Ok(())
    }

    /// Returns the most bytes that an answer to the peer may have; `None` if it does not read earlier answers, so that
    /// no more are looked up.
    pub(crate) fn room_to_tell(&self) -> Option<usize> {
        self.outbox.with(|outbox| {
            let reads = outbox.phase == Phase::Up && outbox.control.room() > 0;
            reads.then(|| outbox.posts.max_frame().saturating_sub(Question::LONGEST))
        })
    }

    /// Answers a question of the peer, unless it does not read.
    pub(crate) fn tell(&self, question: &Question, answer: &[u8]) {
        self.put_control(|outbox| question.answer(&mut outbox.control.frames, answer));
    }

    pub(crate) fn sweep_shape_queries(&self) {
        self.outbox.with(|outbox| {
            let waited = outbox.shape_queries.sweep();
            outbox.later(waited);
        });
    }
}

/// Bytes of names in one answer.
const MAX_NAMES: usize = 16 << 10;

/// Boxes whose shapes are asked for at one node.
const MAX_BOXES: usize = 65_536;

/// The most bytes of these shapes in total; equal shapes count once.
const MAX_SHAPES: usize = 16 << 20;

/// Answers a question of a peer, in as many bytes as it reads. No question costs more than a look at a few hundred
/// names, and at the boxes that the peer may not see, whose number is returned.
pub(crate) fn answer(link: &Link, view: &View, question: &Question) -> usize {
    let Some(room) = link.room_to_tell() else { return 0 };
    let tell_shape = |shape: Option<Shape>| {
        let shape = shape.filter(|shape| shape.encoded().len() <= room);
        link.tell(question, shape.as_ref().map_or(&[], |shape| shape.encoded()));
    };
    match question {
        Question::Fingerprint(fingerprint) => tell_shape(Shape::known(*fingerprint)),
        Question::Box(target) => {
            let pointer = match target {
                Target::Name(name) => view.named(name),
                Target::Id(id) => view.find(*id),
                Target::Others => None,
            };
            let local = pointer.and_then(|pointer| pointer.local());
            tell_shape(local.and_then(|local| local.shape()));
        }
        Question::NamesAfter(after) => {
            let mut names = BytesMut::new();
            let (next, passed_over) = view.names_after(after);
            put_names(&mut names, MAX_NAMES.min(room), next.iter().map(|name| &**name));
            link.tell(question, &names);
            return passed_over;
        }
    }
    0
}

/// Why the shapes of another node's boxes could not be learned.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapesError {
    /// The text is not an endpoint.
    #[error("{}", no_endpoint(.0))]
    InvalidEndpoint(String),
    /// The path of a Unix socket is longer than the system allows.
    #[error("the path of a Unix socket is longer than the {limit} bytes that this system allows")]
    PathTooLong {
        /// The longest path, in bytes: 107 on Linux, 103 on macOS.
        limit: usize,
    },
    /// There is no connection, the node does not answer such questions, or it has answered with nonsense.
    #[error("the node did not answer")]
    Unanswered,
    /// The node has more than 65,536 boxes with names, or more than 16 MiB of shapes.
    #[error("the node tells of more boxes than are looked at")]
    TooMany,
    /// This node was shut down, or its System has ended.
    #[error("the node has stopped")]
    Stopped,
}

/// Asks for the shapes that the named boxes at the other end of a link take.
pub(crate) async fn shapes_at(link: &Arc<Link>) -> Result<BTreeMap<String, Shape>, ShapesError> {
    let mut heard = CollectedShapes::default();
    let mut after = String::new();
    loop {
        let answer = ask(link, Question::NamesAfter(after.as_str().into())).await?;
        let names = read_names(&answer, MAX_BOXES).map_err(|_| ShapesError::Unanswered)?;
        let Some(last) = names.last().filter(|last| **last > after.as_str()) else { return Ok(heard.shapes) };
        let next = (*last).to_owned();
        for name in names {
            let told = ask(link, Question::Box(Target::Name(name.into()))).await?;
            heard.note(name, told)?;
        }
        after = next;
    }
}

/// The shapes that were received so far.
#[derive(Default)]
struct CollectedShapes {
    boxes: usize,
    shapes: BTreeMap<String, Shape>,
    /// The different shapes, by their encodings.
    known: HashMap<Vec<u8>, Shape>,
    bytes: usize,
}

impl CollectedShapes {
    /// Notes a box of that name, with its shape if it still has one.
    fn note(&mut self, name: &str, told: Vec<u8>) -> Result<(), ShapesError> {
        self.boxes += 1;
        if self.boxes > MAX_BOXES {
            return Err(ShapesError::TooMany);
        }
        if let Some(shape) = self.known.get(&told) {
            self.shapes.insert(name.to_owned(), shape.clone());
        } else if let Some(shape) = Shape::decode(&told) {
            self.bytes += told.len();
            if self.bytes > MAX_SHAPES {
                return Err(ShapesError::TooMany);
            }
            self.shapes.insert(name.to_owned(), shape.clone());
            self.known.insert(told, shape);
        }
        Ok(())
    }
}

async fn ask(link: &Arc<Link>, question: Question) -> Result<Vec<u8>, ShapesError> {
    let (told, answer) = oneshot::channel();
    // The caller may have gone.
    link.query(&question, Box::new(move |answer| drop(told.send(answer.map(|answer| answer.bytes().to_vec())))));
    answer.await.ok().flatten().ok_or(ShapesError::Unanswered)
}

/// The description of a difference, once it is known.
pub(crate) type Words = Arc<OnceLock<Box<str>>>;

/// Asks the sender for the shape of its messages to a box that takes another shape, and explains the drops.
pub(crate) fn explain_here(
    link: &Arc<Link>,
    node: &Arc<NodeContext>,
    fingerprint: u64,
    (name, type_name): (Box<str>, &'static str),
    takes: Shape,
    explained: &Words,
) {
    let (node, explained) = (Arc::clone(node), Arc::clone(explained));
    let callback = move |told: Option<&ShapeAnswer<'_>>| {
        // No box here takes the shape that was sent, so the difference is described from the box's side.
        if let Some(words) = told.and_then(|told| told.differences(&takes)) {
            node.observer().explain(&name, type_name, DropReason::TypeMismatch, Side::Here, &words);
            // Another answer may have explained it already.
            let _ = explained.set(words);
        }
    };
    link.query(&Question::Fingerprint(fingerprint), Box::new(callback));
}

/// Asks the node of a box for the shape that the box takes, and explains the drops that it has reported of messages of
/// another shape.
pub(crate) fn explain_there(
    link: &Arc<Link>,
    node: &Arc<NodeContext>,
    Account { target, fingerprint }: Account,
    (name, type_name): (String, &'static str),
) {
    let Some(sent) = Shape::known(fingerprint) else { return };
    let node = Arc::clone(node);
    let callback = move |told: Option<&ShapeAnswer<'_>>| {
        if let Some(words) = told.and_then(|told| told.differences(&sent)) {
            node.observer().explain(&name, type_name, DropReason::TypeMismatch, Side::Peer, &words);
        }
    };
    link.query(&Question::Box(target), Box::new(callback));
}

/// Ends a request that was refused because of its shape, with the difference if it can be found out.
pub(crate) fn refused(link: &Arc<Link>, request: PendingRequest) {
    let (reason, account) = (DropReason::TypeMismatch, request.account(&**link));
    let sent = account.as_ref().and_then(|account| Shape::known(account.fingerprint));
    let waiting = request.waiting;
    let (Some(Account { target, .. }), Some(sent)) = (account, sent) else {
        return waiting.failed(AskError::NotDelivered { reason, detail: None });
    };
    let callback = move |told: Option<&ShapeAnswer<'_>>| {
        let detail = told.and_then(|told| told.differences(&sent)).map(String::from);
        waiting.failed(AskError::NotDelivered { reason, detail });
    };
    link.query(&Question::Box(target), Box::new(callback));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_without_end_are_not_listened_to() {
        let mut heard = CollectedShapes::default();
        for n in 0..MAX_BOXES {
            assert_eq!(heard.note(&n.to_string(), vec![1, 0, 1, 6]), Ok(()));
        }
        assert_eq!(heard.note("one more", Vec::new()), Err(ShapesError::TooMany));
        assert_eq!((heard.shapes.len(), heard.known.len()), (MAX_BOXES, 1));
    }
}
