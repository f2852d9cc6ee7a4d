//! A store over a directory of the test's own: the test is its leaf, its clock and its disk threads.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::block::{BlockFull, BlockRegion};
use storage::counts::Counts;
use storage::disk::{Disk, DiskAction, DiskDone, DiskError, DiskOp, Failure, RealDisk, perform};
use storage::error::StorageError;
use storage::format::{CommitFacts, Hole};
use storage::ids::{LeafPartitionId, Lineage, Offset, TableId, TopicId};
use storage::pool::BlockPool;
use storage::published::{Part, RejectFacts};
use storage::schema::{Column, Physical, Schema};
use storage::store::{
    LineageStart, Step, Store, StoreEffect, StoreEffects, StoreEvent, StoreIdentity, StoreSettings,
};

/// See the module.
pub struct Rig {
    pub store: Store,
    pub settings: StoreSettings,
    identity: StoreIdentity,
    pub pool: BlockPool,
    out: StoreEffects,
    /// Disk operations on their way, oldest first.
    pub disk: VecDeque<DiskOp>,
    pub now_ms: u64,
    /// What the catalog says.
    pub start: LineageStart,
    /// How far the wall's clock was set forward, or back, since.
    pub clock_ahead_ms: i64,
    /// What else it said, in order.
    pub said: Vec<StoreEffect>,
}

impl Rig {
    /// A store of a table of `texts` texts, in an empty directory, recovered.
    pub fn new(name: &str, texts: usize, settings: StoreSettings) -> Rig {
        let data_dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("chain")
            .join(name);
        let _ = std::fs::remove_dir_all(&data_dir);
        let directory = data_dir.join("tables/1/1");
        std::fs::create_dir_all(&directory).expect("the target directory can be written");
        let column = |at| Column {
            name: format!("text_{at}"),
            physical: Physical::Utf8,
            nullable: false,
            annotation: "text".to_owned(),
        };
        let identity = StoreIdentity {
            table: TableId(1),
            leaf_partition: LeafPartitionId(1),
            kafka_partition: 0,
            schema: Arc::new(Schema {
                version: 1,
                columns: (0..texts).map(column).collect(),
            }),
            unix_base_ms: 1_700_000_000_000,
            directory,
            quarantine: data_dir.join("quarantine"),
            orphans: data_dir.join("orphans"),
        };
        let settings = StoreSettings {
            disk_reserve_bytes: 1,
            ..settings
        };
        let mut rig = Rig {
            store: Store::new(identity.clone(), settings.clone()),
            settings,
            identity,
            pool: BlockPool::new(1 << 30),
            out: StoreEffects::new(),
            disk: VecDeque::new(),
            now_ms: 1_000,
            start: LineageStart {
                lineage: Lineage(1),
                live_lineage: Lineage(1),
                start_offset: Offset(0),
                topic_id: TopicId::default(),
            },
            clock_ahead_ms: 0,
            said: Vec::new(),
        };
        rig.open();
        rig
    }

    /// Opens, or opens again what failed.
    pub fn open(&mut self) {
        self.on(StoreEvent::Open(self.start));
        self.settle();
    }

    /// SET OFFSETS, or with `live` a TRUNCATE.
    pub fn rewind(&mut self, start_offset: i64, live: bool) {
        self.start.lineage.0 += 1;
        self.start.start_offset = Offset(start_offset);
        if live {
            self.start.live_lineage = self.start.lineage;
        }
        self.on(StoreEvent::Rewind(self.start));
        self.settle();
    }

    /// Reads all of it as a query does, and lets the store look.
    pub fn read(&mut self) -> Result<usize, StorageError> {
        let snapshot = self.store.view().snapshot();
        let columns: Vec<usize> = (0..self.identity.schema.columns.len() + 2).collect();
        let read = |part: &Part| part.read(&columns).map(|arrays| arrays[0].len());
        let rows = snapshot.parts().iter().map(read).sum();
        self.on(StoreEvent::Tick);
        self.settle();
        rows
    }

