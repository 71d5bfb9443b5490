//! The example `handoff`: the story that it tells is the promised one, and one that does not come true ends with 1.

// As it is run, so that what is tested is not an older build of it.
#[allow(dead_code)]
#[path = "../../../examples/demos/handoff/main.rs"]
mod handoff;

use std::io::Read;
use std::process::ExitStatus;
use std::process::Stdio;

use handoff::stage::Stage;
use hermod_demos::child;

/// The processes are this program again, which runs only this.
const CHILD: [&str; 3] = ["--exact", "processes::handoff_example::process", "--nocapture"];

/// Runs the example with those arguments, to its end; what it has printed, and that to its standard error, and its exit
/// status.
fn run(words: &str) -> (String, String, ExitStatus) {
    let mut command = child::command(words, &CHILD).expect("this program");
    let mut child = command.stderr(Stdio::piped()).spawn().expect("this program starts");
    // It ends early if it loses this.
    let _input = child.stdin.take();
    // It has little to say: neither fills its pipe while the other is read.
    let (mut printed, mut error) = (String::new(), String::new());
    child.stdout.take().expect("it is piped").read_to_string(&mut printed).expect("text");
    child.stderr.take().expect("it is piped").read_to_string(&mut error).expect("text");
    (printed, error, child.wait().expect("it ends"))
}

/// The output of one of the processes has all of that in it, in that order.
#[track_caller]
fn says(printed: &str, who: &str, wanted: &[&str]) {
    let mark = format!("{who}: ");
    let mut said = printed.lines().filter_map(|line| Some(line.split_once(&mark)?.1));
    for part in wanted {
        assert!(said.any(|line| line.contains(part)), "the {who} does not say '{part}' in its turn:\n{printed}");
    }
}

#[test]
fn the_story_comes_true() {
    let (printed, error, status) = run("");
    assert_eq!(status.code(), Some(0), "{printed}\n{error}");
    let (come, gone) = ("ada has left a pointer", "ada is gone: ConnectionLost; connected: false");
    says(&printed, "directory", &["listening at 127.0.0.1:", come, "bob has left a pointer", gone]);
    says(&printed, "ada", &["it listens nowhere"]);
    says(&printed, "bob", &["it listens nowhere"]);
    says(&printed, "stage", &["ada is killed"]);
    says(
        &printed,
        "client",
        &[
            "gives me pointers to: ada, bob",
            "ada has counted 11 words",
            "bob has counted 11 words",
            "ada has begun a job",
            "the job for an hour has ended, without a result",
            "the pointer to ada has closed: ConnectionLost",
            "another job for ada fails at once",
            "bob has counted 11 words",
            "gives me pointers to: bob",
        ],
    );
}

/// The directory is killed, and with it the way to the worker that was to go on.
#[test]
fn a_story_that_does_not_come_true_is_seen() {
    let (mut stage, at) = Stage::with_workers(&CHILD, &["ada", "bob"]).expect("the processes start");
    stage.enter("client", &format!("client {at}")).expect("it starts");
    stage.hears("client", "kill -9 ").expect("it comes so far");
    stage.kill("directory").expect("it runs");
    let error = stage.ends("client").expect_err("the other worker does not go on").to_string();
    assert!(error.contains("exit status: 1"), "{error}");
}

#[test]
fn a_client_alone_has_no_story() {
    for (workers, why) in [(&[][..], "there is no worker"), (&["ada"], "start another")] {
        let (_stage, at) = Stage::with_workers(&CHILD, workers).expect("the processes start");
        let (_, error, status) = run(&format!("client {at}"));
        assert!(status.code() == Some(1) && error.contains(why), "{status}: {error}");
    }
}

#[test]
fn what_is_not_understood_is_not_run() {
    for words in ["director", "worker 127.0.0.1:4242", "client", "directory 127.0.0.1:4242 please"] {
        let (_, error, status) = run(words);
        let complaint = format!("'{words}' is not understood");
        assert!(status.code() == Some(2) && error.contains(&complaint), "{status}: {error}");
    }
}

/// The other processes; without a role, it is nobody's child.
#[test]
fn process() {
    if let Some(words) = child::role() {
        child::end_with_parent();
        std::process::exit(handoff::status(&words, &CHILD).into());
    }
}
