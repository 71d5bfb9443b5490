//! The server of two terminals: it sends every line back to the address that came with it.
//!
//! ```text
//! cargo run --example echo_server                      # first terminal; listens on 127.0.0.1:4242
//! cargo run --example echo_client                      # second terminal; type something
//! cargo run --example echo_server -- 127.0.0.1:5000    # or anywhere else; tell the client, too
//! ```
//!
//! It shows that a server is a node that listens and a mailbox with a name. It keeps no list of clients; each message
//! brings the address to answer to. Stop it with Ctrl-C and start it again while the client runs: the client goes on.

use std::error::Error;
use std::process::ExitCode;

use actix::Message;
use actix_hermod::{Address, Mailbox, Node};
use serde::{Deserialize, Serialize};

/// The message that the client sends; `echo_client.rs` has the same.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Line {
    text: String,
    return_to: Address<Echo>,
}

/// The message that the client gets back.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Echo {
    text: String,
}

#[actix::main]
async fn main() -> ExitCode {
    let at = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4242".to_owned());
    match serve(&at).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo_server: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(at: &str) -> Result<(), Box<dyn Error>> {
    let node = Node::start();
    // Opened before the node listens, so that even the first line of the first client does not come too early.
    let mut lines = node.mailbox::<Line>().name("echo").open()?;
    let endpoint = node.listen(at).await?;
    println!("Listening on {endpoint}; Ctrl-C ends.");

    tokio::select! {
        () = echo(&mut lines) => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    // All echoes are still written, and read; a second Ctrl-C does not wait for that.
    tokio::select! {
        () = node.shutdown() => {}
        again = tokio::signal::ctrl_c() => again?,
    }
    println!("\nGoodbye.");
    Ok(())
}

async fn echo(lines: &mut Mailbox<Line>) {
    while let Some(Line { text, return_to }) = lines.recv().await {
        println!("{text}");
        return_to.do_send(Echo { text });
    }
}
