//! AUDIT PIPELINE [VERIFY]: the law as a statement, on live data.
//!
//! One thread beside the query cores, which may wait for the disk and the broker, walks the leaf
//! partitions one after another: each by a snapshot of its own, its tail copied first. What it holds is
//! of the queries' memory. It asks nothing of a leaf and changes nothing: damage is told, and nobody's
//! alarm rings.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::record_batch::RecordBatch;
use ingest::audit::{LogSays, Model, Range, Rows as AuditRows, Stopped, Subject, World};
use ingest::leaf::{Attached, holes};
use ingest::limits::AUDIT_BASE_BYTES;
use ingest::pipeline::SqlType;
use storage::ids::Offset;
use storage::inspect::{FileBytes, SegmentBytes};
use storage::published::PartitionState;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::answer::{Answer, ResultColumn};
use super::engine::Engine;
use super::error::{Code, SqlError};
use super::listing::{Cell, INT, Listing, NAME, TEXT, UINT};
use super::parse::ObjectName;
use super::schema_views;
use super::select::{Cancel, Share, run};
use super::session::{Session, unknown_database};
use crate::aggregator::{AggregatorError, LogMessage, LogWanted, Name, Unknown};
use crate::catalog::{PairingDef, PipelineDef};
use crate::limits::{
    AUDIT_CURSOR_LOOK_MS, AUDIT_CURSOR_LOOKS_MAX, AUDIT_LOG_QUEUED_MAX, AUDIT_ROWS_QUEUED_MAX,
    AUDITS_MAX,
};

const COLUMNS: &[(&str, SqlType)] = &[
    ("SOURCE_PARTITION_ID", NAME),
    ("LEAF_PARTITION", UINT),
    ("LINEAGE", UINT),
    ("FIRST_OFFSET", INT),
    ("NEXT_OFFSET", INT),
    ("COMMITS", UINT),
    ("ROWS", UINT),
    ("LOADED", UINT),
    ("REJECTED", UINT),
    ("EMPTY", UINT),
    ("SKIPPED", UINT),
    ("CONTROL", UINT),
    ("ABORTED", UINT),
    ("GAP", UINT),
    ("LOST", UINT),
    ("FILE", TEXT),
    ("CHECKED", UINT),
    ("STATUS", TEXT),
];

/// The columns of its answer.
pub(super) fn columns() -> Vec<ResultColumn> {
    Listing::new(COLUMNS).result_columns()
}

impl Session {
    /// Begins an audit; its rows come as they are known.
    pub(super) fn audit(
        &self,
        name: &ObjectName,
        verify: bool,
        cancel: Cancel,
    ) -> Result<Answer, SqlError> {
        let name = self.qualified(name)?;
        let catalog = self.engine.catalog();
        if catalog.database(&name.database).is_none() {
            return Err(unknown_database(&name.database));
        }
        let Some(pipeline) = catalog.pipeline(&name.database, &name.name) else {
            let Name { database, name } = name;
            let unknown = Unknown::Pipeline {
                database,
                pipeline: name,
            };
            return Err(AggregatorError::Unknown(unknown).into());
        };
        let Some(room) = self.engine.room_for_audit() else {
            return Err(SqlError::new(
                Code::LimitReached,
                format!("limit reached: at most {AUDITS_MAX} AUDIT PIPELINE at once"),
            ));
        };
        let mut pairings: Vec<Arc<PairingDef>> =
            catalog.pairings_of(pipeline.id).cloned().collect();
        pairings.sort_by_key(|pairing| pairing.kafka_partition);
        let (out, batches) = mpsc::channel(AUDIT_ROWS_QUEUED_MAX);
        let parts = self.engine.parts();
        let audit = Audit {
            engine: Arc::clone(&self.engine),
            pipeline: Arc::clone(pipeline),
            verify,
            out,
            cancel,
            share: parts.memory.share("AUDIT PIPELINE"),
            fault: None,
            no_broker: None,
            _room: room,
        };
        let task = parts
            .query_runtime
            .spawn_blocking(move || audit.run(&pairings));
        Ok(Answer::Rows(run::rows_of(columns(), batches, task)))
    }
}

/// An audit under way.
struct Audit {
    engine: Arc<Engine>,
    pipeline: Arc<PipelineDef>,
    verify: bool,
    out: mpsc::Sender<Result<RecordBatch, SqlError>>,
    cancel: Cancel,
    share: Share,
    /// Why it ends early, if not because nobody waits for it.
    fault: Option<SqlError>,
    /// Why no broker could be asked: the next partition's are the same.
    no_broker: Option<String>,
    _room: OwnedSemaphorePermit,
}

