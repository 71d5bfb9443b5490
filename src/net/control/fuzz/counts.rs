//! Counts that two sides tell each other: drops, messages read, connections that have ended, round trips, and peers that
//! are expected back. No count decreases or exceeds its possible maximum, and honest sides agree in the end.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use super::ENOUGH;
use super::World;
use super::frames;
use super::payload;
use super::target;
use crate::ident::ConnectionId;
use crate::ident::Incarnation;
use crate::net::control::absence::AbsenceTable;
use crate::net::control::acknowledgement::Acknowledgement;
use crate::net::control::drop_report::DropRun;
use crate::net::control::drop_report::LocalDrops;
use crate::net::control::drop_report::PeerDrops;
use crate::net::control::heartbeat::Heartbeat;
use crate::net::control::settlement::ConnectionNames;
use crate::net::control::settlement::EndedConnections;
use crate::net::control::settlement::Settled;
use crate::reason::DropReason;
use crate::unstructured::Unstructured;
use crate::wire::frames::kind;
use crate::wire::frames::ping::Ping;
use crate::wire::frames::remark::Remark;
use crate::wire::frames::report::Account;
use crate::wire::frames::report::put_report;
use crate::wire::frames::report::read_report;

pub(super) struct Counts {
    ours: LocalDrops,
    /// The other side of `ours`, and the drops that it is to learn of.
    theirs: PeerDrops,
    drops: BTreeMap<(Account, u8), u64>,
    /// The reports of a hostile peer, and how much of them is believed.
    told: PeerDrops,
    believed: u64,
    read: Acknowledgement,
    written: u64,
    heartbeat: Heartbeat,
    nonce: u64,
    ended: EndedConnections,
    names: u8,
    in_doubt: BTreeMap<u8, u64>,
    absences: AbsenceTable,
    expected: BTreeMap<u8, Instant>,
}

impl Counts {
    pub(super) fn new() -> Counts {
        Counts {
            ours: LocalDrops::default(),
            theirs: PeerDrops::default(),
            drops: BTreeMap::new(),
            told: PeerDrops::default(),
            believed: 0,
            read: Acknowledgement::default(),
            written: 0,
            heartbeat: Heartbeat::default(),
            nonce: 0,
            ended: EndedConnections::default(),
            names: 0,
            in_doubt: BTreeMap::new(),
            absences: AbsenceTable::default(),
            expected: BTreeMap::new(),
        }
    }

    pub(super) fn greet(&mut self, world: &World) {
        self.heartbeat = Heartbeat::default();
        assert_eq!(self.heartbeat.round_trip(), None);
        assert!(world.features.is_some());
    }

    /// The connection ends: its balance is recorded, and the next one begins at nothing.
    pub(super) fn down(&mut self) {
        let balance = self.read.balance(self.written);
        let totals = self.read.totals(self.written);
        self.read = self.read.over_to_next(balance);
        assert_eq!(self.read.totals(0), totals);
        if let Some(name) = self.names.checked_add(1) {
            self.names = name;
            self.ended.record(names(name), balance);
            self.in_doubt.insert(name, balance.in_doubt());
        }
        self.written = 0;
        self.theirs.close();
        self.told.close();
        (self.ours, self.believed) = (LocalDrops::default(), 0);
        self.theirs = PeerDrops::default();
        self.drops.clear();
    }

    pub(super) fn step(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        match choices.below(8) {
            0 => self.drop_here(choices),
            1 => self.report(choices, world.longest),
            2 => self.hear_report(choices),
            3 => self.acknowledge(choices),
            4 => self.beat(choices, world),
            5 => self.settle(choices),
            6 => self.expect(choices, world),
            _ => self.forget(world),
        }
    }

    fn drop_here(&mut self, choices: &mut Unstructured<'_>) {
        let reason = DropReason::ALL[choices.below(DropReason::ALL.len())];
        let account = Account { target: target(choices), fingerprint: 1 + u64::from(choices.byte() % 4) };
        let (count, was_told) = (choices.below(100) as u64, self.ours.is_told());
        *self.drops.entry((account.clone(), reason as u8)).or_default() += count;
        let words = (choices.below(2) == 0).then(|| "w".repeat(choices.below(300)).into());
        assert_eq!(self.ours.add(DropRun { account, reason, count, words }), was_told);
        assert!(!self.ours.is_told());
    }

    /// Reports what is due, in some room, to the other side.
    fn report(&mut self, choices: &mut Unstructured<'_>, longest: usize) {
        let (mut out, room) = (BytesMut::new(), choices.below(ENOUGH));
        let is_written = self.ours.poll_frames(&mut out, room, longest, 7);
        assert!(is_written != out.is_empty() && out.len() <= room.max(1));
        for (kind, payload) in frames(&out, longest) {
            if kind == kind::REMARK {
                Remark::read(&payload).expect("this side writes it");
                continue;
            }
            let (read, entries) = read_report(&payload).expect("this side writes it");
            assert_eq!(read, 7);
            for entry in entries.map(|entry| entry.expect("this side writes it")) {
                let reason = entry.reason.expect("of this version");
                let whole = self.drops[&(entry.account.clone(), reason as u8)];
                assert_eq!(entry.count, whole, "a report says the whole sum");
                self.theirs.told(entry.account, reason, entry.count, u64::MAX);
            }
        }
    }

