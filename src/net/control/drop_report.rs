//! Reports of dropped messages between the two ends of a connection: a running sum for each box, shape and reason, so
//! that a report that is left out or late costs nothing.

use std::collections::HashMap;
use std::collections::VecDeque;

use bytes::BytesMut;

use crate::ident::MAX_NAME;
use crate::reason::DropReason;
use crate::wire::codec::MAX_NUMBER;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Account;
use crate::wire::frames::report::put_report;
use crate::wire::target::Target;

/// Pairs of box and message shape that have a count of their own, in each direction; drops of others are summed up.
/// Needed because a peer may send to, and report, as many names and shapes as it likes.
const MAX_COUNTED: usize = 4096;

/// Drops that are reported with detail, of about [`MAX_DETAIL`](crate::wire::frames::refuse::MAX_DETAIL) bytes each at
/// most. Further ones are only counted.
const MAX_REMARKS: usize = 16;

/// Maximum size of an entry of a report, in bytes.
const ENTRY: usize = 16 + MAX_NAME + size_of::<u64>() + MAX_NUMBER;

/// Drops by reason.
pub(super) type ReasonCounts = [u64; DropReason::ALL.len()];

/// The account of all messages that have no count of their own.
const OTHERS: Account = Account { target: Target::Others, fingerprint: 0 };

/// Drops by box and shape.
#[derive(Debug, Default)]
struct DropCounts(HashMap<Account, ReasonCounts>);

impl DropCounts {
    /// Returns the account's own entry, or the entry of all others.
    fn of(&mut self, account: Account) -> (Account, &mut ReasonCounts) {
        let room = self.0.len() < MAX_COUNTED || self.0.contains_key(&account);
        let account = if room { account } else { OTHERS };
        (account.clone(), self.0.entry(account).or_default())
    }

    fn add(&mut self, other: DropCounts) {
        for (account, counts) in other.0 {
            let (_, sums) = self.of(account);
            sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(count));
        }
    }
}

/// Consecutive dropped messages of one shape, for one box (by the peer's name for it), dropped for one reason.
#[derive(Debug)]
pub(crate) struct DropRun {
    pub(crate) account: Account,
    pub(crate) reason: DropReason,
    pub(crate) count: u64,
    /// More about the last of them, for a person at the other end.
    pub(crate) words: Option<Box<str>>,
}

/// Drops here of messages that came over the connection.
#[derive(Debug, Default)]
pub(crate) struct LocalDrops {
    counts: DropCounts,
    /// The sums that are not reported yet, in the order in which they changed.
    untold: VecDeque<(Account, DropReason)>,
    /// The reasons in `untold` for each account, one bit each.
    marked: HashMap<Account, u32>,
    /// Details about the last of some unreported drops, for a person; at most [`MAX_REMARKS`].
    remarks: Vec<(Account, DropReason, Box<str>)>,
}

impl LocalDrops {
    /// Counts drops. Returns whether there was nothing to report before.
    pub(crate) fn add(&mut self, DropRun { account, reason, count, words }: DropRun) -> bool {
        if let Some(words) = words {
            self.remark(account.clone(), reason, &words);
        }
        self.dropped(account, reason, count)
    }

    fn dropped(&mut self, account: Account, reason: DropReason, count: u64) -> bool {
        let first = self.untold.is_empty();
        let (account, counts) = self.counts.of(account);
        if let Some(sum) = counts.get_mut(reason as usize) {
            *sum += count;
        }
        let marks = self.marked.entry(account.clone()).or_default();
        if *marks & 1 << reason as u32 == 0 {
            *marks |= 1 << reason as u32;
            self.untold.push_back((account, reason));
        }
        first
    }

    /// Adds detail about the last of those drops.
    fn remark(&mut self, account: Account, reason: DropReason, words: &str) {
        let has_room = self.remarks.len() < MAX_REMARKS;
        match self.remarks.iter_mut().find(|(of, why, _)| *of == account && *why == reason) {
            Some((_, _, before)) => *before = words.into(),
            None if has_room => self.remarks.push((account, reason, words.into())),
            None => {}
        }
    }

