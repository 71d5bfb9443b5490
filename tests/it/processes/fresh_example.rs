//! An address that nobody holds any more costs nothing: many messages, each with a fresh one, leave the memory of both
//! processes as it was. `examples/demos/fresh.rs` sends as many as one likes, and shows what is printed here.

// As it is run, so that what it does is tested and not what an older build of it would.
#[allow(dead_code)]
#[path = "../../../examples/demos/fresh.rs"]
mod fresh;

use actix::System;
use support::process::alone;

/// The other process is this program again, which runs only this.
const CHILD: [&str; 3] = ["--exact", "processes::fresh_example::child", "--nocapture"];

/// To be run alone: the memory of this process is looked at as well.
fn is_flat(messages: u64, actors: bool) {
    let options = fresh::Options { messages, actors };
    let outcome = System::new().block_on(fresh::run(&options, &CHILD));
    assert!(outcome.expect("it can be run"), "what it has printed says what is not as it should be");
}

#[test]
fn fresh_mailboxes_cost_nothing_once_they_are_gone() {
    alone(|| is_flat(100_000, false));
}

#[test]
fn fresh_actors_cost_nothing_once_they_are_gone() {
    alone(|| is_flat(30_000, true));
}

#[test]
fn child() {
    if hermod_demos::child::role().is_some() {
        System::new().block_on(fresh::answer()).expect("the parent is there");
    }
}
