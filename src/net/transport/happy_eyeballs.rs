//! Chooses among the addresses of a name: Happy Eyeballs version 2 (RFC 8305).
//!
//! Addresses are tried in turn, each some time after the one before and not instead of it, so that an address that does
//! not answer costs a moment and not the whole time that a connection may take. The first connection that is made is
//! kept, and the other attempts are dropped. Section 3 of the RFC, answers for the two families at different times, is
//! left out: the system's resolver gives both at once, sorted as section 4 wants it.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

/// The time for which an attempt is alone before the next one joins it: the Connection Attempt Delay that RFC 8305
/// section 5 recommends.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Connects to the addresses by `connect`, and returns the first connection that is made. An attempt that fails has the
/// next one begin at once. The caller limits the total time, and with it the number of attempts at a time.
///
/// # Errors
/// When all attempts have failed: the error of the last to fail.
pub(super) async fn race<T, F>(addresses: Vec<SocketAddr>, connect: impl Fn(SocketAddr) -> F) -> io::Result<T>
where
    F: Future<Output = io::Result<T>>,
{
    let mut untried = interleaved(addresses);
    let mut attempts = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "there is no address to connect to");
    loop {
        attempts.extend(untried.pop_front().map(&connect));
        let is_last = untried.is_empty();
        let delay = async {
            if is_last {
                std::future::pending().await
            } else {
                tokio::time::sleep(ATTEMPT_DELAY).await;
            }
        };
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some(Ok(connected)) => return Ok(connected),
                Some(Err(error)) => failed = error,
                None => return Err(failed),
            },
            () = delay => {}
        }
    }
}

/// Returns the addresses with the two families alternating, beginning with that of the first, and otherwise in their
/// order (RFC 8305 section 4, with a First Address Family Count of 1).
fn interleaved(addresses: Vec<SocketAddr>) -> VecDeque<SocketAddr> {
    let preferred = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, others): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| address.is_ipv6() == preferred);
    let (mut preferred, mut others) = (preferred.into_iter(), others.into_iter());
    let mut order = VecDeque::new();
    while preferred.len() + others.len() > 0 {
        order.extend(preferred.next());
        order.extend(others.next());
    }
    order
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use tokio::time::Instant;

    use super::*;

    /// The result of an attempt, and the milliseconds after which it ends.
    type Script = fn(u16) -> (io::Result<u16>, u64);

    /// An attempt that notes when it is dropped.
    struct Attempt(Rc<RefCell<Vec<u16>>>, u16);

    impl Drop for Attempt {
        fn drop(&mut self) {
            self.0.borrow_mut().push(self.1);
        }
    }

    /// Ports as addresses: 6… is IPv6, all others are IPv4.
    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        let address = |port: u16| match port / 100 {
            6 => SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)),
            _ => SocketAddr::from(([127, 0, 0, 1], port)),
        };
        ports.iter().copied().map(address).collect()
    }

    /// The result of a race and the milliseconds it took, when each attempt began, and the order in which they were
    /// dropped.
    struct Run {
        result: io::Result<u16>,
        took: u64,
        begun: Vec<(u16, u64)>,
        dropped: Vec<u16>,
    }

    async fn run(ports: &[u16], script: Script) -> Run {
        let (start, begun, dropped) = (Instant::now(), Rc::default(), Rc::default());
        let elapsed = move || u64::try_from(start.elapsed().as_millis()).unwrap();
        let connect = |address: SocketAddr| {
            let (begun, port): (&Rc<RefCell<Vec<_>>>, _) = (&begun, address.port());
            begun.borrow_mut().push((port, elapsed()));
            let attempt = Attempt(Rc::clone(&dropped), port);
            async move {
                let _attempt = attempt;
                let (result, after) = script(port);
                tokio::time::sleep(Duration::from_millis(after)).await;
                result
            }
        };
        let result = race(addresses(ports), connect).await;
        Run { result, took: elapsed(), begun: begun.take(), dropped: dropped.take() }
    }

    const NEVER: u64 = 1 << 40;

    fn refused() -> io::Result<u16> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_does_not_answer_costs_a_quarter_of_a_second() {
        let run = run(&[600, 400], |port| if port == 600 { (Ok(port), NEVER) } else { (Ok(port), 10) }).await;
        assert_eq!((run.result.unwrap(), run.took), (400, 260));
        assert_eq!(run.begun, [(600, 0), (400, 250)]);
        assert_eq!(run.dropped, [400, 600], "the loser is dropped");
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_answers_soon_is_the_only_one_tried() {
        let run = run(&[600, 400], |port| (Ok(port), 249)).await;
        assert_eq!((run.result.unwrap(), run.took), (600, 249));
        assert_eq!(run.begun, [(600, 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_earlier_attempt_may_still_win() {
        let run = run(&[600, 400], |port| if port == 600 { (Ok(port), 300) } else { (Ok(port), 100) }).await;
        assert_eq!((run.result.unwrap(), run.took), (600, 300));
        assert_eq!(run.dropped, [600, 400]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_attempt_has_the_next_begin_at_once() {
        let run = run(&[600, 400, 401, 402], |port| match port {
            600 => (Ok(port), NEVER),
            402 => (Ok(port), 10),
            _ => (refused(), 20),
        })
        .await;
        assert_eq!((run.result.unwrap(), run.took), (402, 300));
        assert_eq!(run.begun, [(600, 0), (400, 250), (401, 270), (402, 290)]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_have_failed_the_last_error_is_told() {
        let run = run(&[400, 401], |port| match port {
            400 => (Err(io::ErrorKind::HostUnreachable.into()), 300),
            _ => (refused(), 20),
        })
        .await;
        assert_eq!(run.result.unwrap_err().kind(), io::ErrorKind::HostUnreachable);
        assert_eq!(run.took, 300, "the one under way was waited for");
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_address_there_is_nothing_to_wait_for() {
        let run = run(&[], |port| (Ok(port), 0)).await;
        assert_eq!((run.result.unwrap_err().kind(), run.took), (io::ErrorKind::NotFound, 0));
    }

    #[test]
    fn the_families_take_turns() {
        let ports = |ports: &[u16]| interleaved(addresses(ports)).iter().map(SocketAddr::port).collect::<Vec<_>>();
        assert_eq!(ports(&[600, 601, 602, 400, 401]), [600, 400, 601, 401, 602]);
        assert_eq!(ports(&[400, 600, 601, 602]), [400, 600, 601, 602]);
        assert_eq!(ports(&[400, 401]), [400, 401]);
    }
}