    /// Writes the reports that are due, in at most `room` bytes and frames of at most `longest`; `read` is the number of
    /// messages that were read from the peer. Details that do not fit are left out. Returns whether anything was
    /// written.
    pub(crate) fn poll_frames(&mut self, out: &mut BytesMut, room: usize, longest: usize, read: u64) -> bool {
        let most = room.min(longest).saturating_sub(ENTRY) / ENTRY;
        if most == 0 || self.is_told() {
            return false;
        }
        let before = out.len();
        put_report(out, read, std::iter::from_fn(|| self.next()).take(most));
        for (account, reason, words) in std::mem::take(&mut self.remarks) {
            if out.len() - before + Remark::LONGEST <= room && Remark::LONGEST <= longest {
                Remark::new(account, reason, &words).put(out);
            }
        }
        true
    }

    pub(crate) fn is_told(&self) -> bool {
        self.untold.is_empty()
    }

    /// Returns the next sum to report.
    fn next(&mut self) -> Option<(Account, DropReason, u64)> {
        let (account, reason) = self.untold.pop_front()?;
        if let Some(marks) = self.marked.get_mut(&account) {
            *marks &= !(1 << reason as u32);
            if *marks == 0 {
                self.marked.remove(&account);
            }
        }
        let count = self.counts.0.get(&account).and_then(|counts| counts.get(reason as usize)).copied();
        Some((account, reason, count.unwrap_or_default()))
    }
}

/// Boxes whose message type is remembered separately, because another type has the same shape.
const MAX_REMEMBERED: usize = 65_536;

/// The Rust types of messages that were sent to boxes of the peer. There may be very many boxes, and there are few
/// types: a box has an entry of its own only if another type has the shape of its messages.
#[derive(Default)]
pub(crate) struct TypeNames {
    /// The types by the fingerprints of their shapes: one for each type that this node sends.
    by_shape: HashMap<u64, &'static str>,
    /// The types of boxes with an entry of their own; at most [`MAX_REMEMBERED`].
    others: HashMap<Account, &'static str>,
}

impl TypeNames {
    /// Notes the type of a message that is sent to that box.
    pub(crate) fn note(&mut self, account: Account, type_name: &'static str) {
        if *self.by_shape.entry(account.fingerprint).or_insert(type_name) == type_name {
            self.others.remove(&account);
        } else if self.others.len() < MAX_REMEMBERED || self.others.contains_key(&account) {
            self.others.insert(account, type_name);
        }
    }

    /// Returns the type of the messages of that shape that were sent to that box; empty if it is not known.
    pub(crate) fn of(&self, account: &Account) -> &'static str {
        self.others.get(account).or_else(|| self.by_shape.get(&account.fingerprint)).copied().unwrap_or_default()
    }
}

/// One connection's part in drop reports to the peer, and what is needed to understand those of the peer.
#[derive(Default)]
pub(crate) struct DropReports {
    pub(crate) local: LocalDrops,
    /// The Rust types of messages sent to boxes of the peer.
    pub(crate) types: TypeNames,
}

/// Drops at the peer of messages that went over the connection, as far as it has reported them.
#[derive(Debug, Default)]
pub(crate) struct PeerDrops {
    now: DropCounts,
    /// Drops of the link's earlier connections.
    before: DropCounts,
    /// The sum of `now`.
    believed: u64,
}

impl PeerDrops {
    /// Takes a sum from the peer, and returns by how much it has grown. A sum that shrinks is not believed, nor are
    /// more drops than messages were `written`.
    pub(crate) fn told(&mut self, account: Account, reason: DropReason, count: u64, written: u64) -> u64 {
        let (entry, counts) = self.now.of(account.clone());
        let Some(sum) = counts.get_mut(reason as usize) else { return 0 };
        if entry != account {
            // More entries than an honest peer keeps.
            return 0;
        }
        let grown = count.saturating_sub(*sum).min(written.saturating_sub(self.believed));
        *sum += grown;
        self.believed += grown;
        grown
    }

