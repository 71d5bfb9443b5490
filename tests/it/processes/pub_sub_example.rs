//! The example `pub_sub`: the story that it tells is the promised one.

// As it is run, so that what is tested is not an older build of it.
#[allow(dead_code)]
#[path = "../../../examples/pub_sub.rs"]
mod pub_sub;

use actix::System;

/// The other process is this program again, which runs only this.
const CHILD: [&str; 3] = ["--exact", "processes::pub_sub_example::child", "--nocapture"];

#[test]
fn the_story_comes_true() {
    System::new().block_on(pub_sub::play(&CHILD)).expect("it is as promised");
}

/// The readers; without a role, it is nobody's child.
#[test]
fn child() {
    if let Some(at) = pub_sub::role() {
        System::new().block_on(pub_sub::reader::read(&at)).expect("it reads until it is killed");
    }
}
