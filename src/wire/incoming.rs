//! The reading end of a connection: takes messages apart, and keeps the meanings of the peer's numbers.

use super::codec::Reader;
use super::codec::Violation;
use super::extensions::Extensions;
use super::extensions::extension;
use super::extensions::flag;
use super::introduction::Handle;
use super::introduction::Introduction;
use super::introduction::MAX_HANDLES;
use super::numbering::Meanings;

/// The handling of introductions by the reader of a connection: `T` is the result of looking one up, once for each.
pub(crate) trait Bind<T> {
    fn bind(&mut self, introduction: &Introduction<'_>) -> T;

    /// Returns whether the message's handles, of which there are `_count`, should be bound at all.
    fn wants(&mut self, _bearer: Bearer<'_, T>, _count: usize) -> bool {
        true
    }

    /// Called for each handle that goes unused, which the peer may have counted as held. The handle has this meaning,
    /// or was introduced inline.
    fn skip(&mut self, _meaning: Result<&T, &Introduction<'_>>) {}
}

/// A message that bears handles.
#[derive(Debug)]
pub(crate) enum Bearer<'a, T> {
    /// A post or a request for this target.
    For(&'a T),
    /// The answer to the request of that number.
    Answer(u64),
}

impl<T, F: FnMut(&Introduction<'_>) -> T> Bind<T> for F {
    fn bind(&mut self, introduction: &Introduction<'_>) -> T {
        self(introduction)
    }
}

impl<T> Received<'_, '_, T> {
    /// Returns the milliseconds until the request expires.
    pub(crate) fn deadline(&self) -> Result<Option<u64>, Violation> {
        self.extensions.number(extension::DEADLINE)
    }

    /// Returns the number of relays that have passed the message on, as stated in it; more than 255 count as 255.
    #[inline]
    pub(crate) fn hops(&self) -> Result<u8, Violation> {
        if self.extensions.is_empty() { Ok(0) } else { self.told_hops() }
    }

    #[cold]
    fn told_hops(&self) -> Result<u8, Violation> {
        let told = self.extensions.number(extension::HOPS)?;
        Ok(told.map_or(0, |hops| u8::try_from(hops).unwrap_or(u8::MAX)))
    }
}

/// A post as it was read.
#[derive(Debug)]
pub(crate) struct Received<'s, 'b, T> {
    pub(crate) to: &'s T,
    pub(crate) handles: &'s [T],
    /// Number of handles skipped because they were not wanted: all of them, or none.
    pub(crate) skipped: usize,
    pub(crate) extensions: Extensions<'b>,
    pub(crate) body: &'b [u8],
}

/// An answer as it was read.
#[derive(Debug)]
pub(crate) struct ReceivedAnswer<'s, 'b, T> {
    /// The number of the request.
    pub(crate) correlation: u64,
    pub(crate) handles: &'s [T],
    /// As in [`Received`].
    pub(crate) skipped: usize,
    pub(crate) body: &'b [u8],
}

/// The reading end of a connection.
#[derive(Debug)]
#[cfg_attr(any(test, fuzzing), derive(Clone))]
pub(crate) struct Incoming<T> {
    meanings: Meanings<T>,
    /// The target of the last post that had handles, or whose target had no number yet.
    target: Option<T>,
    handles: Vec<T>,
    posts: u64,
}

impl<T: Clone> Incoming<T> {
    /// Makes a reading end that accepts `numbers` numbers, as announced in the hello.
    pub(crate) fn new(numbers: usize) -> Incoming<T> {
        Incoming { meanings: Meanings::new(numbers), target: None, handles: Vec::new(), posts: 0 }
    }

    /// Returns the number of posts read so far.
    pub(crate) fn posts(&self) -> u64 {
        self.posts
    }

    /// Reads a post. The numbers set in it stay set, whatever becomes of the post.
    #[inline]
    pub(crate) fn post<'s, 'b>(
        &'s mut self,
        payload: &'b [u8],
        bind: &mut impl Bind<T>,
    ) -> Result<Received<'s, 'b, T>, Violation> {
        let mut reader = Reader::new(payload);
        let flags = read_flags(&mut reader)?;
        self.addressed(flags, reader, bind)
    }

    /// Counts `count` posts for the box of that number as read, and returns its meaning. The posts carry nothing but
    /// their bodies.
    #[inline]
    pub(crate) fn posts_for(&mut self, number: u64, count: usize) -> Result<&T, Violation> {
        let to = self.meanings.get(number)?;
        self.posts += count as u64;
        Ok(to)
    }

    /// Reads a request, and its number.
    pub(crate) fn ask<'s, 'b>(
        &'s mut self,
        payload: &'b [u8],
        bind: &mut impl Bind<T>,
    ) -> Result<(u64, Received<'s, 'b, T>), Violation> {
        let mut reader = Reader::new(payload);
        let flags = read_flags(&mut reader)?;
        let correlation = reader.number()?;
        Ok((correlation, self.addressed(flags, reader, bind)?))
    }

    /// Reads an answer.
    pub(crate) fn answer<'s, 'b>(
        &'s mut self,
        payload: &'b [u8],
        bind: &mut impl Bind<T>,
    ) -> Result<ReceivedAnswer<'s, 'b, T>, Violation> {
        let mut reader = Reader::new(payload);
        let flags = read_flags(&mut reader)?;
        let correlation = reader.number()?;
        read_extensions(flags, &mut reader)?;
        self.handles.clear();
        let skipped = match flags & flag::HANDLES {
            0 => 0,
            _ => {
                let count = reader.count(MAX_HANDLES)?;
                let are_wanted = bind.wants(Bearer::Answer(correlation), count);
                self.read_handles(&mut reader, count, are_wanted, bind)?
            }
        };
        Ok(ReceivedAnswer { correlation, handles: &self.handles, skipped, body: reader.rest() })
    }

    /// Reads the rest of a post behind its flags, or of an ask behind its number.
    #[inline(always)]
    fn addressed<'s, 'b>(
        &'s mut self,
        flags: u8,
        mut reader: Reader<'b>,
        bind: &mut impl Bind<T>,
    ) -> Result<Received<'s, 'b, T>, Violation> {
        let extensions = read_extensions(flags, &mut reader)?;
        let target = Handle::read(&mut reader)?;
        // The form of most posts: nothing has to be kept until the next one.
        if let (Handle::Use(number), 0) = (&target, flags & flag::HANDLES) {
            let to = self.meanings.get(*number)?;
            self.posts += 1;
            return Ok(Received { to, handles: &[], skipped: 0, extensions, body: reader.rest() });
        }
        self.bearing(flags, extensions, target, reader, bind)
    }

    /// Reads the rest of a post whose target is introduced, or that bears handles.
    fn bearing<'s, 'b>(
        &'s mut self,
        flags: u8,
        extensions: Extensions<'b>,
        target: Handle<'b>,
        mut reader: Reader<'b>,
        bind: &mut impl Bind<T>,
    ) -> Result<Received<'s, 'b, T>, Violation> {
        self.handles.clear();
        // The meaning is kept, because handles that follow may set its number anew.
        let to = self.meaning(target, bind)?;
        let skipped = match flags & flag::HANDLES {
            0 => 0,
            _ => {
                let count = reader.count(MAX_HANDLES)?;
                let are_wanted = bind.wants(Bearer::For(&to), count);
                self.read_handles(&mut reader, count, are_wanted, bind)?
            }
        };
        self.posts += 1;
        let to = self.target.insert(to);
        Ok(Received { to, handles: &self.handles, skipped, extensions, body: reader.rest() })
    }

    /// Drops the meanings of the last post's handles: there may be very many.
    pub(crate) fn forget_handles(&mut self) {
        self.handles.clear();
    }

    /// Reads `count` handles, and returns how many of them were skipped. The numbers that they set are set all the
    /// same.
    #[inline]
    fn read_handles(
        &mut self,
        reader: &mut Reader<'_>,
        count: usize,
        are_wanted: bool,
        bind: &mut impl Bind<T>,
    ) -> Result<usize, Violation> {
        for _ in 0..count {
            let handle = Handle::read(reader)?;
            if are_wanted {
                let meaning = self.meaning(handle, bind)?;
                self.handles.push(meaning);
            } else {
                self.skip(handle, bind)?;
            }
        }
        Ok(if are_wanted { 0 } else { count })
    }

    fn skip(&mut self, handle: Handle<'_>, bind: &mut impl Bind<T>) -> Result<(), Violation> {
        match handle {
            Handle::Use(number) => bind.skip(Ok(self.meanings.get(number)?)),
            Handle::Set(number, introduction) => {
                let meaning = bind.bind(&introduction);
                bind.skip(Ok(&meaning));
                self.meanings.set(number, meaning)?;
            }
            Handle::Inline(introduction) => bind.skip(Err(&introduction)),
        }
        Ok(())
    }

    #[inline]
    fn meaning(&mut self, handle: Handle<'_>, bind: &mut impl Bind<T>) -> Result<T, Violation> {
        match handle {
            Handle::Use(number) => self.meanings.get(number).cloned(),
            Handle::Set(number, introduction) => {
                let meaning = bind.bind(&introduction);
                self.meanings.set(number, meaning.clone())?;
                Ok(meaning)
            }
            Handle::Inline(introduction) => Ok(bind.bind(&introduction)),
        }
    }
}

#[inline]
fn read_flags(reader: &mut Reader<'_>) -> Result<u8, Violation> {
    let flags = reader.u8()?;
    if flags & !flag::KNOWN == 0 { Ok(flags) } else { Err(Violation::UnknownFlags(flags)) }
}

#[inline]
fn read_extensions<'b>(flags: u8, reader: &mut Reader<'b>) -> Result<Extensions<'b>, Violation> {
    match flags & flag::EXTENSIONS {
        0 => Ok(Extensions::default()),
        _ => Extensions::read(reader),
    }
}
