//! Bits of the hello's features: the frames that a node accepts beyond the rest of version 1.

/// Bits of the hello's features: the frames that a node accepts.
pub(crate) mod feature {
    /// Reports.
    pub(crate) const REPORTS: u64 = 1;
    /// Questions for shapes, and their answers.
    pub(crate) const SHAPES: u64 = 2;
    /// Watches, and notices that a watched box is gone.
    pub(crate) const WATCHES: u64 = 4;
    /// Fill levels of boxes.
    pub(crate) const PRESSURE: u64 = 8;
    /// Frames in pieces.
    pub(crate) const FRAGMENTS: u64 = 16;
    /// Held handles that came by another node.
    pub(crate) const HOLDS: u64 = 32;
    /// Leases of connections that have ended, stated anew on another.
    pub(crate) const RESTATED: u64 = 64;
    /// All features that this crate understands.
    pub(crate) const KNOWN: u64 = REPORTS | SHAPES | WATCHES | PRESSURE | FRAGMENTS | HOLDS | RESTATED;
}
