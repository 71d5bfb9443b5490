//! The counts of messages that both ends of a connection have read, as each tells the other.

use super::settlement::Unsettled;

/// See the [module](self).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Acknowledgement {
    /// Messages that the peer says it has read.
    by_peer: u64,
    /// Messages that were read from the peer.
    here: u64,
    /// Whether the peer has said that it ends: it handles no message that it had not read by then.
    peer_has_ended: bool,
    /// Messages written to connections of the link that have ended.
    past_written: u64,
    /// Messages read from these.
    past_read: u64,
}

impl Acknowledgement {
    /// Takes the number of messages that the peer says it has read, of those `written`. A count that shrinks, or
    /// exceeds the number written, is not believed.
    pub(crate) fn on_count(&mut self, read: u64, written: u64) {
        self.by_peer = read.clamp(self.by_peer, written.max(self.by_peer));
    }

    /// Takes the peer's reply to a request, which was the message of that number: the peer has read it, and all
    /// messages written before it. A request that was not written was not read.
    pub(crate) fn on_reply(&mut self, post: u64, written: u64) {
        if post <= written {
            self.by_peer = self.by_peer.max(post);
        }
    }

    /// Notes that the peer has said that it ends.
    pub(crate) fn on_end(&mut self) {
        self.peer_has_ended = true;
    }

    /// Notes the number of messages that were read from the peer so far.
    pub(crate) fn have_read(&mut self, posts: u64) {
        self.here = posts;
    }

    pub(crate) fn by_peer(&self) -> u64 {
        self.by_peer
    }

    pub(crate) fn here(&self) -> u64 {
        self.here
    }

    /// Returns the messages among those `written` that the peer never handles, because it had not read them when it
    /// said that it ends.
    pub(crate) fn never_read(&self, written: u64) -> u64 {
        if self.peer_has_ended { written.saturating_sub(self.by_peer) } else { 0 }
    }

    /// Returns the balance of a connection that has ended, to which that many messages were `written`.
    pub(crate) fn balance(&self, written: u64) -> Unsettled {
        Unsettled { written, known: self.by_peer + self.never_read(written), read: self.here }
    }

    /// Returns the counts of the link's next connection.
    pub(crate) fn over_to_next(&self, ended: Unsettled) -> Acknowledgement {
        let (past_written, past_read) = (self.past_written + ended.written, self.past_read + ended.read);
        Acknowledgement { past_written, past_read, ..Acknowledgement::default() }
    }

    /// Returns the messages written and read over all connections of the link, of which `written` on this one.
    pub(crate) fn totals(&self, written: u64) -> (u64, u64) {
        (self.past_written + written, self.past_read + self.here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_shrinks_or_cannot_be_is_not_believed() {
        let mut read = Acknowledgement::default();
        let counts = [(3, 10), (2, 10), (11, 10), (5, 4)].map(|(count, written)| {
            read.on_count(count, written);
            read.by_peer()
        });
        assert_eq!(counts, [3, 3, 10, 10]);
    }

    #[test]
    fn a_reply_says_that_its_request_was_read_if_that_was_written() {
        let mut read = Acknowledgement::default();
        let counts = [(3, 10), (2, 10), (11, 10), (u64::MAX, 10)].map(|(post, written)| {
            read.on_reply(post, written);
            read.by_peer()
        });
        assert_eq!(counts, [3, 3, 3, 3]);
    }

    #[test]
    fn messages_behind_the_peers_end_are_no_longer_in_doubt() {
        let mut read = Acknowledgement::default();
        read.on_count(4, 10);
        read.have_read(7);
        assert_eq!((read.never_read(10), read.balance(10)), (0, Unsettled { written: 10, known: 4, read: 7 }));
        read.on_end();
        assert_eq!((read.never_read(10), read.balance(10)), (6, Unsettled { written: 10, known: 10, read: 7 }));
    }

    #[test]
    fn the_next_connection_begins_at_nothing_and_the_totals_go_on() {
        let mut read = Acknowledgement::default();
        read.on_count(4, 10);
        read.have_read(7);
        read.on_end();
        let mut next = read.over_to_next(read.balance(10));
        assert_eq!((next.by_peer(), next.here(), next.never_read(3)), (0, 0, 0));
        next.have_read(1);
        assert_eq!(next.totals(2), (12, 8));
        assert_eq!(next.over_to_next(next.balance(2)).totals(0), (12, 8));
    }
}
