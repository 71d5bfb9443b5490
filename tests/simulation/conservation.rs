//! Random traffic under random trouble. When it is over, the books of all nodes balance exactly: every message that was
//! sent was delivered, dropped for one reason, or waits in a box, and nothing is in doubt.
//!
//! A node that is gone takes with it what it knew. So of a round in which one went, only bounds are known: what is
//! missing is no more than what is in doubt. From then on both stay as they are, to the last message.

use std::rc::Rc;
use std::time::Duration;

use actix_hermod::Buffer;
use actix_hermod::IoThread;
use actix_hermod::NodeBuilder;
use actix_hermod::Stats;

use crate::ledger::Received;
use crate::protection::Protection;
use crate::seeds::Dice;
use crate::seeds::for_each_seed;
use crate::station::Asking;
use crate::station::Brought;
use crate::station::Door;
use crate::station::Home;
use crate::station::LANES;
use crate::station::Way;
use crate::town::Town;
use crate::town::nervous;

/// Seeds that are run unless the environment asks for others.
const SEEDS: u64 = 300;

/// Steps of trouble in each round.
const STEPS: u64 = 300;

#[test]
fn the_books_balance_whatever_happens() {
    for_each_seed("the_books_balance", SEEDS, |seed| drop(run(seed)));
}

/// The messages received in the run of a seed, and the nodes' state at its end.
pub(crate) fn run(seed: u64) -> (Vec<Received>, Vec<Stats>) {
    let mut dice = Dice::new(seed);
    let hosts = 2 + dice.below(3);
    let latency = *pick(&mut dice, &[1, 10, 60]);
    let (doors, latency) = (vec![Door::Open; hosts], Duration::from_millis(latency));
    let mut town = Town::over(Protection::of(seed), seed, &doors, latency, move |life| limits(seed, life));
    let mut gone = (0, 0);
    for _ in 0..=dice.below(2) {
        let is_deadly = dice.one_in(3);
        for _ in 0..dice.among(STEPS / 3..STEPS) {
            for _ in 0..dice.below(5) {
                something_happens(&mut town, &mut dice, is_deadly);
            }
            town.step();
        }
        recover(&mut town);
        if is_deadly {
            let (missing, in_doubt) = town.settled();
            let (grown, doubt) = (missing - gone.0, i128::from(in_doubt) - i128::from(gone.1));
            assert!((0..=doubt).contains(&grown), "{grown} are missing, and {doubt} in doubt: {town:#?}");
            gone = (missing, in_doubt);
        }
        town.quiet(gone);
    }
    (town.ledger().received(), town.all_stats())
}

/// No two nodes have the same limits, and some of them are tight.
fn limits(seed: u64, life: usize) -> NodeBuilder {
    let mut dice = Dice::new(seed ^ (life as u64 + 1) << 32);
    let dice = &mut dice;
    nervous(life)
        .io_thread(*pick(dice, &[IoThread::Current, IoThread::Own]))
        .dead_after(Duration::from_millis(*pick(dice, &[200, 300, 700])))
        .outbox(*pick(dice, &[400, 4_000, 4 << 20]))
        .max_message(*pick(dice, &[2_000, 16 << 20]))
        .pending_requests(*pick(dice, &[2, 65_536]))
        .interned(*pick(dice, &[1, 3, 4096]))
        .exports(*pick(dice, &[2, 65_536]))
}

fn pick<'a, T>(dice: &mut Dice, of: &'a [T]) -> &'a T {
    &of[dice.below(of.len())]
}

/// Everything works again, and is seen to.
fn recover(town: &mut Town) {
    town.heal();
    for host in 0..town.hosts() {
        town.at(host, |home| {
            home.open(Buffer::dropping(64), 0);
            home.publish();
        });
    }
    town.all_reach_all();
}

fn something_happens(town: &mut Town, dice: &mut Dice, is_deadly: bool) {
    let (one, other) = (dice.below(town.hosts()), dice.below(town.hosts()));
    match dice.below(200) {
        0..160 => somebody_acts(town, dice, one, other),
        160..180 => somebody_changes(town, dice, one),
        180..199 if one != other => the_network_changes(town, dice, one, other),
        199 if is_deadly => somebody_goes(town, dice, one),
        _ => {}
    }
}

/// Messages are sent, alone or in numbers.
fn somebody_acts(town: &mut Town, dice: &mut Dice, one: usize, other: usize) {
    let (lane, polite, brings) = (dice.below(LANES), dice.one_in(2), dice.below(6));
    let ballast = *pick(dice, &[0, 0, 0, 0, 0, 300, 3_000, 30_000]);
    match dice.below(10) {
        0..5 => {
            let times = if dice.one_in(10) { 40 } else { 1 };
            town.at(one, move |home| {
                for _ in 0..times {
                    home.others[other].lanes[lane].send(&home.ledger, polite, brought(home, brings, ballast));
                }
            });
        }
        5..7 => town.at(one, move |home| {
            let found = home.found.borrow();
            if let Some(lane) = found.get(lane) {
                lane.send(&home.ledger, polite, brought(home, brings, ballast));
            }
        }),
        _ => {
            let ways =
                [Asking::Ask, Asking::Ask, Asking::Within(10), Asking::Within(100), Asking::Send, Asking::Recipient];
            let (by, delay) = (*pick(dice, &ways), *pick(dice, &[0, 0, 5, 50, 400]));
            let patience = *pick(dice, &[0, 20, 600, 600]);
            town.at(one, move |home| _ = home.ask(other, by, delay, patience));
        }
    }
}

/// A message brings handles along now and then: to what lives here, or to what was found in another message.
fn brought(home: &Home, which: usize, ballast: usize) -> Brought {
    let found = || match home.found.borrow().back().map(|lane| &lane.way) {
        Some(Way::Address(address)) => Some(address.clone()),
        _ => None,
    };
    let address = match which {
        0 => Some(home.own.clone()),
        2 => found(),
        _ => None,
    };
    Brought { address, recipient: (which == 1).then(|| home.actor.clone()), ballast }
}

/// Boxes are opened and closed.
fn somebody_changes(town: &mut Town, dice: &mut Dice, one: usize) {
    let (capacity, pause, slides) = (1 + dice.below(4), *pick(dice, &[0, 5, 30]), dice.one_in(2));
    let change: fn(&Rc<Home>) = match dice.below(8) {
        0 => |home| home.close(),
        1 => |home| _ = home.node.unpublish("desk"),
        2 => |home| _ = home.node.unpublish("clerk"),
        3 => |home| home.publish(),
        _ => {
            return town.at(one, move |home| {
                home.open(if slides { Buffer::sliding(capacity) } else { Buffer::dropping(capacity) }, pause);
            });
        }
    };
    town.at(one, change);
}

fn the_network_changes(town: &mut Town, dice: &mut Dice, one: usize, other: usize) {
    match dice.below(10) {
        0 => town.partition(one, other),
        1 => town.silence(one, other),
        2 => town.hold(one, other),
        3..5 => town.release(one, other),
        5..9 => town.repair(one, other),
        _ => town.delay(Duration::from_millis(*pick(dice, &[1, 10, 60]))),
    }
}

/// A node goes, in good order or not, or comes back.
fn somebody_goes(town: &mut Town, dice: &mut Dice, one: usize) {
    match dice.below(3) {
        _ if town.is_down(one) => town.bounce(one),
        0 => drop(town.shut_down(one)),
        1 => town.crash(one),
        _ => {
            // Nobody is told.
            for other in (0..town.hosts()).filter(|other| *other != one) {
                town.partition(one, other);
            }
            town.crash(one);
        }
    }
}
