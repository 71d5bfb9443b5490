//! The HTTP side. Its two handlers do the same, one with plain actix, the other with the additions of an `Address`.

use std::fmt;
use std::io;
use std::time::Duration;

use actix::MailboxError;
use actix::Recipient;
use actix_hermod::Address;
use actix_hermod::AskError;
use actix_hermod::DropReason;
use actix_web::App;
use actix_web::HttpServer;
use actix_web::ResponseError;
use actix_web::dev::Server;
use actix_web::get;
use actix_web::http::StatusCode;
use actix_web::web;
use serde::Deserialize;

use crate::job::Job;

/// The state of the handlers. All threads of the server share it, since handles can be used on any thread.
struct Desk {
    worker: Recipient<Job>,
    explained: Address<Job>,
    timeout: Duration,
}

/// `?slow` or nothing.
#[derive(Deserialize)]
struct Pace {
    slow: Option<String>,
}

/// Binds a server and prints its address. It serves only when it is polled. Ctrl-C ends it.
pub fn bind(worker: Address<Job>, port: u16, timeout: Duration) -> io::Result<Server> {
    let desk = web::Data::new(Desk { worker: worker.recipient(), explained: worker, timeout });
    let server = HttpServer::new(move || App::new().app_data(desk.clone()).service(square).service(square_or_why))
        .workers(2)
        .bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("Try http://{address}/square/12");
    }
    Ok(server.run())
}

// --------------------------------------------------------------------------------------------------- the handlers

/// Through a `Recipient`: nothing here shows that the worker is in another process.
#[get("/square/{n}")]
async fn square(n: web::Path<String>, pace: web::Query<Pace>, desk: web::Data<Desk>) -> Result<String, NoSquare> {
    let answer = desk.worker.send(job(&n, &pace)?).timeout(desk.timeout).await?;
    Ok(answer.to_string())
}

/// Through an `Address`: the error tells what went wrong, and whether the job may have been done. If a job must not be
/// done twice, that decides whether it may be sent again.
#[get("/square/{n}/why")]
async fn square_or_why(
    n: web::Path<String>,
    pace: web::Query<Pace>,
    desk: web::Data<Desk>,
) -> Result<String, NoSquare> {
    let answer = desk.explained.ask(job(&n, &pace)?).timeout(desk.timeout).await?;
    Ok(answer.to_string())
}

fn job(n: &str, pace: &Pace) -> Result<Job, NoSquare> {
    let n = n.parse().map_err(|_| NoSquare::NoNumber)?;
    Ok(Job { n, slow: pace.slow.is_some() })
}

// ----------------------------------------------------------------------------------------------------- the errors

/// Why there is no square: a status, and a line for a person.
#[derive(Debug)]
enum NoSquare {
    NoNumber,
    TooSlow,
    Down(String),
}

impl From<MailboxError> for NoSquare {
    fn from(error: MailboxError) -> NoSquare {
        match error {
            MailboxError::Timeout => NoSquare::TooSlow,
            MailboxError::Closed => NoSquare::Down("the worker is down".to_owned()),
        }
    }
}

impl From<AskError> for NoSquare {
    fn from(error: AskError) -> NoSquare {
        let again = if error.may_have_been_handled() { "the job may have been done" } else { "it can be sent again" };
        match error {
            AskError::Timeout | AskError::NotDelivered { reason: DropReason::Expired, .. } => NoSquare::TooSlow,
            error => NoSquare::Down(format!("{error}; {again}")),
        }
    }
}

impl fmt::Display for NoSquare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoSquare::NoNumber => write!(f, "this is no whole number of 64 bits"),
            NoSquare::TooSlow => write!(f, "the worker has not answered in time"),
            NoSquare::Down(why) => write!(f, "{why}"),
        }
    }
}

/// The body of the response is the error as text.
impl ResponseError for NoSquare {
    fn status_code(&self) -> StatusCode {
        match self {
            NoSquare::NoNumber => StatusCode::BAD_REQUEST,
            NoSquare::TooSlow => StatusCode::GATEWAY_TIMEOUT,
            NoSquare::Down(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}
