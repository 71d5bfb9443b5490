//! The client of two terminals: it sends the lines that you type, and prints the echoes and their round trips.
//!
//! ```text
//! cargo run --example echo_server                      # first terminal
//! cargo run --example echo_client                      # second terminal; type something
//! cargo run --example echo_client -- 127.0.0.1:5000    # if the server listens elsewhere
//! ```
//!
//! It shows that an address is a name at an endpoint, not a connection. Start the client first, type, start the server,
//! type; then restart the server, and type again: the address made at the beginning serves throughout. Messages sent
//! while no server is there are dropped, and never hold the client up.

use std::error::Error;
use std::io;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use actix::Message;
use actix_hermod::{Address, Node};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The longest time that an echo may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// The message that the server reads; `echo_server.rs` has the same.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Line {
    text: String,
    return_to: Address<Echo>,
}

/// The message that the server sends back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Echo {
    text: String,
}

#[actix::main]
async fn main() -> ExitCode {
    let server = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4242".to_owned());
    match run(&server).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_client: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(server: &str) -> Result<(), Box<dyn Error>> {
    // By default the pauses between two attempts to connect grow to ten seconds: too long for a person who waits and
    // types.
    let node = Node::builder().reconnect(Duration::from_millis(100)..=Duration::from_secs(1)).start();
    let echo = node.remote::<Line>(server, "echo")?;
    println!("Type a line for the server at {server}; Ctrl-C or Ctrl-D ends.");

    tokio::select! {
        ended = converse(&node, &echo) => ended?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    node.shutdown().await;
    println!("Goodbye.");
    Ok(())
}

async fn converse(node: &Node, echo: &Address<Line>) -> Result<(), Box<dyn Error>> {
    let mut typed = typed_lines();
    while let Some(text) = typed.recv().await {
        // A mailbox for each line: an echo that comes too late finds it closed, and is not taken for the echo of the
        // next line.
        let mut reply = node.mailbox::<Echo>().open()?;
        let sent = Instant::now();
        echo.do_send(Line { text, return_to: reply.address() });
        match timeout(PATIENCE, reply.recv()).await {
            Ok(Some(Echo { text })) => println!("{text}   ({} µs)", sent.elapsed().as_micros()),
            Ok(None) => return Err("our own mailbox was closed".into()),
            Err(_) => println!("Nothing came back within a second: the server seems not to be there yet. Try again."),
        }
    }
    Ok(())
}

/// The lines of the standard input. They are read on a thread of their own, which is not joined at the end.
fn typed_lines() -> mpsc::Receiver<String> {
    let (to_us, typed) = mpsc::channel(1);
    thread::spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if to_us.blocking_send(line).is_err() {
                break;
            }
        }
    });
    typed
}