    /// Ends the counts of a connection: the next one counts from 0.
    pub(crate) fn close(&mut self) {
        let now = std::mem::take(&mut self.now);
        self.before.add(now);
        self.believed = 0;
    }

    /// Returns the known drops of messages of a shape for a box: those reported for that shape, and those reported for
    /// any shape.
    pub(crate) fn of(&self, target: &Target, fingerprint: u64) -> ReasonCounts {
        let mut sum = ReasonCounts::default();
        let of_any = (fingerprint != 0).then_some(0);
        for fingerprint in std::iter::once(fingerprint).chain(of_any) {
            let account = Account { target: target.clone(), fingerprint };
            for counts in [&self.before, &self.now].into_iter().filter_map(|counts| counts.0.get(&account)) {
                sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum = sum.saturating_add(*count));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frames::Front;
    use crate::wire::frames::LENGTH;
    use crate::wire::frames::front;
    use crate::wire::frames::kind;
    use crate::wire::frames::refuse::MAX_DETAIL;
    use crate::wire::frames::report::read_report;

    fn by_box(n: usize) -> Account {
        Account { target: Target::Name(n.to_string().into()), fingerprint: 7 }
    }

    fn by_shape(n: usize) -> Account {
        Account { target: Target::Name("box".into()), fingerprint: n as u64 }
    }

    #[test]
    fn boxes_and_shapes_without_end_have_one_account_in_common() {
        for account in [by_box, by_shape] {
            let mut ours = LocalDrops::default();
            let first = (0..2 * MAX_COUNTED).filter(|n| ours.dropped(account(*n), DropReason::NoSuchBox, 1)).count();
            assert_eq!(first, 1);
            assert_eq!(ours.counts.0.len(), MAX_COUNTED + 1);
            assert_eq!((ours.untold.len(), ours.marked.len()), (MAX_COUNTED + 1, MAX_COUNTED + 1));
            let told: u64 = std::iter::from_fn(|| ours.next()).map(|(_, _, count)| count).sum();
            assert_eq!(told, 2 * MAX_COUNTED as u64, "each is told, if not of which box it was");
        }
    }

    #[test]
    fn more_is_said_of_so_many_and_of_each_about_the_last() {
        let mut ours = LocalDrops::default();
        for n in 0..2 * MAX_REMARKS {
            ["first", "last"].iter().for_each(|words| ours.remark(by_box(n), DropReason::TooLarge, words));
        }
        assert_eq!(ours.remarks.len(), MAX_REMARKS);
        assert!(ours.remarks.iter().all(|(_, _, words)| &**words == "last"));
    }

    #[test]
    fn a_peer_that_tells_of_boxes_or_shapes_without_end_is_believed_of_so_many() {
        for account in [by_box, by_shape] {
            let mut theirs = PeerDrops::default();
            let told = |n| theirs.told(account(n), DropReason::NoSuchBox, 1, u64::MAX);
            assert_eq!((0..2 * MAX_COUNTED).map(told).sum::<u64>(), MAX_COUNTED as u64);
            assert!(theirs.now.0.len() <= MAX_COUNTED + 1);
            theirs.close();
            assert!(theirs.before.0.len() <= MAX_COUNTED + 1);
        }
    }

    #[test]
    fn a_sum_that_shrinks_or_is_more_than_was_written_is_not_believed() {
        let mut theirs = PeerDrops::default();
        let mut told = |n, count, written| theirs.told(by_box(n), DropReason::TooLarge, count, written);
        assert_eq!([told(1, 5, 10), told(1, 4, 10), told(1, 7, 10)], [5, 0, 2]);
        assert_eq!([told(2, 9, 10), told(2, 9, 10), told(3, 1, 10), told(3, 1, 11)], [3, 0, 0, 1]);
    }

    #[test]
    fn what_is_told_of_one_shape_is_no_loss_of_another() {
        let target = Target::Name("box".into());
        let mut theirs = PeerDrops::default();
        for (n, count) in [(0, 1), (7, 10), (8, 100)] {
            assert_eq!(theirs.told(by_shape(n), DropReason::NewestShed, count, u64::MAX), count);
        }
        let lost = |theirs: &PeerDrops, n| theirs.of(&target, n).iter().sum::<u64>();
        assert_eq!([7, 8, 9, 0].map(|n| lost(&theirs, n)), [11, 101, 1, 1], "0 is about any shape");
        theirs.close();
        theirs.told(by_shape(8), DropReason::NewestShed, 1000, u64::MAX);
        assert_eq!([7, 8, 9, 0].map(|n| lost(&theirs, n)), [11, 1101, 1, 1]);
    }

    fn by_name(n: usize, fingerprint: u64) -> Account {
        Account { fingerprint, ..by_box(n) }
    }

    #[test]
    fn of_boxes_without_end_so_many_are_remembered() {
        let mut names = TypeNames::default();
        for n in 0..=MAX_REMEMBERED {
            names.note(by_name(n, 7), "first");
        }
        assert!(names.others.is_empty(), "one type takes one place");
        for n in 0..=MAX_REMEMBERED {
            names.note(by_name(n, 7), "second");
        }
        assert_eq!(names.others.len(), MAX_REMEMBERED);
        assert_eq!([names.of(&by_name(0, 7)), names.of(&by_name(MAX_REMEMBERED, 7))], ["second", "first"]);
        assert_eq!(names.of(&by_name(0, 8)), "", "nothing of that shape was sent");
        names.note(by_name(0, 7), "first");
        assert_eq!((names.of(&by_name(0, 7)), names.others.len()), ("first", MAX_REMEMBERED - 1));
    }

    /// Returns the reports and remarks that are sent to the peer in at most `room` bytes.
    fn sent(ours: &mut LocalDrops, room: usize, longest: usize) -> (Vec<(Account, u64)>, Vec<String>) {
        let mut out = BytesMut::new();
        let is_written = ours.poll_frames(&mut out, room, longest, 77);
        assert_eq!(is_written, !out.is_empty());
        assert!(out.len() <= room + LENGTH, "{} bytes", out.len());
        let (mut rest, mut told, mut words) = (&out[..], Vec::new(), Vec::new());
        while let Front::Frame(raw) = front(rest, longest).expect("the peer reads it") {
            if raw.kind == kind::REPORT {
                let (read, entries) = read_report(raw.payload).expect("it was just written");
                assert_eq!(read, 77);
                told.extend(entries.map(|entry| entry.expect("an entry")).map(|entry| (entry.account, entry.count)));
            } else {
                words.push(Remark::read(raw.payload).expect("a remark").words.to_owned());
            }
            rest = &rest[raw.size..];
        }
        (told, words)
    }

    #[test]
    fn each_sum_is_reported_once_for_each_change_in_the_room_that_there_is() {
        let (mut ours, why) = (LocalDrops::default(), "w".repeat(MAX_DETAIL));
        let drop = |ours: &mut LocalDrops, n: usize, words: Option<&str>| {
            let (reason, words) = (DropReason::TooLarge, words.map(Box::from));
            ours.add(DropRun { account: by_box(n), reason, count: 5, words })
        };
        assert_eq!([0, 1, 2].map(|n| drop(&mut ours, n, Some(&why))), [true, false, false]);
        assert_eq!(sent(&mut ours, 2 * ENTRY - 1, 1 << 20), (vec![], vec![]), "no room");
        assert_eq!(sent(&mut ours, 1 << 20, 2 * ENTRY - 1), (vec![], vec![]), "the peer reads no frame so long");
        let first = sent(&mut ours, 3 * ENTRY, 1 << 20);
        assert_eq!(
            first,
            (vec![(by_box(0), 5), (by_box(1), 5)], vec![why.clone(), why]),
            "room for two sums and two details"
        );
        drop(&mut ours, 0, None);
        assert_eq!(sent(&mut ours, 1 << 20, 1 << 20), (vec![(by_box(2), 5), (by_box(0), 10)], vec![]));
        assert_eq!(sent(&mut ours, 1 << 20, 1 << 20), (vec![], vec![]));
        assert!(drop(&mut ours, 0, None), "the first to report");
    }
}
