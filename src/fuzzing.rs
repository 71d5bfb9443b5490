//! The functions that fuzzers run: one for each target of `fuzz/`, which takes any bytes and panics if they do harm.
//! The bodies stand beside the code that they test.
//!
//! Nothing here is part of the crate's API; the module exists with `--cfg fuzzing` only. `cargo test` runs each target
//! too, over its corpus in `tests/corpus`, over damaged pieces of the corpus, and over random bytes.

use crate::handle;
use crate::message;
use crate::net;
use crate::wire;

/// Runs a function and returns the maximum number of bytes that it held at once.
pub type AllocMeter = fn(&mut dyn FnMut()) -> u64;

/// One hello or frame: if it can be read, it can be written again and means the same.
pub fn frames(bytes: &[u8], meter: AllocMeter) {
    wire::fuzz::frames::run(bytes, meter);
}

/// The reading end of a connection, given a stream in pieces.
pub fn stream(bytes: &[u8], _: AllocMeter) {
    wire::fuzz::stream::run(bytes);
}

/// Greetings between honest nodes, with an attacker between them whose steps the bytes decide.
pub fn greetings(bytes: &[u8], _: AllocMeter) {
    wire::fuzz::greeting::run(bytes);
}

/// Two ends of a connection, driven by the bytes.
pub fn ends(bytes: &[u8], _: AllocMeter) {
    wire::fuzz::ends::run(bytes);
}

/// The state objects of the sub-protocols, driven by a program, a peer and a clock that the bytes decide.
pub fn control(bytes: &[u8], _: AllocMeter) {
    net::control::fuzz::run(bytes);
}

/// The guarding decoder, over types whose decoding costs far more than the body's length.
pub fn bodies(bytes: &[u8], meter: AllocMeter) {
    message::guard::fuzz::run(bytes, meter);
}

/// Shapes that a stranger sends, the differences between two of them, and bodies as JSON by these shapes.
pub fn shapes(bytes: &[u8], meter: AllocMeter) {
    message::shape::fuzz::run(bytes, meter);
}

/// Endpoints and URIs, and addresses inside messages.
pub fn addresses(bytes: &[u8], meter: AllocMeter) {
    handle::fuzz::run(bytes, meter);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::LazyLock;

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use proptest::test_runner::Config;

    fn config() -> Config {
        Config { failure_persistence: None, ..Config::default() }
    }

    fn meter(run: &mut dyn FnMut()) -> u64 {
        allocation_counter::measure(run).bytes_max
    }

    /// Returns the stored inputs found by fuzzers, in the order of their file names.
    fn corpus(target: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target);
        if !Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").exists() {
            // The published package has no corpora: a single byte stands for each.
            return vec![vec![0]];
        }
        let files = fs::read_dir(folder).expect("each target has a corpus");
        let mut files: Vec<_> = files.map(|file| file.expect("it can be listed").path()).collect();
        files.sort();
        assert!(files.len() > 5, "a corpus of {} files", files.len());
        files.iter().map(|file| fs::read(file).expect("it can be read")).collect()
    }

    macro_rules! targets {
        ($($target:ident: $longest:expr,)*) => { $(
            mod $target {
                use super::*;

                static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| corpus(stringify!($target)));

                #[test]
                fn its_corpus_does_no_harm() {
                    CORPUS.iter().for_each(|bytes| super::super::$target(bytes, meter));
                }

                proptest! {
                    #![proptest_config(config())]

                    #[test]
                    fn random_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..$longest)) {
                        super::super::$target(&bytes, meter);
                    }

                    #[test]
                    fn a_damaged_corpus_does_no_harm(
                        which in any::<Index>(),
                        changes in vec((any::<Index>(), any::<u8>()), 1..4),
                        cut in prop::option::of(any::<Index>()),
                    ) {
                        let mut bytes = which.get(&CORPUS).clone();
                        prop_assume!(!bytes.is_empty());
                        for (at, byte) in changes {
                            let at = at.index(bytes.len());
                            bytes[at] = byte;
                        }
                        bytes.truncate(cut.map_or(usize::MAX, |cut| cut.index(bytes.len())));
                        super::super::$target(&bytes, meter);
                    }
                }
            }
        )* };
    }

    // Each target with the maximum length of random input, in bytes.
    targets! {
        frames: 300,
        stream: 2_000,
        ends: 8_000,
        control: 4_000,
        greetings: 300,
        bodies: 300,
        shapes: 600,
        addresses: 200,
    }
}
