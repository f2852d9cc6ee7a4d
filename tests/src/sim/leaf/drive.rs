//! Drives one seed: chooses what happens next.

use super::answers::Answer;
use super::topic;
use super::user::Change;
use crate::sim::case::Case;
use crate::sim::disk::{KILL, POWER_LOSS, Rot};
use crate::sim::kafka::cluster::TOPIC;
use crate::sim::tracked::Tracked;
use crate::sim::world::{EVENTS, Law, World};
use crate::sim::{Coverage, Trace};
use ingest::leaf::order::Pairing;

/// The leaf.
pub(super) const NODE: usize = 0;
/// Every leaf partition's table.
pub(super) const TABLE: u64 = 1;

/// See the module.
pub struct Drive<'a> {
    pub(super) world: World<'a>,
    pub(super) partitions: Vec<Paired>,
    pub(super) answers: Vec<Answer>,
    pub(super) generation: u64,
    pub(super) next_id: u64,
    /// Now and then a partition goes to another owner.
    pub(super) hands_over: bool,
    /// Files are damaged as no crash does it, once.
    damages: bool,
}

/// What the catalog and the aggregator know of one leaf partition, beside what is true of it.
pub(super) struct Paired {
    pub(super) id: u64,
    /// Of the last goal.
    pub(super) generation: u64,
    pub(super) topic_id: [u8; 16],
    /// How often the topic was made when its lineage began.
    pub(super) topics_made: u8,
    pub(super) wants_run: bool,
    pub(super) attached: bool,
    pub(super) stopping: bool,
    pub(super) rewinding: bool,
    pub(super) dropping: bool,
    /// Its files are damaged, and that was said.
    pub(super) named: bool,
    pub(super) failed: Option<String>,
    /// To be done once it is stopped.
    pub(super) change: Option<Change>,
    /// The rows that were there when FOREGROUND began, where that is known.
    pub(super) foreground_rows: Option<u64>,
}

