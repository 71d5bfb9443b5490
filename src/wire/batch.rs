//! Runs of posts for one box: most of the traffic of a busy connection, recognised without reading each post by itself.

use super::codec::Reader;
use super::frames::LENGTH;
use super::frames::kind;
use super::introduction::Handle;

/// Number of bytes compared of each frame, behind its length.
const COMPARED: usize = size_of::<u64>();

/// Two or more whole posts in a row for one target with a number, which carry nothing but their bodies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Posts<'a> {
    frames: &'a [u8],
    number: u64,
    count: usize,
    /// Number of bytes before each body, the length field included.
    head: usize,
}

impl<'a> Posts<'a> {
    /// Finds the posts at the front of `buffer`: at most `most`, each of no more than `limit` bytes behind its length
    /// field. It need not find all of them: a post that is not found is read by itself, and means the same.
    #[inline]
    pub(crate) fn at(buffer: &'a [u8], limit: usize, most: usize) -> Option<Posts<'a>> {
        let plain = u16::from_le_bytes([kind::POST, 0]);
        let (_, first) = compared(buffer)?;
        if first as u16 != plain {
            return None;
        }
        let after = buffer.get(LENGTH + size_of_val(&plain)..)?;
        let mut reader = Reader::new(after);
        let Ok(Handle::Use(number)) = Handle::read(&mut reader) else { return None };
        let same = size_of_val(&plain) + (after.len() - reader.rest().len());
        let unlike = u32::try_from(COMPARED.checked_sub(same)? * 8).ok()?;
        let (mut size, mut count) = (0, 0);
        while count < most
            && let Some(rest) = buffer.get(size..)
            && let Some((len, next)) = compared(rest)
            && (next ^ first) << unlike == 0
            && (same..=limit.min(rest.len() - LENGTH)).contains(&len)
        {
            size += LENGTH + len;
            count += 1;
        }
        let frames = buffer.get(..size)?;
        (count > 1).then_some(Posts { frames, number, count, head: LENGTH + same })
    }

    /// Returns the number of the target box.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the number of posts.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns the size of all frames in bytes, with their length fields.
    pub(crate) fn size(&self) -> usize {
        self.frames.len()
    }

    pub(crate) fn bodies(&self) -> Bodies<'a> {
        Bodies { rest: self.frames, head: self.head, left: self.count }
    }
}

/// Returns the length of the frame at the front, and its first bytes behind the length field.
#[inline]
fn compared(buffer: &[u8]) -> Option<(usize, u64)> {
    let (length, rest) = buffer.split_first_chunk::<LENGTH>()?;
    let first = rest.first_chunk::<COMPARED>()?;
    Some((u32::from_le_bytes(*length) as usize, u64::from_le_bytes(*first)))
}

/// The bodies of [`Posts`].
#[derive(Clone, Debug)]
pub(crate) struct Bodies<'a> {
    rest: &'a [u8],
    head: usize,
    left: usize,
}

impl Bodies<'_> {
    /// Returns the size of the remaining frames in bytes, heads included.
    pub(crate) fn size(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Bodies<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, _) = self.rest.split_first_chunk::<LENGTH>()?;
        let (frame, rest) = self.rest.split_at_checked(LENGTH + u32::from_le_bytes(*length) as usize)?;
        (self.rest, self.left) = (rest, self.left - 1);
        frame.get(self.head..)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Bodies<'_> {}
