//! Damage and what it leaves: a bit rots, a reader or recovery meets it, its segment goes to quarantine, and
//! from then on a query is told what is missing until it is there again or was given up.

use std::path::Path;

use storage::disk::DiskOp;
use storage::format::{Before, Hole};
use storage::published::Snapshot;
use storage::recovery::decide::Row;
use storage::recovery::{KnownHole, Note};

use super::super::truth::Missing;
use super::{Change, DIRECTORY, Drive, Law, TrueHole, check};
use crate::sim::disk::{FUSE, Rot};

impl Drive<'_> {
    /// What no crash does, now and then.
    pub(super) fn spoil(&mut self) {
        let directory = Path::new(DIRECTORY);
        if self.seed % 5 < 2 && self.damage.is_none() && self.random.chance(500) {
            self.rot();
        }
        if self.random.chance(80)
            && self.has("event: a write went astray")
            && let Some(path) = self.disk.write_astray(&mut self.random, directory)
        {
            self.hit("event: a write went astray");
            self.trace
                .say(|| format!("a write went astray to {}", path.display()));
        }
        if self.random.chance(100)
            && self.has("event: a footer rots")
            && let Some(path) = self.disk.rot_footer(&mut self.random, directory)
        {
            self.footer_rots = true;
            self.hit("event: a footer rots");
            self.trace
                .say(|| format!("the footer of {} rots", path.display()));
        }
    }

    fn rot(&mut self) {
        let directory = Path::new(DIRECTORY);
        if self.random.chance(60)
            && self.has("event: a hole rots")
            && let Some(damaged) = self.disk.rot_hole(&mut self.random, directory)
        {
            self.trace.say(|| damaged.what.clone());
            self.damage = Some(damaged);
            return self.hit("event: a hole rots");
        }
        let what = match self.seed / 5 % 12 {
            0 => "event: a file is gone",
            _ => "event: bit rot",
        };
        if !self.has(what) {
            return;
        }
        let random = &mut self.random;
        let damaged = match self.seed / 5 % 12 {
            0 => self.disk.lose_file(random, directory),
            kind => {
                let place = match kind {
                    1 => Rot::Anywhere,
                    2 => Rot::Header,
                    3 => Rot::Newest,
                    4..=5 => Rot::Earlier,
                    6 => Rot::Merged,
                    _ => Rot::Body,
                };
                self.disk.rot(random, directory, place)
            }
        };
        if let Some(damaged) = damaged {
            self.hit(what);
            self.trace.say(|| damaged.what.clone());
            self.damage = Some(damaged);
        }
    }

    /// Recovery cut what was damaged: so may it the record that said that it was durable.
    pub(super) fn cut_by(&mut self, notes: &[Note]) {
        let Some(damage) = &mut self.damage else {
            return;
        };
        let rows = [
            Row::CutAtBody,
            Row::CutAtMetadata,
            Row::CutAtZeros,
            Row::CutAtForeign,
        ];
        let cut = |note: &Note| rows.contains(&note.row) && note.path == damage.path;
        damage.must_be_named &= !notes.iter().any(cut);
    }

    /// What rotted where nothing vouches for it looks torn: recovery ends the lineage there, and what is fetched again
    /// follows. The group offset names what is missing; nothing else may be.
    pub(super) fn shorter(&mut self, lineage: u64, cursor: i64) -> Law {
        let holes = self.process.store.holes().iter();
        let told = holes.filter(|known| known.told && known.hole.lineage.0 == lineage);
        let told = told.map(|known| (known.hole.first_offset.0, known.hole.next_offset.0));
        let told: Vec<(i64, i64)> = told.collect();
        let truth = &self.lineages[&lineage];
        let (before, owed) = (truth.durable, truth.owed);
        let said = told.iter().any(|(_, to)| *to >= owed);
        let Some(damage) = self.damage.clone() else {
            return Ok(());
        };
        let of = damage.takes.0;
        if cursor < owed && !said {
            check(!damage.must_be_named, || {
                format!(
                    "damage below a durable end went unnamed: cursor {cursor}, durable was {before}"
                )
            })?;
            // Behind a hole nothing is kept where it is what is loaded again that rotted.
            let mut kept = cursor;
            while let Some(&(_, to)) = told.iter().find(|(from, to)| *from <= kept && kept < *to) {
                kept = to;
            }
            check(of == lineage && damage.takes.1 <= kept, || {
                format!("the cursor is {cursor}, durable was {before}, and {damage:?}")
            })?;
            self.ends_at(lineage, cursor, false);
        }
        if damage.must_be_named {
            return Ok(());
        }
        if of < lineage {
            self.left_shorter(damage.may_be_refused, damage.takes);
        } else if of == lineage {
            // What begins the lineage says where the one before it ended.
            let begins = damage.takes.1 <= self.catalog.start_offset.0;
            let before = self.lineages.range(..lineage).next_back();
            if let Some((&left, truth)) = before.filter(|_| begins) {
                let ended = truth.end.unwrap_or(truth.start);
                self.left_shorter(damage.may_be_refused, (left, ended));
            }
            // No file may say any more that the lineage has begun.
            self.begun = cursor > self.catalog.start_offset.0;
            // What closed a hole in a recovery that nobody heard of may be what rotted.
            let known = self.process.store.holes();
            for hole in &mut self.holes {
                let one = known.iter().find(|one| one.hole.moved_to == hole.moved_to);
                let ended = hole.lineage == lineage && cursor < hole.to;
                hole.closed |= ended && one.is_none_or(|one| !one.told);
                // What a later lineage had loaded of it is gone, and it was not unlinked yet.
                hole.closed &= !(cursor < hole.to && one.is_some_and(|one| one.told));
            }
        }
        Ok(())
    }

    /// The same of a lineage that was left: its successor was not on the disk yet. Where it is the header behind a void
    /// that rots, what was given up stands again: nothing else said that it was.
    fn left_shorter(&mut self, of_header: bool, (lineage, from): (u64, i64)) {
        let snapshot = self.process.store.view().snapshot();
        let Some(truth) = self.lineages.get(&lineage) else {
            return;
        };
        let records = snapshot.records().filter(|one| one.lineage.0 == lineage);
        let end = records.map(|one| one.next_offset.0).max();
        let mut end = end.unwrap_or(truth.start);
        // Also over one that was closed or given up since.
        let missing = self.may_be_missing(&snapshot);
        let leads_on = |end: i64| {
            let mut missing = missing.iter();
            missing.find(|hole| (hole.lineage, hole.from) == (lineage, end) && hole.to > end)
        };
        while let Some(hole) = leads_on(end) {
            end = hole.to;
        }
        let ended = truth.end.unwrap_or(truth.start);
        let live = lineage >= self.catalog.live_lineage.0;
        let shorter = (from..ended).contains(&end);
        let stands_again = of_header && from <= ended && ended < end;
        if live && (shorter || stands_again) {
            self.ends_at(lineage, end, true);
        }
    }

    fn ends_at(&mut self, lineage: u64, end: i64, left: bool) {
        let truth = self.lineages.get_mut(&lineage).expect("it was looked at");
        (truth.durable, truth.owed) = (end, end);
        if left {
            truth.end = Some(end);
        }
        self.trace
            .say(|| format!("rot makes lineage {lineage} end at {end}"));
        self.hit("event: rot that looks torn makes a lineage shorter");
    }

    /// What is damaged may be there no more: it was cut, or merged without it.
    pub(super) fn forget_damage(&mut self) {
        let disk = &self.disk;
        self.damage.take_if(|damage| !disk.has(damage));
    }

    /// A crash comes now and then while a segment goes to quarantine or holes are closed.
    pub(super) fn about_holes(&mut self, op: &DiskOp) {
        let (from, to) = match op {
            DiskOp::Quarantine { .. } => (5, 17),
            DiskOp::CloseHoles(_) => (0, 4),
            _ => return,
        };
        if !self.finishing && self.random.chance(500) && self.has(FUSE) {
            let calls = (from + self.random.below(to - from)) as u32;
            self.trace.say(|| format!("fuse of {calls} calls"));
            self.disk.light_fuse(calls);
        }
    }

    /// What is visible closes a hole once it is durable: SET OFFSETS comes now and then just then.
    pub(super) fn about_to_close(&mut self, visible: i64) -> Law {
        let known = self.process.store.holes().iter();
        let reached = |known: &KnownHole| known.told && known.hole.next_offset.0 <= visible;
        let closes = self.owes() && known.into_iter().any(reached);
        let set_offsets = self.has("event: set offsets");
        if closes && !self.finishing && self.random.chance(300) && set_offsets {
            return self.drain(Some(Change::SetOffsets));
        }
        Ok(())
    }

    /// The store said that a segment went to quarantine.
    pub(super) fn quarantined(&mut self, hole: &Hole) -> Law {
        self.hit("event: a segment goes to quarantine");
        self.take_hole(hole)
    }

    fn take_hole(&mut self, hole: &Hole) -> Law {
        let (from, to) = (hole.first_offset.0, hole.next_offset.0);
        let lineage = hole.lineage.0;
        check(self.lineages.contains_key(&lineage), || {
            format!("a hole of lineage {lineage}, which never was")
        })?;
        check(hole.standing <= self.catalog.lineage, || {
            format!("a hole that was found in lineage {}", hole.standing)
        })?;
        self.holes.push(TrueHole {
            moved_to: hole.moved_to.clone(),
            sequence: hole.id.sequence,
            lineage,
            from,
            to,
            standing: self.catalog.lineage.0,
            unknown: hole.before == Before::Unknown,
            closed: false,
        });
        // What is damaged lies in quarantine.
        self.damage = None;
        Ok(())
    }

    /// What the store knows after recovery: a crash may have come before anybody was told.
    pub(super) fn learn_holes(&mut self) -> Law {
        let known: Vec<KnownHole> = self.process.store.holes().to_vec();
        for one in &known {
            let same = |of: &TrueHole| of.moved_to == one.hole.moved_to;
            if !one.told {
                self.hit("event: a bridge");
            } else if !self.holes.iter().any(same) {
                check(self.may_be_quarantined(&one.hole), || {
                    format!("{} without damage", one.hole)
                })?;
                self.hit("event: a hole that nobody was told of");
                self.take_hole(&one.hole)?;
            }
        }
        Ok(())
    }

    /// What a query may miss: it is told, or was closed by hand since.
    pub(super) fn may_be_missing(&self, snapshot: &Snapshot) -> Vec<Missing> {
        let told = snapshot.holes().iter().map(|known| {
            let hole = &known.hole;
            Missing {
                lineage: hole.lineage.0,
                from: hole.first_offset.0,
                to: hole.next_offset.0,
                bridged: known.bridged,
            }
        });
        let current = self.catalog.lineage.0;
        let by_hand = |hole: &&TrueHole| {
            let given_up = self.catalog.start_offset.0 >= hole.to;
            hole.standing < current && (hole.closed || given_up)
        };
        let given_up = self.holes.iter().filter(by_hand);
        let given_up = given_up.map(|hole| Missing {
            lineage: hole.lineage,
            from: hole.from,
            to: hole.to,
            bridged: false,
        });
        told.chain(given_up).collect()
    }

    /// Whether just those are told that are missing, and what was durable is there or told.
    pub(super) fn holes_told(
        &mut self,
        snapshot: &Snapshot,
        current: u64,
        durable: i64,
        settled: bool,
    ) -> Law {
        // A lineage that begins closes holes once it has begun.
        if !settled {
            return Ok(());
        }
        let told: Vec<KnownHole> = snapshot.holes().to_vec();
        if !told.is_empty() {
            self.hit("event: a hole is told");
        }
        for at in 0..self.holes.len() {
            let hole = self.holes[at].clone();
            let same = |known: &&KnownHole| known.hole.moved_to == hole.moved_to;
            let now = told.iter().find(same);
            let reached = durable >= hole.to;
            let by_hand = reached && current > hole.standing;
            match now {
                // What it was closed with may be in quarantine by now.
                Some(_) if hole.closed && told.len() == 1 => {
                    return Err(format!("{hole:?} is told again"));
                }
                Some(_) if hole.closed => {}
                Some(known) => {
                    let again = reached && current == hole.lineage && !known.bridged;
                    check(!by_hand && !again, || {
                        format!("{hole:?} is told, durable is {durable} in lineage {current}")
                    })?;
                }
                None if hole.closed => {}
                None => {
                    let live = hole.lineage >= self.catalog.live_lineage.0;
                    let again = reached && current == hole.lineage;
                    // What a segment that was put back holds is seen, or `compare` says so.
                    let mut known = self.process.store.holes().iter();
                    let back = known.find(same).is_none();
                    // What it was closed with is in quarantine too, and that is told.
                    let another = told.iter().any(|known| {
                        let (of, other) = (known.hole.lineage.0, &known.hole);
                        let covers =
                            other.first_offset.0 <= hole.from && hole.to <= other.next_offset.0;
                        of == hole.lineage && covers
                    });
                    check(again || !live || back || another, || {
                        format!("{hole:?} is not told, durable is {durable} in lineage {current}")
                    })?;
                    self.holes[at].closed = true;
                    self.hit("event: a hole is closed by what is loaded");
                }
            }
        }
        // Fewer offsets than were durable, and nobody says a word.
        let Some(truth) = self.lineages.get(&current) else {
            return Ok(());
        };
        let owed = truth.owed;
        let said = told
            .iter()
            .any(|known| known.hole.lineage.0 == current && known.hole.next_offset.0 >= owed);
        check(durable >= owed || said, || {
            format!("durable is {durable} in lineage {current}, it was {owed}, and nobody is told")
        })
    }

    /// Durable at `offset` in `lineage`: what a lineage that was begun by hand since reaches is closed.
    pub(super) fn closed_by_hand(&mut self, lineage: u64, offset: i64) {
        for at in 0..self.holes.len() {
            let hole = &mut self.holes[at];
            if !hole.closed && lineage > hole.standing && offset >= hole.to {
                hole.closed = true;
                self.hit("event: a hole is given up");
            }
        }
    }

    /// Whether what is damaged may not tell any more what it held.
    pub(super) fn may_be_refused(&self) -> bool {
        let damage = self.damage.as_ref();
        damage.is_some_and(|damage| damage.may_be_refused || self.footer_rots)
            || self.holes.iter().any(|hole| hole.unknown && !hole.closed)
    }

    /// Whether a segment may go: it is damaged, or stands before a hole that does not tell what stood there. What a
    /// void gave up goes then as well: no file says that it was.
    pub(super) fn may_be_quarantined(&self, hole: &Hole) -> bool {
        let below = |of: &TrueHole| of.unknown && !of.closed && of.sequence > hole.id.sequence;
        self.damage.is_some() || self.holes.iter().any(below)
    }

    /// Whether a hole is left that loading closes.
    pub(super) fn owes(&self) -> bool {
        let lineage = self.process.store.lineage();
        let open = |known: &KnownHole| {
            let by_hand = lineage > known.hole.standing;
            known.told && (by_hand || !known.bridged && known.hole.lineage == lineage)
        };
        self.process.ready && self.process.store.holes().iter().any(open)
    }
}
