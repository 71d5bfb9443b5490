//! What is common to all that fuzzers run: bytes as decisions, so that whoever makes bytes up can drive a simulation,
//! and how memory is counted.

/// What runs a function and says how many bytes it held at once, at most. It is handed in: an allocator that counts is
/// for a whole program to choose.
pub(crate) type AllocMeter = fn(&mut dyn FnMut()) -> u64;

/// Decisions not yet taken. Behind the last byte each is 0, so that an input cut short still means something.
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

    /// A number from 0 to `count` less one, from a byte or, if that is not enough, two.
    pub(crate) fn below(&mut self, count: usize) -> usize {
        let any = match count {
            0..=0x100 => usize::from(self.byte()),
            _ => usize::from(u16::from_le_bytes([self.byte(), self.byte()])),
        };
        any % count.max(1)
    }

    /// A number of any length, each length alike.
    pub(crate) fn number(&mut self) -> u64 {
        let shift = u32::from(self.byte() % 64);
        let bytes = [(); 8].map(|()| self.byte());
        u64::from_le_bytes(bytes) >> shift
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }
}