impl Audit {
    fn run(mut self, pairings: &[Arc<PairingDef>]) {
        for pairing in pairings {
            if self.partition(pairing).is_err() {
                break;
            }
        }
        if let Some(fault) = self.fault.take() {
            // Err: nobody waits for it.
            let _ = self.out.blocking_send(Err(fault));
        }
    }

    fn partition(&mut self, pairing: &PairingDef) -> Result<(), Stopped> {
        let engine = Arc::clone(&self.engine);
        let id = pairing.leaf_partition;
        let attached = engine.parts().views.attached(id);
        // Before the snapshot: what is said to be recovered is shown by then.
        let is_readable = attached.as_ref().is_some_and(|attached| {
            let state = attached.view.gauges.state();
            state != PartitionState::Recovering
        });
        // Before the catalog: what a leaf shows is never ahead of that.
        let snapshot = attached.as_ref().map(|attached| attached.view.snapshot());
        let catalog = engine.catalog();
        let (Some(pairing), Some(pipeline)) = (
            catalog.pairing(id),
            catalog.pipeline_by_id(self.pipeline.id),
        ) else {
            // Dropped meanwhile, and its rows with it, or the pipeline.
            return Ok(());
        };
        let stands = schema_views::stands_still(&engine, &catalog, pipeline, id);
        let mut world = PartitionWorld {
            audit: self,
            pairing,
            attached: attached.clone(),
            log: None,
        };
        let (Some(snapshot), true) = (snapshot, is_readable) else {
            let words = stands.unwrap_or_else(|| format!("leaf partition {id} is not attached"));
            return world.say(unreadable(pairing, words));
        };
        let subject = Subject {
            table: pairing.table,
            leaf_partition: id,
            kafka_partition: pairing.kafka_partition,
            lineage: pairing.lineage,
            start_offset: pairing.start_offset,
            topic_id: pairing.topic_id,
            stands,
        };
        for known in snapshot.holes() {
            let hole = &known.hole;
            let missing = holes::missing(known, pairing.kafka_partition);
            world.row(Range {
                next: hole.next_offset,
                stands: Some(missing),
                ..Range::new(hole.lineage, hole.first_offset, None)
            })?;
        }
        // The batches of a merged commit are read from its file: less than what verifying has at any time.
        world.reserve(AUDIT_BASE_BYTES)?;
        if !world.audit.verify {
            return ingest::audit::records(&subject, snapshot, &mut world);
        }
        let replaced = pipeline.alter_unix_ms;
        let model = Model::new(
            pipeline.spec.mapping.clone(),
            (replaced != pipeline.create_unix_ms).then_some(replaced),
        );
        let verified = ingest::audit::verify(&subject, snapshot, &model, &mut world);
        // Whatever was held for this one.
        self.share.resize(0).map_err(|fault| self.failed(fault))?;
        verified
    }

    fn failed(&mut self, fault: SqlError) -> Stopped {
        self.fault = Some(fault);
        Stopped::Memory
    }
}

/// One leaf partition being audited.
struct PartitionWorld<'a> {
    audit: &'a mut Audit,
    pairing: &'a PairingDef,
    attached: Option<Arc<Attached>>,
    log: Option<mpsc::Receiver<LogMessage>>,
}

impl PartitionWorld<'_> {
    fn say(&mut self, cells: Vec<Cell>) -> Result<(), Stopped> {
        let mut listing = Listing::new(COLUMNS);
        let batch = listing.push(cells).and_then(|()| listing.batch());
        match batch {
            Ok(batch) => {
                let sent = self.audit.out.blocking_send(Ok(batch));
                sent.map_err(|_| Stopped::Ended)
            }
            Err(fault) => Err(self.audit.failed(fault)),
        }
    }

    /// Waits for what the control core does, unless nobody waits for this any more.
    fn unless_ended<T>(&self, work: impl Future<Output = T>) -> Result<T, Stopped> {
        let (mut cancel, out) = (self.audit.cancel.clone(), self.audit.out.clone());
        let runtime = &self.audit.engine.parts().query_runtime;
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => Err(Stopped::Ended),
                () = out.closed() => Err(Stopped::Ended),
                done = work => Ok(done),
            }
        })
    }

    fn fetched(&self) -> Option<i64> {
        let attached = self.attached.as_ref()?;
        let fetched = attached.standing.fetched.load(Ordering::Relaxed);
        (fetched >= 0).then_some(fetched)
    }
}

