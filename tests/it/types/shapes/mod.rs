//! Shapes: that every kind of type is looked into, that every kind of change is seen and named, that equal types are
//! equal wherever they are, and that nothing that a type or a stranger does can do harm.

#![allow(clippy::unwrap_used, clippy::redundant_allocation, clippy::type_complexity, reason = "types of all kinds")]
// Types that nest more levels than a message may.
mod bytes;
mod changes;
mod corpus;
mod golden;
mod handles;
mod hostile;
mod large;
mod same_types;
mod unchecked;