    /// What queries are told is missing.
    pub fn told(&self) -> Vec<String> {
        let snapshot = self.store.view().snapshot();
        let holes = snapshot.holes().iter();
        holes.map(|known| known.hole.offsets()).collect()
    }

    /// Another process over the same directory.
    pub fn again(&mut self) {
        assert!(self.disk.is_empty(), "a clean stop");
        self.kill();
        self.open();
    }

    /// The process is gone, with what was on its way, and another is there that has opened nothing yet.
    pub fn kill(&mut self) {
        self.disk.clear();
        self.said.clear();
        self.store = Store::new(self.identity.clone(), self.settings.clone());
    }

    /// The same, where recovery finds another disk.
    pub fn again_on(&mut self, disk: &dyn Disk) {
        self.store = Store::new(self.identity.clone(), self.settings.clone());
        self.said.clear();
        self.on(StoreEvent::Open(self.start));
        while self.finish_on(disk, |_| true) {}
    }

    pub fn on(&mut self, event: StoreEvent) {
        self.store
            .on(self.now_ms, event, &mut self.pool, &mut self.out);
        self.take();
    }

    fn take(&mut self) {
        for effect in self.out.drain() {
            match effect {
                StoreEffect::Disk(op) => self.disk.push_back(*op),
                effect => self.said.push(effect),
            }
        }
    }

    /// Performs the oldest operation that is `wanted`; whether there was one.
    pub fn finish(&mut self, wanted: fn(&DiskOp) -> bool) -> bool {
        self.finish_on(&RealDisk, wanted)
    }

    /// The same on another disk.
    pub fn finish_on(&mut self, disk: &dyn Disk, wanted: fn(&DiskOp) -> bool) -> bool {
        let Some(at) = self.disk.iter().position(wanted) else {
            return false;
        };
        let op = self.disk.remove(at).expect("it was found");
        let done: DiskDone = perform(disk, op);
        self.on(StoreEvent::Done(Box::new(done)));
        true
    }

    /// The oldest operation that is `wanted` (a create, a write, a footer or a sync) fails so.
    pub fn fail(&mut self, wanted: impl Fn(&DiskOp) -> bool, errno: i32) {
        let at = self.disk.iter().position(wanted);
        let op = self.disk.remove(at.expect("it is on its way"));
        let error = |path: &Path, action| DiskError::new(path, action, errno);
        let done = match op.expect("it was found") {
            DiskOp::Create(segment) => DiskDone::Created {
                sequence: segment.header.id.sequence,
                result: Err(error(&segment.path, DiskAction::Create)),
            },
            DiskOp::Write(write) => DiskDone::Written {
                sequence: write.header.header.id.sequence,
                result: Err(error(write.file.path(), DiskAction::Write)),
            },
            DiskOp::Seal { sequence, file, .. } => DiskDone::Sealed {
                sequence,
                result: Err(error(file.path(), DiskAction::Write)),
            },
            DiskOp::Sync {
                sequence,
                ticket,
                file,
                ..
            } => DiskDone::Synced {
                sequence,
                ticket,
                result: Err(Failure::File(error(file.path(), DiskAction::Sync))),
            },
            other => panic!("{other:?}"),
        };
        self.on(StoreEvent::Done(Box::new(done)));
    }

    /// Starts the syncs that are due.
    pub fn sync(&mut self) {
        while self.store.sync_wanted(self.now_ms).is_some() {
            self.store.sync(self.now_ms, &mut self.out);
            self.take();
        }
    }

    /// Starts and performs whatever can be.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    /// Starts the syncs that are due, then performs the oldest operation; whether there was one.
    pub fn step(&mut self) -> bool {
        self.sync();
        self.finish(|_| true)
    }

