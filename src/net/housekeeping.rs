//! The periodic work of a node: sweeps with each heartbeat, gathered reports to subscribers and peers, and metrics.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::shared::NodeInner;
use super::shared::StopOnDrop;
use crate::handle::recipient::proxy;

/// The time for which drops are gathered before they are reported to subscribers and peers.
const GATHER: Duration = Duration::from_millis(250);

/// The interval at which counts are handed to an exporter: shorter than the usual interval between scrapes.
#[cfg(feature = "metrics")]
const PUBLISH: Duration = Duration::from_secs(1);

impl NodeInner {
    /// Runs the periodic work, until the node stops.
    pub(crate) async fn housekeep(self: Arc<Self>, _stop: StopOnDrop) {
        let mut heartbeat = tokio::time::interval(self.limits.heartbeat.max(Duration::from_millis(1)));
        let mut tell_at = None;
        let mut publishing = pin!(self.publish_on());
        loop {
            let tell = async {
                match tell_at {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => tokio::select! {
                        biased;
                        () = self.observer.noted() => {}
                        () = self.peers.news_due() => {}
                    },
                }
            };
            tokio::select! {
                biased;
                () = self.stopped().cancelled() => return,
                _ = heartbeat.tick() => {
                    tokio::select! {
                        biased;
                        () = self.stopped().cancelled() => return,
                        () = self.registry.sweep() => {}
                    }
                    self.peers.sweep();
                    proxy::sweep(self.id);
                    self.recipients().sweep();
                }
                () = tell => match tell_at.take() {
                    Some(_) => {
                        self.observer.flush(self.id.node);
                        self.peers.tell_peers();
                    }
                    None => tell_at = Some(Instant::now() + GATHER),
                },
                forgotten = self.absences.next_forgotten() => self.registry.leases().release_all(forgotten.holder),
                () = &mut publishing => {}
            }
        }
    }

    /// Publishes the counts periodically, without end.
    #[cfg(feature = "metrics")]
    async fn publish_on(&self) {
        let mut ticks = tokio::time::interval(PUBLISH);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.publish();
        }
    }

    #[cfg(not(feature = "metrics"))]
    async fn publish_on(&self) {
        std::future::pending().await
    }

    /// Publishes the counts to the installed exporter.
    #[cfg(feature = "metrics")]
    pub(super) fn publish(&self) {
        let fills: Vec<_> = self.registry.all().iter().map(|local| local.occupancy()).collect();
        crate::observe::metrics::publish(&self.stats_without_boxes(), &fills);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;
    use crate::boxes::relay::Relay;
    use crate::handle::detached;
    use crate::handle::pointer::Pointer;
    use crate::handle::ports::LocalBox;
    use crate::ident::BoxId;
    use crate::net::io_thread;
    use crate::net::shared::Setup;

    #[tokio::test]
    async fn many_boxes_are_swept_in_slices() {
        let (io, _not_started) = io_thread::io();
        let node = NodeInner::new(Setup::default(), io, |_, _| {});
        for _ in 0..600 {
            let local: Arc<dyn LocalBox> = Arc::new(Relay::new(BoxId::random(), detached::pointer(), 1));
            let pointer = Arc::new(Pointer::here(Arc::clone(&node) as _, Arc::clone(&local)));
            assert!(node.registry.leases().lease(&pointer, &*local, 7).is_none(), "there is room");
        }
        let (mut sweep, mut slices) = (pin!(node.registry.sweep()), 0);
        while sweep.as_mut().now_or_never().is_none() {
            slices += 1;
        }
        assert_eq!(slices, 3, "others have their turn after each 256");
    }
}
