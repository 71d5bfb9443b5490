//! Where a node may be started, and what one is told where it may not.

use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use actix_hermod::IoThread;
use actix_hermod::Node;

fn words(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(words) => *words,
        Err(panic) => panic.downcast_ref::<&str>().map(|words| (*words).to_owned()).unwrap_or_default(),
    }
}

#[tokio::test]
async fn where_no_local_tasks_run_one_is_told_which_calls_to_make() {
    let told = words(catch_unwind(Node::start).expect_err("there is no LocalSet"));
    for call in ["#[actix::test]", "System::new().block_on", "LocalSet", "io_thread(IoThread::Own)"] {
        assert!(told.contains(call), "{call} is missing: {told}");
    }
    // The last of these calls works here.
    let node = Node::builder().io_thread(IoThread::Own).start();
    assert!(node.listen("127.0.0.1:0").await.is_ok());
    node.shutdown().await;
}

#[tokio::test]
async fn a_local_set_is_enough() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let node = Node::start();
            assert!(node.listen("127.0.0.1:0").await.is_ok());
            node.shutdown().await;
        })
        .await;
}

#[test]
fn what_is_no_endpoint_is_not_advertised_and_said_where_it_is_asked_for() {
    let advertise = || drop(Node::builder().advertise("nowhere"));
    let told = words(catch_unwind(AssertUnwindSafe(advertise)).expect_err("it has no port"));
    assert!(told.contains("\"nowhere\"") && told.contains("host:port"), "{told}");
}
