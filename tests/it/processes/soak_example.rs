//! A soak of some seconds: random messages over links that break balance to the last one. `examples/demos/soak` runs as long as
//! one likes, and shows what is printed here.

// As it is run, so that what it does is tested and not what an older build of it would.
#[allow(dead_code)]
#[path = "../../../examples/demos/soak/main.rs"]
mod soak;

use actix::System;

/// The other processes are this program again, which runs only this.
const CHILD: [&str; 3] = ["--exact", "processes::soak_example::child", "--nocapture"];

#[test]
fn a_soak_of_some_seconds_balances() {
    let options = soak::Options { seconds: 9, seed: 1 };
    let outcome = System::new().block_on(soak::run(&options, &CHILD));
    assert!(outcome.expect("it can be run"), "what it has printed says what is not as it should be");
}

#[test]
fn child() {
    if hermod_demos::child::role().is_some() {
        System::new().block_on(soak::live()).expect("the parent says what it is to do");
    }
}
