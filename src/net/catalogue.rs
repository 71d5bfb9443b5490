//! What shapes the boxes of a node take: told to peers that ask, and asked of them.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::link::Link;
use crate::boxes::registry::Registry;
use crate::message::shape::Shape;
use crate::wire::question::Question;
use crate::wire::question::put_names;
use crate::wire::question::read_names;
use crate::wire::report::Target;

/// Bytes of names in one answer.
const MAX_NAMES: usize = 16 << 10;

/// Boxes whose shapes are asked for at one node.
const MAX_BOXES: usize = 65_536;

/// Bytes of those shapes, of which equal ones count once.
const MAX_SHAPES: usize = 16 << 20;

/// Answers a question of a peer's, in as many bytes as it reads. None costs more than a look at a few hundred names.
pub(super) fn answer(link: &Link, registry: &Registry, question: &Question) {
    let Some(room) = link.room_to_tell() else { return };
    let tell_shape = |shape: Option<Shape>| {
        let shape = shape.filter(|shape| shape.encoded().len() <= room);
        link.tell(question, shape.as_ref().map_or(&[], |shape| shape.encoded()));
    };
    match question {
        Question::Fingerprint(fingerprint) => tell_shape(Shape::known(*fingerprint)),
        Question::Box(target) => {
            let pointer = match target {
                Target::Name(name) => registry.named(name),
                Target::Id(id) => registry.find(*id),
                Target::Others => None,
            };
            let local = pointer.and_then(|pointer| pointer.local());
            tell_shape(local.and_then(|local| local.shape()));
        }
        Question::NamesAfter(after) => {
            let mut names = BytesMut::new();
            put_names(&mut names, MAX_NAMES.min(room), registry.names_after(after).iter().map(|name| &**name));
            link.tell(question, &names);
        }
    }
}

/// Why the shapes of another node's boxes are not known.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapesError {
    /// The text is no endpoint.
    #[error("{0:?} is no endpoint: host:port, [ipv6]:port or unix:/path")]
    InvalidEndpoint(String),
    /// There is no connection, the node does not answer such questions, or it has answered with nonsense.
    #[error("the node did not answer")]
    Unanswered,
    /// The node has more than 65,536 boxes with names, or more than 16 MiB of shapes.
    #[error("the node tells of more boxes than are looked at")]
    TooMany,
}

/// The shapes that the boxes with a name at the other end of a link take.
pub(crate) async fn shapes_at(link: &Arc<Link>) -> Result<BTreeMap<String, Shape>, ShapesError> {
    let mut heard = Heard::default();
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

/// What was heard so far.
#[derive(Default)]
struct Heard {
    boxes: usize,
    shapes: BTreeMap<String, Shape>,
    /// By their encodings.
    known: HashMap<Vec<u8>, Shape>,
    bytes: usize,
}

impl Heard {
    /// A box of that name is told, with its shape, if it has one still.
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
    // Who asked may have gone.
    link.inquire(&question, Box::new(move |answer| drop(told.send(answer.map(|answer| answer.bytes().to_vec())))));
    answer.await.ok().flatten().ok_or(ShapesError::Unanswered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_without_end_are_not_listened_to() {
        let mut heard = Heard::default();
        for n in 0..MAX_BOXES {
            assert_eq!(heard.note(&n.to_string(), vec![1, 0, 1, 6]), Ok(()));
        }
        assert_eq!(heard.note("one more", Vec::new()), Err(ShapesError::TooMany));
        assert_eq!((heard.shapes.len(), heard.known.len()), (MAX_BOXES, 1));
    }
}
