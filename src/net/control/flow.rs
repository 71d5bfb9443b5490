//! Flows: the queues in which frames wait in order behind one that is too large to be written at once.

use crate::ident::BoxId;

/// The key of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Flow {
    Box(BoxId),
    /// A box by its name, for each pointer to it.
    Name(u64),
    /// An answer has a flow of its own, and waits for nothing else.
    Answer(u64),
}
