//! Limits that are set low and reached, one by one; and the list of all of them, which has to be complete.

use std::fs;
use std::time::Duration;

use actix_hermod::DownReason;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use support::peer::Hello;
use support::peer::Peer;
use support::peer::box_at;
use support::peer::fresh_id;
use support::peer::inline;
use support::peer::number;
use support::peer::post;
use support::peer::your_box;
use support::process::alone;
use support::repository;

use super::Hearer;
use super::Letter;
use super::Nest;
use super::Units;
use super::on;
use super::raw_id;
use super::until;

#[test]
fn a_hello_over_a_lower_limit_is_refused() {
    const MOST: usize = 250;
    on(Node::builder().handshake_bytes(MOST), async |ground| {
        let of_length = |length: usize| {
            let mut hello = Hello::of(fresh_id());
            // The number of an extension and its length are three bytes.
            let room = length - hello.bytes().len() - 3;
            hello.extensions = [number(77), number(room as u64), vec![0; room]].concat();
            hello
        };
        // A room of 128 bytes and more has a length of two.
        let just = of_length(MOST);
        assert_eq!(just.bytes().len(), MOST);
        assert!(Peer::greeted(&ground.endpoint, &just).await.is_answered().await);
        let mut long = Peer::dial(&ground.endpoint).await;
        assert!(long.send(&of_length(MOST + 1).bytes()).await);
        assert!(long.hello().await.is_none());
        ground.log_says(&["WARN", "no connection", "over the limit of 250"]).await;
    });
}

#[test]
fn a_body_that_nests_deeper_than_a_lower_limit_costs_one_message() {
    on(Node::builder().decode_depth(8), async |ground| {
        let nests: Mailbox<Nest> = ground.open("nests");
        let nest = |levels: usize| post(&inline(&your_box("nests")), &[vec![1; levels], vec![0]].concat());
        assert!(ground.goes_on_after(&nest(1)).await);
        assert_eq!(nests.len(), 1);
        ground.refuses_body(&nest(8), "nests more than 8 levels, the limit `decode_depth`").await;
        assert_eq!(nests.len(), 1);
    });
}

#[test]
fn a_body_that_takes_more_than_a_lower_limit_costs_one_message() {
    on(Node::builder().decode_memory(64 << 10), async |ground| {
        let units: Mailbox<Units> = ground.open("units");
        let set = |count: u64| post(&inline(&your_box("units")), &number(count));
        assert!(ground.goes_on_after(&set(1_000)).await);
        assert_eq!(units.len(), 1);
        ground
            .refuses_body(&set(70_000), "would occupy more than 65536 bytes once decoded, the limit `decode_memory`")
            .await;
        assert_eq!(units.len(), 1);
    });
}

#[test]
fn what_is_sent_through_recipients_waits_up_to_a_lower_limit() {
    // The limit is the whole process's.
    alone(|| {
        on(Node::builder(), async |ground| {
            let node = Node::builder().proxy_queue(10).start();
            let hearer = Hearer::of(&node);
            let to = node.remote::<Letter>(&ground.endpoint, "letters").expect("an address").recipient();
            // In one go: nobody takes them up meanwhile.
            (0..100).for_each(|n| to.do_send(Letter(n)));
            let mut letters = Vec::new();
            let all = || {
                letters.extend(ground.letters());
                letters.len() >= 10
            };
            until(all, || "the first ten are to arrive".to_owned()).await;
            assert_eq!(letters, (0..10).collect::<Vec<u32>>());
            hearer.hears_of_drops(DropReason::HandleShed, 90).await;
            assert_eq!(node.stats().dropped, [(DropReason::HandleShed, 90)].into());
            node.shutdown().await;
        });
    });
}

