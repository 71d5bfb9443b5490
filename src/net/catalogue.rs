//! What shapes the boxes of a node take: told to peers that ask, and asked of them.

use std::collections::BTreeMap;
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

/// Answers a question of a peer's. None costs more than a look at a few hundred names.
pub(super) fn answer(link: &Link, registry: &Registry, question: &Question) {
    match question {
        Question::Fingerprint(fingerprint) => tell_shape(link, question, Shape::known(*fingerprint)),
        Question::Box(target) => {
            let pointer = match target {
                Target::Name(name) => registry.named(name),
                Target::Id(id) => registry.find(*id),
                Target::Others => None,
            };
            let local = pointer.and_then(|pointer| pointer.local());
            tell_shape(link, question, local.and_then(|local| local.shape()));
        }
        Question::NamesAfter(after) => {
            let mut names = BytesMut::new();
            put_names(&mut names, MAX_NAMES, registry.names_after(after).iter().map(|name| &**name));
            link.tell(question, &names);
        }
    }
}

fn tell_shape(link: &Link, question: &Question, shape: Option<Shape>) {
    link.tell(question, shape.as_ref().map_or(&[], |shape| shape.encoded()));
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
}

/// The shapes that the boxes with a name at the other end of a link take.
pub(crate) async fn shapes_at(link: &Arc<Link>) -> Result<BTreeMap<String, Shape>, ShapesError> {
    let mut shapes = BTreeMap::new();
    let mut after = String::new();
    loop {
        let names = ask(link, Question::NamesAfter(after.as_str().into())).await?;
        let names = read_names(&names).map_err(|_| ShapesError::Unanswered)?;
        let Some(last) = names.last().filter(|last| **last > after.as_str()) else { return Ok(shapes) };
        let next = (*last).to_owned();
        for name in names {
            let told = ask(link, Question::Box(Target::Name(name.into()))).await?;
            // It may have closed meanwhile.
            shapes.extend(Shape::decode(&told).map(|shape| (name.to_owned(), shape)));
        }
        after = next;
    }
}

async fn ask(link: &Arc<Link>, question: Question) -> Result<Vec<u8>, ShapesError> {
    let (told, answer) = oneshot::channel();
    // Who asked may have gone.
    link.inquire(&question, Box::new(move |answer| drop(told.send(answer.map(<[u8]>::to_vec)))));
    answer.await.ok().flatten().ok_or(ShapesError::Unanswered)
}
