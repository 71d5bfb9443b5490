//! Whoever watches a box is told of its end.

mod closed;