#[test]
fn one_who_greets_and_is_silent_from_then_on_is_taken_for_dead() {
    on(Node::builder().heartbeat(Duration::from_millis(100)).dead_after(Duration::from_millis(500)), async |ground| {
        let hello = Hello::of(fresh_id());
        let mut silent = Peer::greeted(&ground.endpoint, &hello).await;
        ground.hearer.hears_an_end(|peer, why| raw_id(peer) == hello.node && *why == DownReason::Silent).await;
        silent.end().await;
    });
}

#[test]
fn an_endpoint_that_is_too_long_is_none() {
    on(Node::builder(), async |ground| {
        let at = format!("{}:1", "h".repeat(299));
        let letter = support::peer::post_with(&inline(&your_box("letters")), &[inline(&box_at(&at, "x"))], &number(1));
        ground.is_violated_by(&letter, "a text of 301 bytes is over the limit of 300").await;
    });
}

// --------------------------------------------------------------------------------------------------------- the list

/// The rows of the list: what is limited, and where it is shown that it holds.
fn rows() -> Vec<(String, String)> {
    let cells = |line: &str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(|cell| cell.trim().replace('`', ""));
        Some((cells.next()?, cells.next()?))
    };
    include_str!("LIMITS.md").lines().filter_map(cells).filter(|(of, _)| !of.starts_with("--")).collect()
}

/// All sources below a folder of the crate, by their paths.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = repository();
    let (mut folders, mut sources) = (vec![root.join(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).expect("it is below").to_string_lossy().into_owned();
                sources.push((name, fs::read_to_string(&path).expect("sources are texts")));
            }
        }
    }
    sources
}

/// The limits of the builder, and the constants that bound something else. Those of `message/shape` bound what a type
/// of the user's own makes the crate do, besides its encoding, and are attacked in `tests/it/types/shapes`.
fn limits() -> Vec<String> {
    let mut limits = Vec::new();
    for (path, text) in sources("src") {
        if path == "src/node/builder.rs" {
            let (_, list) = text.split_once("\nlimits! {").expect("the limits of the builder");
            let (list, _) = list.split_once("\n}").expect("they end");
            let methods = list.lines().map(str::trim).filter(|line| !line.starts_with("///"));
            limits.extend(methods.filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned()));
        }
        if path.starts_with("src/message/shape/") {
            continue;
        }
        let constants = text.lines().filter_map(|line| line.split_once("const MAX_")?.1.split_once(':'));
        let file = path.strip_prefix("src/").unwrap_or(&path);
        limits.extend(constants.map(|(name, _)| format!("{file} MAX_{name}")));
    }
    limits
}

#[test]
fn each_limit_has_a_row_in_the_list_and_each_row_a_test() {
    let (rows, limits) = (rows(), limits());
    assert!(limits.len() > 40, "so few were found: {limits:?}");
    let missing: Vec<_> = limits.iter().filter(|limit| !rows.iter().any(|(of, _)| of == *limit)).collect();
    assert!(missing.is_empty(), "tests/it/hostile/LIMITS.md has no row for {missing:?}");
    let is_of_source = |of: &str| of.contains("MAX_") || (of.contains('_') && !of.contains(' '));
    let stale: Vec<_> = rows.iter().filter(|(of, _)| is_of_source(of) && !limits.contains(of)).collect();
    assert!(stale.is_empty(), "there are no such limits: {stale:?}");
    let all = [sources("tests"), sources("src")].concat();
    for (of, tests) in rows.iter().filter(|(of, _)| !["limit", "attack", "resource"].contains(&of.as_str())) {
        assert!(!tests.is_empty(), "{of} has no test");
        for test in tests.split(", ") {
            let (file, name) = test.rsplit_once(' ').expect("a file and a test");
            let source = all.iter().find(|(path, _)| {
                [file, &*format!("tests/it/{file}"), &*format!("tests/{file}")].contains(&path.as_str())
            });
            let (_, text) = source.unwrap_or_else(|| panic!("there is no {file}, which {of} names"));
            assert!(text.contains(&format!("fn {name}(")), "there is no {name} in {file}, which {of} names");
        }
    }
}
