//! Pointers to a box of a third node: the paths to it, the relays on them, and the end of whoever introduced it.

mod alternate_paths;
mod killed;
mod paths;
mod relays;