fn unreadable(pairing: &PairingDef, words: String) -> Vec<Cell> {
    let mut cells = vec![Cell::Null; COLUMNS.len()];
    cells[0] = pairing.kafka_partition.to_string().into();
    cells[1] = pairing.leaf_partition.0.into();
    cells[2] = pairing.lineage.0.into();
    let last = cells.len() - 1;
    cells[last] = words.into();
    cells
}

impl AuditRows for PartitionWorld<'_> {
    fn row(&mut self, range: Range) -> Result<(), Stopped> {
        let counts = &range.counts;
        // Of a tail the other classes are counted when it is committed.
        let counted = |count: u64| match range.file {
            Some(_) => Cell::UInt(count),
            None => Cell::Null,
        };
        let file = range.file.as_ref().map(|file| file.display().to_string());
        let checked = range.compared.as_ref().map(|compared| compared.checked);
        let cells = vec![
            self.pairing.kafka_partition.to_string().into(),
            self.pairing.leaf_partition.0.into(),
            range.lineage.0.into(),
            range.first.0.into(),
            range.next.0.into(),
            range.commits.into(),
            range.rows.into(),
            counts.loaded.into(),
            counts.rejected.into(),
            counted(counts.empty),
            counted(counts.skipped),
            counted(counts.control),
            counted(counts.aborted),
            counted(counts.gap),
            counted(counts.lost),
            file.into(),
            checked.into(),
            range.status().into(),
        ];
        self.say(cells)
    }

    fn go_on(&mut self) -> Result<(), Stopped> {
        match self.audit.cancel.is_cancelled() || self.audit.out.is_closed() {
            true => Err(Stopped::Ended),
            false => Ok(()),
        }
    }

    fn fetched_behind(&mut self, visible: Offset) -> Option<Offset> {
        for _ in 0..AUDIT_CURSOR_LOOKS_MAX {
            let now = self.attached.as_ref()?.view.snapshot().next_offset();
            // Where the visible one fell, a void or SET OFFSETS took both back.
            if self.fetched()? >= visible.0 || now < visible || self.go_on().is_err() {
                return None;
            }
            // A leaf shows how it stands a moment late.
            std::thread::sleep(Duration::from_millis(AUDIT_CURSOR_LOOK_MS));
        }
        self.fetched().map(Offset)
    }
}

impl World for PartitionWorld<'_> {
    fn reserve(&mut self, bytes: u64) -> Result<(), Stopped> {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let resized = self.audit.share.resize(bytes);
        resized.map_err(|fault| self.audit.failed(fault))
    }

    fn open(&mut self, path: &Path) -> io::Result<Option<Box<dyn SegmentBytes>>> {
        match File::open(path).and_then(FileBytes::new) {
            Ok(bytes) => Ok(Some(Box::new(bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_shown(&mut self, path: &Path) -> bool {
        let views = &self.audit.engine.parts().views;
        let view = views.get(self.pairing.leaf_partition);
        view.is_some_and(|view| {
            let segments = view.snapshot().segments();
            segments.iter().any(|segment| segment.file.path() == path)
        })
    }

    fn ask_log(&mut self, from: Offset, to: Offset) {
        self.log = None;
        if self.audit.no_broker.is_some() {
            return;
        }
        let wanted = LogWanted {
            pipeline: self.audit.pipeline.id,
            kafka_partition: self.pairing.kafka_partition,
            topic_id: self.pairing.topic_id,
            from,
            to,
        };
        let (out, says) = mpsc::channel(AUDIT_LOG_QUEUED_MAX);
        let engine = Arc::clone(&self.audit.engine);
        match self.unless_ended(engine.parts().aggregator.read_log(wanted, out)) {
            Ok(Ok(())) => self.log = Some(says),
            Ok(Err(error)) => self.audit.no_broker = Some(error.to_string()),
            // The next look at whether to go on says so.
            Err(_) => {}
        }
    }

    fn log(&mut self) -> Result<LogSays, Stopped> {
        let Some(mut log) = self.log.take() else {
            let why = self.audit.no_broker.clone();
            return Ok(LogSays::Failed(
                why.unwrap_or_else(|| "nothing was asked".to_owned()),
            ));
        };
        let said = self.unless_ended(log.recv())?;
        self.log = Some(log);
        Ok(match said {
            Some(LogMessage::Says(said)) => said,
            Some(LogMessage::NoBroker(why)) => {
                self.audit.no_broker = Some(why.clone());
                LogSays::Failed(why)
            }
            None => LogSays::Failed("the server is shutting down".to_owned()),
        })
    }

    fn leave_log(&mut self) {
        self.log = None;
    }
}
