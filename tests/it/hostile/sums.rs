//! The sum of all bounds of a node: the table of `LIMITS.md`, with the defaults of `src/config.rs`; and what an entry of
//! each takes, measured.

use std::fs;

use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_named;
use support::peer::frame;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::kind;
use support::peer::number;
use support::peer::post_with;
use support::peer::set_number;
use support::peer::text;
use support::peer::your_box;
use support::process::alone;
use support::repository;

use super::Ground;
use super::HOUR;
use super::Letter;
use super::asking::letter;
use super::memory;
use super::on;

/// A row of the table: how many bytes each entry takes, and how many entries there are in the node.
struct Bound {
    resource: String,
    each: u64,
    count: u64,
}

/// The rows of the table of bounds for a node.
fn bounds() -> Vec<Bound> {
    let (_, table) = include_str!("LIMITS.md").split_once("\n## Bounds for a node\n").expect("the table");
    let (table, _) = table.split_once("\n## ").unwrap_or((table, ""));
    let config = fs::read_to_string(repository().join("src/config.rs")).expect("the defaults");
    let cells = |line: &str| {
        let cells: Vec<_> = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [resource, _, each, _, node, ..] = cells.as_slice() else { panic!("a row has no more cells: {cells:?}") };
        let each = each.replace(',', "").parse().ok()?;
        Some(Bound { resource: resource.clone(), each, count: sum(node, &config) })
    };
    table.lines().filter_map(cells).collect()
}

/// The value of a sum of products of numbers and of limits, by their defaults.
fn sum(terms: &str, config: &str) -> u64 {
    terms.split('+').map(|term| term.split('×').map(|factor| value(factor.trim(), config)).product::<u64>()).sum()
}

fn value(factor: &str, config: &str) -> u64 {
    if let Ok(value) = factor.replace(',', "").parse() {
        return value;
    }
    let (_, defaults) = config.split_once("impl Default for Limits").expect("the defaults");
    let line = defaults.lines().find_map(|line| line.trim().strip_prefix(&format!("{factor}: ")));
    let value = line.unwrap_or_else(|| panic!("there is no limit {factor}")).trim_end_matches(',').replace('_', "");
    match value.split_once(" << ") {
        Some((base, shift)) => base.parse::<u64>().expect("a number") << shift.parse::<u32>().expect("a number"),
        None => value.parse().expect("a number"),
    }
}

#[test]
fn the_bounds_of_a_node_add_up_to_less_than_a_gibibyte() {
    let bounds = bounds();
    assert!(bounds.len() >= 8, "so few were found");
    let sum: u64 = bounds.iter().map(|bound| bound.each * bound.count).sum();
    let list = bounds.iter().map(|bound| format!("{}: {} MiB", bound.resource, (bound.each * bound.count) >> 20));
    assert!(sum < 1 << 30, "{} MiB: {:#?}", sum >> 20, list.collect::<Vec<_>>());
    let said = format!("\n{} MiB, less than 1 GiB;", sum >> 20);
    assert!(include_str!("LIMITS.md").contains(&said), "it is {} MiB", sum >> 20);
    // Without those below a limit that is in the table it would not be.
    assert!(sum > 1 << 29, "{} MiB: is everything in the table?", sum >> 20);
}

/// Fails if each of so many entries takes more memory than the table says, or less than half of that.
fn takes_what_the_table_says(resource: &str, before: u64, count: u64) {
    let after = memory("VmRSS:");
    if after == 0 {
        return;
    }
    let each = after.saturating_sub(before) / count;
    let said = bounds().into_iter().find(|bound| bound.resource == resource).expect("a row").each;
    assert!((said / 2..=said).contains(&each), "each of the {resource} takes {each} bytes, and not {said}");
}

impl Ground {
    /// A peer that wants to be told of everything.
    async fn curious(&self) -> Peer {
        Peer::greeted(&self.endpoint, &Hello { features: u64::MAX, ..Hello::of(fresh_id()) }).await
    }
}

#[test]
fn a_request_without_an_answer_takes_what_the_table_says() {
    const COUNT: u64 = 40_000;
    alone(|| {
        on(Node::builder().mailbox_buffer(2 * COUNT as usize), async |ground| {
            let mut peer = ground.curious().await;
            let asks = (0..COUNT).map(|n| letter(n, 1)).collect::<Vec<_>>();
            let before = memory("VmRSS:");
            for asks in asks.chunks(1000) {
                assert!(peer.send(&asks.concat()).await && peer.is_answered().await);
            }
            takes_what_the_table_says("requests of peers without an answer", before, COUNT);
        });
    });
}

#[test]
fn a_box_that_is_watched_takes_what_the_table_says() {
    const COUNT: usize = 10_000;
    alone(|| {
        on(Node::builder(), async |ground| {
            let name = |n: usize| format!("{n:0>255}");
            let boxes: Vec<Mailbox<Letter>> = (0..COUNT).map(|n| ground.open(&name(n))).collect();
            let mut peer = ground.curious().await;
            let before = memory("VmRSS:");
            for n in 0..COUNT {
                let watch = frame(kind::WATCH, &[vec![1], box_named(&name(n))].concat());
                assert!(peer.send(&watch).await && (n % 100 > 0 || peer.is_answered().await));
            }
            assert!(peer.is_answered().await);
            takes_what_the_table_says("boxes that peers watch", before, COUNT as u64);
            drop(boxes);
        });
    });
}

#[test]
fn a_number_takes_what_the_table_says() {
    const PEERS: u64 = 7;
    alone(|| {
        // However long a busy machine takes, a peer that only writes is not given up.
        on(Node::builder().dead_after(HOUR), async |ground| {
            let mut peers = Vec::new();
            for _ in 0..PEERS {
                peers.push(ground.curious().await);
            }
            let all: usize = peers.iter().map(|peer| peer.numbers.expect("it has greeted")).sum();
            let before = memory("VmRSS:");
            for (at, peer) in peers.iter_mut().enumerate() {
                // The longest introductions that there are.
                let endpoint = |n: usize| format!("{}:{n}", "h".repeat(294));
                for n in 0..peer.numbers.expect("it has greeted") {
                    let id = [[at as u8; 8], (n as u64).to_le_bytes()].concat();
                    let endpoints = (1..5).flat_map(|n| text(&endpoint(n)));
                    let introduction =
                        [&[3][..], &fresh_id(), &fresh_id(), &id, &[9; 16], &text(&"n".repeat(255)), &number(4)]
                            .concat();
                    let introduction = introduction.into_iter().chain(endpoints).collect::<Vec<u8>>();
                    let handle = set_number(n as u64, &introduction);
                    assert!(peer.send(&post_with(&inline(&your_box("letters")), &[handle], &[])).await);
                }
                assert!(peer.is_answered().await);
            }
            takes_what_the_table_says("numbers of peers", before, all as u64);
        });
    });
}
