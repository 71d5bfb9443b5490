//! The peers of a node that are expected back: the [table](AbsenceTable) with its lock, and the time until the next one
//! is expected no longer.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::boxes::leases::Holder;
use crate::handle::ports::Outbound;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::net::control::absence::AbsenceTable;
use crate::net::control::absence::Absent;
use crate::net::control::settlement::ConnectionNames;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Absences {
    table: Mutex<AbsenceTable>,
    came: Notify,
    forget_after: Duration,
}

impl Absences {
    pub(crate) fn new(forget_after: Duration) -> Absences {
        Absences { table: Mutex::default(), came: Notify::new(), forget_after }
    }

    /// Records that a connection with a peer that holds boxes here has ended; see [`AbsenceTable::expect_back`].
    pub(super) fn expect_back(
        &self,
        names: ConnectionNames,
        holder: Holder,
        link: Option<Arc<dyn Outbound>>,
    ) -> Option<Absent> {
        let until = Instant::now().checked_add(self.forget_after);
        let oldest = self.table.lock().expect_back(names, holder, link, until);
        self.came.notify_one();
        oldest
    }

    /// Removes the connection of a peer that is back, and has stated its leases on that connection.
    pub(crate) fn is_back(&self, peer: Incarnation, ours: ConnectionId) -> Option<Absent> {
        self.table.lock().on_restated(peer, ours)
    }

    /// Removes the connections of a peer that has said goodbye.
    #[must_use]
    pub(crate) fn forget(&self, peer: Incarnation) -> Vec<Absent> {
        self.table.lock().on_goodbye(peer)
    }

    /// Removes the connections of earlier runs of a node.
    #[must_use]
    pub(crate) fn forget_earlier(&self, than: Incarnation) -> Vec<Absent> {
        self.table.lock().forget_earlier(than)
    }

    /// Removes all connections, for good.
    pub(crate) fn clear(&self) {
        let cleared = self.table.lock().end();
        drop(cleared);
    }

    /// Returns the next connection whose peer is no longer expected back, once there is one.
    pub(crate) async fn next_forgotten(&self) -> Absent {
        loop {
            let until = {
                let mut table = self.table.lock();
                if let Some(forgotten) = table.next_due(Instant::now()) {
                    return forgotten;
                }
                table.due_at()
            };
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                // `Notify` keeps a permit for a later waiter, so nothing is missed.
                None => self.came.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORGET_AFTER: Duration = Duration::from_secs(60);

    fn absent(absences: &Absences, n: u8) {
        let peer = Incarnation::of([n; 16]);
        let names = ConnectionNames { peer, local: ConnectionId([n; 16]), remote: ConnectionId([9; 16]) };
        assert!(absences.expect_back(names, Holder::from(n), None).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_forgotten_when_its_time_has_come() {
        let (absences, began) = (Absences::new(FORGET_AFTER), Instant::now());
        absent(&absences, 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        absent(&absences, 2);
        assert_eq!((absences.next_forgotten().await.holder, began.elapsed()), (1, FORGET_AFTER));
        assert_eq!(absences.next_forgotten().await.holder, 2);
        assert_eq!(began.elapsed(), FORGET_AFTER + Duration::from_secs(1));
        let more = tokio::time::timeout(10 * FORGET_AFTER, absences.next_forgotten()).await;
        assert!(more.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_goes_while_nobody_is_absent_is_noticed() {
        let absences = Arc::new(Absences::new(FORGET_AFTER));
        let waiting = tokio::spawn({
            let absences = Arc::clone(&absences);
            async move { absences.next_forgotten().await.holder }
        });
        tokio::task::yield_now().await;
        absent(&absences, 7);
        assert_eq!(waiting.await.expect("it does not panic"), 7);
    }
}
