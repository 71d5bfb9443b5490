//! The common part of all fuzz targets: bytes as decisions, so that a fuzzer that makes up bytes can drive a
//! simulation, and the counting of memory.

/// Runs a function and returns the maximum number of bytes that it held at once. It is a parameter of the targets,
/// since only a whole program can choose a counting allocator.
pub(crate) type AllocMeter = fn(&mut dyn FnMut()) -> u64;

/// The remaining decisions. Behind the last byte each decision is 0, so that an input cut short still has a meaning.
#[derive(Debug)]
pub(crate) struct Unstructured<'a> {
    rest: &'a [u8],
}

impl<'a> Unstructured<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Unstructured<'a> {
        Unstructured { rest: bytes }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    /// Returns a number from 0 to `count` less one, from a byte or, if that is not enough, two.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let any = match count {
            0..=0x100 => usize::from(self.byte()),
            _ => usize::from(u16::from_le_bytes([self.byte(), self.byte()])),
        };
        any % count.max(1)
    }

    /// Returns a number of any length, each length as likely as another.
    pub(crate) fn number(&mut self) -> u64 {
        let shift = u32::from(self.byte() % 64);
        let bytes = [(); 8].map(|()| self.byte());
        u64::from_le_bytes(bytes) >> shift
    }

    /// Returns all remaining bytes.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
