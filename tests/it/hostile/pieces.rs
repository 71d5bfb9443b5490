//! Peers that cut frames so that they do not fit together, announce more than comes, or never end.

use actix_hermod::Node;
use support::peer::Peer;
use support::peer::frame;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::your_box;
use support::process::alone;

use super::MARGIN;
use super::memory;
use super::on;

/// A piece of a frame: which, how many bytes follow, and the bytes.
fn piece(of: u64, rest: u64, bytes: &[u8]) -> Vec<u8> {
    frame(kind::FRAGMENT, &[&number(of), &number(rest), bytes].concat())
}

/// A letter, as it is cut: without its length.
fn letter(n: u64) -> Vec<u8> {
    [vec![kind::POST, 0], inline(&your_box("letters")), number(n)].concat()
}

#[test]
fn a_letter_in_pieces_of_one_byte_arrives() {
    on(Node::builder(), async |ground| {
        let mut other = Peer::stranger(&ground.endpoint).await;
        for of in 0..2 {
            let letter = letter(of + 1);
            for (at, byte) in letter.iter().enumerate() {
                assert!(other.send(&piece(of, (letter.len() - at - 1) as u64, &[*byte])).await);
                assert!(other.send(&ground.letter(100)).await, "other frames stand between the pieces");
            }
        }
        assert!(other.is_answered().await);
        let letters: Vec<u32> = ground.letters().into_iter().filter(|n| *n != 100).collect();
        assert_eq!(letters, [1, 2]);
    });
}

#[test]
fn pieces_that_do_not_fit_end_the_connection() {
    on(Node::builder(), async |ground| {
        let too_many: Vec<u8> = (0..9).flat_map(|of| piece(of, 1, &[kind::POST])).collect();
        let disagreeing = [piece(0, 9, &[kind::POST]), piece(0, 9, &[0])].concat();
        let again = [piece(0, 0, &letter(1)), piece(0, 0, &letter(2))].concat();
        for (bytes, words) in [
            (piece(1, 9, &[kind::POST]), "a piece of frame 1"),
            (piece(u64::MAX, 9, &[kind::POST]), "a piece of frame 18446744073709551615"),
            (piece(0, 9, &[]), "a piece of frame 0"),
            (disagreeing, "a piece of frame 0"),
            (again, "a piece of frame 0"),
            (too_many, "a piece of frame 8"),
            (piece(0, 16 << 20, &[kind::POST]), "over the limit"),
            (piece(0, u64::MAX, &[kind::POST]), "over the limit"),
            ([piece(0, 9 << 20, &[kind::POST]), piece(1, 9 << 20, &[kind::POST])].concat(), "over the limit"),
            (piece(0, 0, &[kind::PING, 0, 0, 0, 0, 0, 0, 0, 0, 0]), "kind 9 came at the wrong time"),
            (piece(0, 0, &[kind::FRAGMENT, 0, 0, 2]), "kind 13 came at the wrong time"),
            (piece(0, 0, &[kind::POST]), "a frame ends too early"),
            (frame(kind::FRAGMENT, &[0x80]), "a frame ends too early"),
        ] {
            ground.is_violated_by(&bytes, words).await;
        }
        assert_eq!(ground.letters(), [1], "the one that was whole");
    });
}

/// Sixteen megabytes are announced by each, in eight frames, and one byte of each comes.
#[test]
fn what_is_announced_and_does_not_come_takes_no_room() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let before = memory("VmRSS:");
            let mut others = Vec::new();
            for _ in 0..50 {
                let mut other = Peer::stranger(&ground.endpoint).await;
                let begun: Vec<u8> = (0..8).flat_map(|of| piece(of, (2 << 20) - 2, &[kind::POST])).collect();
                assert!(other.send(&begun).await && other.is_answered().await);
                others.push(other);
            }
            let grown = memory("VmRSS:").saturating_sub(before);
            // The room that is reserved at the first piece, and touched at its front only.
            assert!(grown < 24 << 20, "{grown} bytes for {} who have sent a few", others.len());
        });
    });
}

#[test]
fn pieces_without_end_leave_nothing_behind() {
    alone(|| {
        on(Node::builder(), async |ground| {
            let mut other = Peer::stranger(&ground.endpoint).await;
            let body = [letter(1), vec![0; 300_000]].concat();
            let (first, last) = body.split_at(150_000);
            let many = |of: u64| [piece(of, last.len() as u64, first), piece(of, 0, last)].concat();
            ground.keeps_its_size(&mut other, MARGIN, 100, many).await;
        });
    });
}
