//! The shape of a message: what its type looks like from outside, so that two processes can compare their types.
//!
//! [`model`] is what a shape is made of.

pub(crate) mod model;

use std::sync::Arc;

use self::model::Model;

/// What a type looks like on the wire and by its names: everything that two processes must agree on.
#[derive(Clone)]
pub struct Shape {
    inner: Arc<Inner>,
}

struct Inner {
    model: Model,
}

impl Shape {
    /// The shape that a graph describes.
    pub(crate) fn new(model: Model) -> Shape {
        Shape { inner: Arc::new(Inner { model }) }
    }

    /// What it is made of.
    pub(crate) fn model(&self) -> &Model {
        &self.inner.model
    }
}
