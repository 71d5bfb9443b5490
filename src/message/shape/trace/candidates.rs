//! Values to offer to a type that accepts only some: the most ordinary first, then examples of well-known formats. A
//! list has at most 64 values, the width of the mask of refused values.

/// Maximum number of values in a list.
pub(super) const MOST: usize = 64;

/// Integers of any width; each is truncated to the width asked for, so some come twice.
pub(super) const INTEGERS: [i128; 32] = [
    1,
    0,
    2,
    3,
    4,
    5,
    6,
    7,
    8,
    9,
    10,
    12,
    16,
    20,
    24,
    32,
    42,
    60,
    64,
    99,
    100,
    127,
    128,
    255,
    256,
    1000,
    1024,
    2000,
    65_535,
    1_000_000_000,
    -1,
    i128::MIN,
];

pub(super) const FLOATS: [f64; 9] = [1.0, 0.0, 0.5, -1.0, 2.0, 10.0, 100.0, 1000.0, f64::NAN];

pub(super) const CHARS: [char; 9] = ['a', 'A', '0', '1', ' ', '/', '-', '.', 'é'];

pub(super) const TEXTS: [&str; MOST] = [
    "",
    "a",
    "0",
    "1970-01-01T00:00:00Z",
    "1970-01-01",
    "00:00:00",
    "1970-01-01T00:00:00",
    "1970-01-01 00:00:00",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "http://a.b",
    "127.0.0.1",
    "::1",
    "127.0.0.1:80",
    "[::1]:80",
    "localhost:80",
    "127.0.0.1/32",
    "00000000-0000-0000-0000-000000000000",
    "00000000000000000000000000",
    "a@b.cc",
    "example.com",
    "1.0.0",
    "1.0",
    "/",
    "/a",
    "true",
    "A",
    "ab",
    "abc",
    "abcd",
    "abcdefgh",
    "abcdefghijklmnop",
    "00",
    "0000",
    "00000000",
    "00000000000000000000000000000000",
    "0000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "AAAA",
    "00:00:00:00:00:00",
    "#000000",
    "1s",
    "P1D",
    "PT0S",
    "UTC",
    "+00:00",
    "Mon",
    "January",
    "en",
    "en-US",
    "US",
    "USD",
    "GET",
    "text/plain",
    "{}",
    "[]",
    "+12025550123",
    "1970-01-01T00:00:00+00:00[+00:00]",
    "000000000000000000000000",
    "0x0000000000000000000000000000000000000000",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "* * * * *",
    "4242424242424242",
    "1",
];

/// Lengths of the byte strings offered, which are all zeroes.
pub(super) const BYTE_LENGTHS: [usize; 17] = [0, 16, 1, 2, 4, 6, 8, 12, 20, 24, 28, 32, 33, 48, 64, 96, 128];

static ZEROES: [u8; 128] = [0; 128];

pub(super) fn bytes(at: usize) -> &'static [u8] {
    &ZEROES[..BYTE_LENGTHS[at].min(ZEROES.len())]
}

/// Numbers of elements offered for a sequence in the attempts after the first.
const LENGTHS: [usize; 9] = [0, 1, 2, 3, 4, 8, 16, 32, 64];

/// Returns the number of elements to offer for a sequence that was refused so far.
pub(super) fn length(variation: usize) -> usize {
    LENGTHS[variation % LENGTHS.len()]
}

/// Returns the position in a list of candidates at which the search begins. The first variations move all values of a
/// composite alike, so that they are all 0, all 2 and so on; the later ones move each value by a different number, so
/// that some are larger than others.
pub(super) fn offset(variation: usize, order: usize) -> usize {
    const ALIKE: usize = 32;
    if variation < ALIKE { variation } else { (variation - ALIKE + 1).wrapping_mul(order.wrapping_add(1)) }
}

/// Maximum number of variations tried of a composite.
pub(super) const VARIATIONS: usize = 64;