    /// A report of a peer that may say anything.
    fn hear_report(&mut self, choices: &mut Unstructured<'_>) {
        let payload = payload(choices, |out, choices| {
            let account = Account { target: target(choices), fingerprint: choices.number() };
            let reason = DropReason::ALL[choices.below(DropReason::ALL.len())];
            put_report(out, choices.number(), [(account, reason, choices.number())]);
        });
        let Ok((_, entries)) = read_report(&payload) else { return };
        for entry in entries.map_while(Result::ok) {
            if let Some(reason) = entry.reason {
                self.believed += self.told.told(entry.account, reason, entry.count, self.written);
            }
        }
        assert!(self.believed <= self.written, "more drops are believed than messages were written");
    }

    fn acknowledge(&mut self, choices: &mut Unstructured<'_>) {
        let before = self.read.by_peer();
        self.written += choices.below(100) as u64;
        match choices.below(4) {
            0 => self.read.on_reply(choices.number(), self.written),
            1 => self.read.on_end(),
            2 => self.read.have_read(self.read.here() + choices.below(9) as u64),
            _ => {
                let payload = payload(choices, |out, choices| {
                    Ping { nonce: 0, read: choices.number() }.put(out, kind::PONG);
                });
                Ping::read(&payload).into_iter().for_each(|pong| self.read.on_count(pong.read, self.written));
            }
        }
        let (by_peer, unread) = (self.read.by_peer(), self.read.never_read(self.written));
        assert!(before <= by_peer && by_peer + unread <= self.written, "{:?} of {}", self.read, self.written);
    }

    fn beat(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        if choices.below(2) == 0 {
            self.nonce += 1;
            let (ping, mut out) = (Ping { nonce: self.nonce, read: self.read.here() }, BytesMut::new());
            self.heartbeat.wrote(choices.below(1 << 14));
            self.heartbeat.ping(&ping, world.now, &mut out);
            let read = frames(&out, ENOUGH).into_iter().map(|(kind, payload)| (kind, Ping::read(&payload)));
            assert!(read.eq([(kind::PING, Ok(ping))]));
        } else {
            let nonce = if choices.below(2) == 0 { self.nonce } else { choices.number() };
            self.heartbeat.on_pong(nonce, world.now);
        }
        let longest = world.now.duration_since(world.began);
        assert!(self.heartbeat.round_trip().is_none_or(|took| took <= longest), "a round trip from before the start");
    }

    /// The peer's counts of connections that have ended, true or not: each is settled once.
    fn settle(&mut self, choices: &mut Unstructured<'_>) {
        let told: Vec<(ConnectionId, u64)> =
            (0..choices.below(4)).map(|_| (ConnectionId([choices.byte(); 16]), choices.number())).collect();
        let (answers, settled) = match choices.below(2) {
            0 => self.ended.on_proof(PEER, &told),
            _ => (Vec::new(), self.ended.on_welcome(PEER, &told)),
        };
        assert!(answers.len() <= told.len());
        let settled: u64 = settled.iter().map(|&Settled { messages, lost }| messages.max(lost)).sum();
        let mut left = 0;
        for (name, in_doubt) in &mut self.in_doubt {
            let now = self.ended.in_doubt([names(*name)]);
            assert!(now == *in_doubt || now == 0, "a connection is settled as a whole");
            left += *in_doubt - now;
            *in_doubt = now;
        }
        assert_eq!(settled, left);
    }

    fn expect(&mut self, choices: &mut Unstructured<'_>, world: &World) {
        // The time for which peers are expected does not change, so the oldest is due first.
        let (name, until) = (choices.byte() % 32, world.now + Duration::from_secs(60));
        if !self.expected.contains_key(&name) {
            assert!(self.absences.expect_back(names(name), u64::from(name), None, Some(until)).is_none());
            self.expected.insert(name, until);
        } else {
            let back = self.absences.on_restated(PEER, names(name).local);
            assert_eq!(back.map(|back| back.holder), Some(u64::from(name)));
            self.expected.remove(&name);
        }
    }

    fn forget(&mut self, world: &World) {
        while let Some(gone) = self.absences.next_due(world.now) {
            let until = self.expected.remove(&(gone.holder as u8)).expect("it was expected");
            assert!(until <= world.now);
        }
        assert_eq!(self.absences.due_at(), self.expected.values().min().copied());
    }

    /// In the end both sides know of the same drops.
    pub(super) fn finish(mut self) {
        while !self.ours.is_told() {
            let mut all = Unstructured::new(&[0xff; 2]);
            self.report(&mut all, ENOUGH);
        }
        for ((account, reason), count) in &self.drops {
            let known = self.theirs.of(&account.target, account.fingerprint);
            assert_eq!(known[usize::from(*reason)], *count, "{account:?}");
        }
        assert_eq!(self.absences.on_goodbye(PEER).len(), self.expected.len());
    }
}

const PEER: Incarnation = Incarnation::of([1; 16]);

fn names(n: u8) -> ConnectionNames {
    ConnectionNames { peer: PEER, local: ConnectionId([n; 16]), remote: ConnectionId([n; 16]) }
}
