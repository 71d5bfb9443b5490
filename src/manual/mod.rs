#![doc = include_str!("links.md")]
#![doc = include_str!("README.md")]
#![allow(
    rustdoc::redundant_explicit_links,
    reason = "the pages are also read in the repository, where their links lead to files"
)]

// The pages are Markdown files, so they can be read in the repository too. A page ends with the definitions of its
// links, as paths of files. `links.md` defines the same links as paths of items; it stands before each page here, and
// the first definition of a link counts. Only rustdoc reads this module: the library contains nothing of it.

/// A page, in the file of that name. The empty line has doctests named after this file, and not after `links.md`.
macro_rules! pages {
    ($($page:ident)*) => {
        $(
            #[doc = ""]
            #[doc = include_str!("links.md")]
            #[doc = include_str!(concat!(stringify!($page), ".md"))]
            pub mod $page {}
        )*
    };
}

pages! {
    publish_subscribe
    surviving_a_restart
    retrying_safely
    ending_well
    network

    actors
    recipients
    requests
    losses
    reconnection
    identity
    upgrades
    testing

    guarantees
    limits
    unsupported_types
    observability
    json
    examples
    contributors
}

// Its charts are defined as URLs that contain them, since the documentation has no other files.
#[doc = ""]
#[doc = include_str!("links.md")]
#[doc = include_str!("charts.md")]
#[doc = include_str!("performance.md")]
pub mod performance {}