impl<'a> Drive<'a> {
    pub fn new(case: &'a Case, coverage: &'a mut Coverage, trace: &'a mut Trace) -> Drive<'a> {
        let mut world = World::new(case, 1, coverage, trace);
        let (hands_over, damages) = (world.random.chance(150), world.random.chance(250));
        let mut drive = Drive {
            world,
            partitions: Vec::new(),
            answers: Vec::new(),
            generation: 0,
            next_id: 1,
            hands_over,
            damages,
        };
        // Now and then two leaf partitions of one Kafka partition: two pipelines on a topic.
        let logs = drive.world.cluster.logs.len();
        let twice = usize::from(drive.world.random.chance(200));
        for pair in 0..logs + twice {
            let start = [0, 0, 5][drive.world.random.below(3) as usize];
            drive.pair(pair % logs, start);
        }
        drive
    }

    /// A leaf partition more.
    pub(super) fn pair(&mut self, log: usize, start: i64) {
        let id = self.next_id;
        self.next_id += 1;
        let tracked = Tracked::new(id, TABLE, log, start);
        self.world.tracked.insert(id, tracked);
        self.partitions.push(Paired {
            id,
            generation: 0,
            topic_id: self.world.cluster.topic_id.unwrap_or_default(),
            topics_made: self.world.cluster.topics_made,
            wants_run: true,
            attached: false,
            stopping: false,
            rewinding: false,
            dropping: false,
            named: false,
            failed: None,
            change: None,
            foreground_rows: None,
        });
    }

    pub(super) fn tracked(&self, at: usize) -> &Tracked {
        &self.world.tracked[&self.partitions[at].id]
    }

    pub(super) fn tracked_mut(&mut self, at: usize) -> &mut Tracked {
        let id = self.partitions[at].id;
        self.world.tracked.get_mut(&id).expect("it is paired")
    }

    pub(super) fn pairing(&self, at: usize) -> Pairing {
        let (paired, tracked) = (&self.partitions[at], self.tracked(at));
        Pairing {
            leaf_partition: paired.id,
            table: TABLE,
            pipeline: 1,
            kafka_partition: tracked.log as i32,
            topic: TOPIC.to_owned(),
            topic_id: paired.topic_id,
            lineage: tracked.lineage,
            live_lineage: tracked.live,
            start_offset: tracked.start,
            end_offset: tracked.end_offset,
        }
    }

    pub fn run(mut self) -> Law {
        // Enough to be there from the start, so that every start offset is within the log.
        for log in 0..self.world.cluster.logs.len() {
            for _ in 0..4 {
                self.world.append(log);
            }
        }
        self.attach_all()?;
        // In some seeds the leaf is behind all the time, in some it waits for what is produced.
        let pace = [6, 12, 30, 80][self.world.random.below(4) as usize];
        let events = self.world.random.below(2 * super::STEPS_MEAN / pace) + 1;
        for event in self.world.case.events(events) {
            self.world.trace.at(event);
            self.world.choose_by(event);
            self.event()?;
            for _ in 0..self.world.random.below(2 * pace) {
                self.progress()?;
            }
        }
        self.world.choose_by(u32::MAX);
        self.finish()?;
        self.world.count();
        Ok(())
    }

    fn event(&mut self) -> Law {
        if self.world.cluster.topic_id.is_none() && self.world.random.chance(150) {
            self.world.make_topic();
        }
        let world = &mut self.world;
        match world.random.below(1_000) {
            0..=359 => {
                let log = world.any_log();
                world.append(log);
                Ok(())
            }
            360..=549 => world.time(),
            550..=584 => self.stop_or_start(),
            585..=604 => self.set_offsets(),
            605..=612 => self.truncate(),
            613..=620 => self.drop_any(),
            621..=630 => self.foreground(),
            631..=655 => self.move_leader(),
            656..=663 => {
                let log = world.any_log();
                world.cut(log);
                Ok(())
            }
            664..=679 => {
                world.retain();
                Ok(())
            }
            680..=689 => {
                world.compact();
                Ok(())
            }
            690..=692 => {
                world.delete_topic();
                Ok(())
            }
            693..=697 => self.add_partition(),
            698..=717 if world.case.has(KILL) || world.case.has(POWER_LOSS) => self.crash(),
            718..=767 => {
                world.arm();
                Ok(())
            }
            768..=777 => {
                world.full();
                Ok(())
            }
            778..=787 => {
                world.rot_batch();
                Ok(())
            }
            788..=797 => {
                world.mute();
                Ok(())
            }
            798..=812 => {
                world.cluster.rotten.clear();
                world.disk.disarm();
                Ok(())
            }
            813..=832 => {
                world.evict();
                Ok(())
            }
            833..=882 => self.look_all(),
            _ => Ok(()),
        }
    }

    /// Something that is on its way gets on.
    pub(super) fn progress(&mut self) -> Law {
        match self.world.random.below(9) {
            0 => self.report_progress()?,
            1 => self.answer_progress()?,
            _ => self.world.progress(NODE)?,
        }
        if self.world.died {
            return self.crash();
        }
        Ok(())
    }

    pub(super) fn crash(&mut self) -> Law {
        self.answers.clear();
        self.world.crash()?;
        self.spoil();
        self.hand_over();
        // What was being dropped is unlinked before anything is attached.
        for at in (0..self.partitions.len()).rev() {
            if self.partitions[at].dropping {
                let directory = self.tracked(at).directory();
                self.world.disk.unlink_all(directory.as_ref());
                self.gone(at);
            }
        }
        for paired in &mut self.partitions {
            paired.attached = false;
            paired.stopping = false;
            paired.rewinding = false;
            paired.failed = None;
            paired.change = None;
            paired.foreground_rows = None;
        }
        self.attach_all()
    }

    /// What no crash does, to one of the files.
    fn spoil(&mut self) {
        let chance = self.damages && self.world.random.chance(300);
        if !chance || !self.world.has(EVENTS[5]) {
            return;
        }
        let at = self.world.random.below(self.partitions.len() as u64) as usize;
        let place = match self.world.random.below(6) {
            0 => Rot::Anywhere,
            1 => Rot::Header,
            2 => Rot::Newest,
            3 => Rot::Merged,
            _ => Rot::Earlier,
        };
        let directory = self.tracked(at).directory();
        let random = &mut self.world.random;
        let damaged = self.world.disk.rot(random, directory.as_ref(), place);
        if let Some(damaged) = damaged {
            self.damages = false;
            self.world.coverage.hit(EVENTS[5]);
            self.world.faulted = true;
            self.world.say(|| damaged.what.clone());
            self.tracked_mut(at).damage = Some(damaged);
        }
    }

    /// The catalog says where another owner goes on: not below what this one may have made durable.
    fn hand_over(&mut self) {
        let at = self.world.random.below(self.partitions.len() as u64) as usize;
        let more = self.world.random.below(30) as i64;
        if self.hands_over && !self.world.healed && self.world.random.chance(500) {
            let tracked = self.tracked_mut(at);
            if tracked.end_offset.is_none() {
                tracked.end_offset = Some(tracked.highest.max(tracked.durable) + more);
                self.world.coverage.hit(topic::HANDED_OVER);
            }
        }
    }
}
