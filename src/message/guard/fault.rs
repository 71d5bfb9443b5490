//! The error that travels through serde while a message is coded.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::fmt::Display;

use serde::de;
use serde::ser;

/// Maximum number of characters kept of an error's or a panic's text: a peer chooses some of them.
pub(super) const MAX_WORDS: usize = 256;

/// The error that travels through serde. One byte, because every element of every array returns one: with the words in
/// it a small message took three times as long to decode. The guard records its own refusals in
/// [`BudgetedReader::verdict`](super::reading::BudgetedReader) and [`Bounded::full`](super::writing::Bounded), where
/// the type being decoded cannot lose them.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// An error of postcard's own.
    Postcard(postcard::Error),
    /// An error of the type's: its text is in [`WORDS`], as serde offers no other place for it.
    Custom,
}

thread_local! {
    /// The text of this thread's last [`Fault::Custom`]. It is read only when such a fault leaves the codec, so the
    /// text of an error that a type handled by itself may stay here.
    static WORDS: RefCell<String> = const { RefCell::new(String::new()) };
}

impl Fault {
    #[cold]
    pub(super) fn custom(words: impl Display) -> Self {
        let words = short(&words.to_string());
        // A thread that is being torn down has no place for the text; the error is reported all the same.
        let _ = WORDS.try_with(|place| place.replace(words));
        Self::Custom
    }
}

impl Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postcard(error) => error.fmt(f),
            Self::Custom => WORDS.try_with(|words| f.write_str(&words.borrow())).unwrap_or(Ok(())),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Self::custom(words)
    }
}

impl ser::Error for Fault {
    fn custom<T: Display>(words: T) -> Self {
        Self::custom(words)
    }
}

impl From<postcard::Error> for Fault {
    #[inline]
    fn from(error: postcard::Error) -> Self {
        Self::Postcard(error)
    }
}

fn short(words: &str) -> String {
    words.chars().take(MAX_WORDS).collect()
}

#[cold]
pub(super) fn panic_words(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().copied();
    short(words.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message"))
}
