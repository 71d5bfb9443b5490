//! The example `overload`: its senders, and that its sheet and its chart say what they should. It is run as it is by
//! `.ci/run`.

// As it is run, so that what is tested is not an older build of it.
#[allow(dead_code)]
#[path = "../../../examples/demos/overload/main.rs"]
mod overload;

use std::time::Duration;

use actix::System;
use actix_hermod::Buffer;
use actix_hermod::DropReason;
use actix_hermod::Mailbox;
use actix_hermod::Node;
use hermod_demos::arguments::parse;
use overload::Options;
use overload::Reading;
use overload::Sender;
use overload::books::Account;
use overload::books::Sheet;
use overload::chart::Gauge;
use overload::chart::Meter;
use overload::chart::bar;
use overload::chart::chart;

fn open(node: &Node) -> Mailbox<Reading> {
    node.mailbox().buffer(Buffer::dropping(10)).open().expect("a mailbox")
}

fn offer(sender: &Sender, numbers: std::ops::Range<u64>) {
    numbers.for_each(|number| sender.offer(Reading { number, celsius: 20.0 }));
}

#[test]
fn the_sender_that_heeds_pressure_skips_what_the_other_loses() {
    System::new().block_on(async {
        let node = Node::start();
        let (mut heeded, mut ignored) = (open(&node), open(&node));
        let (heeding, ignoring) = (Sender::new(heeded.address(), true), Sender::new(ignored.address(), false));
        [&heeding, &ignoring].iter().for_each(|sender| offer(sender, 0..100));
        // Six of ten is the first that is over a half.
        assert_eq!((heeding.sent.get(), heeding.skipped.get(), heeding.lost()), (6, 94, 0));
        assert_eq!((ignoring.sent.get(), ignoring.skipped.get(), ignoring.lost()), (100, 0, 90));
        // Once there is room, the newest is sent, and not what was skipped.
        while heeded.try_recv().is_some() {}
        while ignored.try_recv().is_some() {}
        [&heeding, &ignoring].iter().for_each(|sender| offer(sender, 100..101));
        assert_eq!(heeded.try_recv().map(|reading| reading.number), Some(100));
        assert_eq!(ignored.try_recv().map(|reading| reading.number), Some(100));
    });
}

fn account(sent: u64, shed: u64) -> Account {
    let (delivered, waiting) = (sent - shed - 7, 7);
    Account { sent, delivered, waiting, dropped: [(DropReason::NewestShed, shed)].into(), in_doubt: 0 }
}

fn sheet(lost: [u64; 2]) -> Sheet {
    let senders = lost.map(|lost| account(1000, lost));
    let nodes = senders[0].clone().with(&senders[1]);
    Sheet { senders, nodes, skipped: [500, 0], behind: [3, 40] }
}

#[track_caller]
fn is_refused(sheet: &Sheet, why: &str) {
    let verdict = sheet.verdict().map_err(|error| error.to_string());
    assert!(verdict.as_ref().is_err_and(|error| error.contains(why)), "{verdict:?} of\n{sheet}");
}

#[test]
fn books_that_agree_balance() {
    let sheet = sheet([1, 300]);
    assert!(sheet.verdict().is_ok(), "{sheet}");
    let text = sheet.to_string();
    assert!(text.contains("It balances."), "{text}");
    assert!(text.contains("ignores it skipped 0 readings, and 300 were lost."), "{text}");
    assert!(text.lines().all(|line| line.chars().count() < 80), "{text}");
}

#[test]
fn a_message_that_is_not_accounted_for_is_seen() {
    // In the books of the sender and of the nodes alike.
    let mut lacking = sheet([1, 300]);
    lacking.senders[0].delivered -= 1;
    lacking.nodes.delivered -= 1;
    is_refused(&lacking, "do not balance");
    // One too many at one sender, and one too few at the other.
    let mut crossed = sheet([1, 300]);
    crossed.senders[0].delivered += 1;
    crossed.senders[1].delivered -= 1;
    is_refused(&crossed, "do not balance");
    // The sender was told another reason than the node has counted.
    let mut renamed = sheet([1, 300]);
    renamed.senders[0].dropped = [(DropReason::OldestShed, 1)].into();
    is_refused(&renamed, "do not balance");
    // In doubt with the nodes: it is not known whose it is.
    let mut doubted = sheet([1, 300]);
    doubted.nodes.delivered -= 1;
    doubted.nodes.in_doubt += 1;
    is_refused(&doubted, "do not balance");
    assert!(doubted.to_string().contains("It does not balance."), "{doubted}");
}

#[test]
fn heeding_that_costs_more_than_it_saves_is_seen() {
    is_refused(&sheet([301, 300]), "has lost more");
    assert!(sheet([300, 300]).verdict().is_ok());
}

#[test]
fn a_chart_has_its_place_in_80_columns() {
    let large = Gauge { pressure: 1.0, sent_per_second: 999_999, lost_per_second: 999_999, behind: 999_999 };
    let seconds = Duration::from_secs;
    let (first, last) =
        (chart(seconds(0), seconds(1), &[Gauge::default(); 2]), chart(seconds(9), seconds(10), &[large; 2]));
    assert_eq!(first.len(), last.len(), "the second would not lie upon the first");
    let longest = first.iter().chain(&last).map(|line| line.chars().count()).max();
    assert!(longest < Some(80), "{longest:?}");
}

#[test]
fn bars_are_as_long_as_they_should_be() {
    let columns = |share| bar(share).trim_end().to_owned();
    assert_eq!(columns(0.0), "");
    assert_eq!(columns(0.5), "█".repeat(22));
    assert_eq!(columns(1.0 / 44.0 + 0.5 / 44.0), "█▌");
    assert_eq!([columns(1.0), columns(7.5), columns(-1.0)], ["█".repeat(44), "█".repeat(44), String::new()]);
    assert!([0.0, 0.3, 1.0].iter().all(|share| bar(*share).chars().count() == 44));
}

#[test]
fn rates_are_those_of_the_last_second() {
    let began = actix::clock::Instant::now();
    let after = |millis| began + Duration::from_millis(millis);
    let mut meter = Meter::start(began);
    assert_eq!(meter.rates(after(500), 100, 10), (200, 20));
    assert_eq!(meter.rates(after(1000), 100, 10), (100, 10));
    assert_eq!(meter.rates(after(1500), 100, 10), (0, 0));
    assert_eq!(meter.rates(after(2000), 400, 10), (300, 0));
}

#[test]
fn what_is_not_understood_is_not_run() {
    let parsed = |line: &str| parse(line.split_whitespace().map(str::to_owned)).map_err(|error| error.to_string());
    let lasting = |seconds| Ok(Some(Options { lasting: Duration::from_secs(seconds) }));
    assert_eq!(parsed(""), lasting(10));
    assert_eq!(parsed("--seconds 3"), lasting(3));
    assert_eq!(parsed("--help"), Ok(None));
    for line in ["--seconds", "--seconds 0", "--seconds -1", "--seconds soon", "3", "--seconds 3 4"] {
        assert!(parsed(line).is_err(), "{line}");
    }
}