    /// Lets time go by, and settles.
    pub fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.on(StoreEvent::Tick);
        self.settle();
    }

    /// The same, but for operations that are not `wanted`: they wait.
    pub fn pass_but(&mut self, ms: u64, wanted: fn(&DiskOp) -> bool) {
        self.now_ms += ms;
        self.on(StoreEvent::Tick);
        self.sync();
        while self.finish(wanted) {
            self.sync();
        }
    }

    /// The next block has room for so many bytes of texts of the first column.
    pub fn make_room(&mut self, needed: u32) {
        let region = BlockRegion::Strings(0);
        let full = BlockFull { region, needed };
        self.store.block_full(self.now_ms, full, &mut self.out);
        self.take();
    }

    /// One step of `rows` rows of an offset each, `text` in each column.
    pub fn load(&mut self, rows: i64, text: &str) {
        let texts = self.identity.schema.columns.len();
        let first = self.store.cursors().visible.0;
        let mut tail = self.store.tail(&mut self.pool).expect("a tail");
        for row in 0..rows {
            for column in 0..texts {
                tail.put_str(column, text).expect("room");
            }
            tail.end_row(Offset(first + row), 1_700_000_000_000);
        }
        let step = Step {
            next_offset: Offset(first + rows),
            counts: Counts {
                loaded: rows as u64,
                ..Counts::default()
            },
            leader_epoch: 0,
            extracted_bytes: 100,
            unix_ms: 1_700_000_000_000 + self.clock_ahead_ms + self.now_ms as i64,
        };
        self.store.publish(self.now_ms, &step, &mut self.out);
        self.take();
    }

    /// One step without a row.
    pub fn count(&mut self, counts: Counts) {
        self.store.tail(&mut self.pool).expect("a tail");
        let step = Step {
            next_offset: Offset(self.store.cursors().visible.0 + counts.offsets() as i64),
            counts,
            leader_epoch: 0,
            extracted_bytes: 100,
            unix_ms: 1_700_000_000_000 + self.clock_ahead_ms + self.now_ms as i64,
        };
        self.store.publish(self.now_ms, &step, &mut self.out);
        self.take();
    }

    /// A commit of `rows` rows, durable.
    pub fn commit(&mut self, rows: i64, text: &str) {
        self.load(rows, text);
        self.pass(self.settings.flush_age_ms);
        self.pass(self.settings.sync_age_ms);
    }

    /// Where the segments lie.
    pub fn directory(&self) -> &Path {
        &self.identity.directory
    }

    /// The hole of the segment that it went to quarantine for.
    pub fn corrupt(&self) -> Hole {
        match self.failed() {
            Some(Failure::Corrupt {
                hole: Some(hole), ..
            }) => Hole::clone(hole),
            other => panic!("{other:?}"),
        }
    }

    /// What the history has of rejects and errors.
    pub fn rejects(&self) -> Vec<RejectFacts> {
        let snapshot = self.store.view().snapshot();
        snapshot.rejects().map(|one| one.expect("sound")).collect()
    }

    /// Recovery refused a file that is damaged.
    pub fn is_refused_as_damaged(&self, file: &Path) {
        match self.failed() {
            Some(Failure::Mismatch { path, what }) => {
                assert_eq!((path.as_path(), what.contains("is damaged")), (file, true));
            }
            other => panic!("{other:?}"),
        }
    }

    /// Why it stands still, if so: the last failure.
    pub fn failed(&self) -> Option<&Failure> {
        self.said.iter().rev().find_map(|said| match said {
            StoreEffect::Failed(failure) => Some(failure),
            _ => None,
        })
    }

    fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.identity.directory).expect("it is there");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let mut paths: Vec<PathBuf> = paths.collect();
        paths.sort();
        paths
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> Vec<PathBuf> {
        let mut segments = self.files();
        segments.retain(|path| path.extension().is_some_and(|of| of == "arrow"));
        segments
    }

    /// The names in the directory, oldest first.
    pub fn names(&self) -> Vec<String> {
        let name = |path: PathBuf| {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            name.unwrap_or_default()
        };
        self.files().into_iter().map(name).collect()
    }

    /// The history as a query sees it.
    pub fn history(&self) -> Vec<CommitFacts> {
        let snapshot = self.store.view().snapshot();
        let history: Result<Vec<_>, _> = snapshot.commits().collect();
        history.expect("sound")
    }

    /// Rows that a query reads.
    pub fn rows(&self) -> u64 {
        self.store.view().snapshot().rows()
    }
}
