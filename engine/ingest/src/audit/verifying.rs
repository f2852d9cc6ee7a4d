//! A leaf partition read again from its files, beside the broker's log: AUDIT PIPELINE ... VERIFY.
//!
//! Segments of one topic that go on from one another are one run: the log is asked for the run's offsets
//! once and drives the walk, each record being handed to the commit that covers it. The
//! next commit is read when the log has passed the one before, so one is in memory at a time. The tail
//! is copied before anything is waited for: a leaf's blocks are its own.

use std::path::PathBuf;
use std::sync::Arc;
use std::vec;

use storage::content::Content;
use storage::format::{CommitFacts, CommitRecord, check_commit};
use storage::ids::{Lineage, Offset, TopicId};
use storage::inspect::{MapBytes, Message, SegmentBytes, SegmentReader, check_whole_body};
use storage::published::{SegmentPart, Snapshot};
use storage::segment::SealState;

use super::chain::Chain;
use super::commit::Commit;
use super::compare::{Comparison, Pass};
use super::fault::{Fault, Faults};
use super::log::{Entries, Entry, WalkEnd, walk};
use super::range::Range;
use super::seal::torn_seal;
use super::values::Model;
use super::whole::{begin, cursors, is_worth_a_row, tail_range, take, take_tail};
use super::{LogSays, Stopped, Subject, World};
use crate::kafka::Decompressor;
use crate::limits::{AUDIT_BASE_BYTES, AUDIT_SEAL_FACTOR};

/// Reads one snapshot again and compares it: a range a segment, each as soon as it is known, then the
/// tail.
///
/// # Errors
/// [`Stopped`].
pub fn verify(
    subject: &Subject,
    snapshot: Snapshot,
    model: &Model,
    world: &mut impl World,
) -> Result<(), Stopped> {
    let segments = snapshot.segments();
    // What the records in memory say is judged where the file says it again; here it only tells where
    // the tail must begin.
    let mut shown = Chain::new(subject);
    for segment in &segments {
        let ignored = &mut Faults::default();
        shown.segment(&segment.file.header().header, ignored);
        for commit in &segment.commits {
            let record = commit.record();
            shown.commit(&record.facts, &[record.facts], ignored);
        }
    }
    let parts = snapshot.tail();
    let mut last = tail_range(subject, &snapshot, &shown, &segments, &parts);
    let mut tail = Vec::new();
    let mut tail_bytes = 0;
    for part in &parts {
        let content = part.content();
        tail_bytes += content.bytes();
        world.reserve(AUDIT_BASE_BYTES + tail_bytes)?;
        tail.push((content.detached(), part.first_offset(), part.next_offset()));
    }
    drop(parts);
    let snapshot = snapshot.committed();
    cursors(&snapshot, &segments, &mut last, world);
    drop(snapshot);
    let mut chain = Chain::new(subject);
    let mut decompressor = Decompressor::default();
    let mut runs = runs(segments).into_iter().peekable();
    while let Some(segments) = runs.next() {
        // The tail goes on where its own lineage's last segment ends.
        let joins = runs.peek().is_none()
            && segments.last().is_some_and(|one| {
                one.file.header().header.lineage == last.lineage && last.first == one.next_offset()
            });
        let mut run = Run::new(model, world, &mut chain, tail_bytes);
        run.topic_id = topic_of(&segments);
        run.segments = segments.into_iter();
        if joins {
            run.tail = std::mem::take(&mut tail).into_iter();
            run.last = Some(last.clone());
        }
        run.go(subject, &mut decompressor)?;
        if joins {
            return Ok(());
        }
    }
    // The tail alone: nothing was committed yet, or not in its lineage.
    let mut run = Run::new(model, world, &mut chain, tail_bytes);
    run.topic_id = Some(subject.topic_id);
    run.tail = tail.into_iter();
    run.last = Some(last);
    run.go(subject, &mut decompressor)
}

fn topic_of(segments: &[SegmentPart]) -> Option<TopicId> {
    let first = segments.first()?;
    Some(first.file.header().header.topic_id)
}

/// Segments in runs that the log can be read along: one topic, no hole, nothing twice.
fn runs(segments: Vec<SegmentPart>) -> Vec<Vec<SegmentPart>> {
    let mut runs: Vec<Vec<SegmentPart>> = Vec::new();
    for segment in segments {
        let header = &segment.file.header().header;
        let goes_on = |run: &Vec<SegmentPart>| {
            run.last().is_some_and(|last| {
                let before = &last.file.header().header;
                before.topic_id == header.topic_id && last.next_offset() == header.first_offset
            })
        };
        match runs.last_mut() {
            Some(run) if goes_on(run) => run.push(segment),
            _ => runs.push(vec![segment]),
        }
    }
    runs
}

/// What is being walked.
enum Current {
    /// Nothing yet, or the run is over.
    Nothing,
    /// A commit, beside the log.
    Compares(Box<Comparison>),
    /// A commit that cannot be read, up to this offset.
    Unreadable(Offset),
}

/// The segment whose commits are walked.
struct Open {
    part: SegmentPart,
    reader: SegmentReader,
    /// The next of its commits.
    commit: usize,
}

/// One run on its way.
struct Run<'r, 's, W> {
    model: &'r Model,
    world: &'r mut W,
    chain: &'r mut Chain<'s>,
    topic_id: Option<TopicId>,
    segments: vec::IntoIter<SegmentPart>,
    /// The tail's blocks behind them: content, first offset, next offset.
    tail: vec::IntoIter<(Content, Offset, Offset)>,
    /// The tail's range; none where the run ends without it.
    last: Option<Range>,
    /// Whether the range is the tail's.
    in_tail: bool,
    open: Option<Open>,
    range: Option<Range>,
    current: Current,
    unasked: Option<(Offset, String)>,
    /// What the tail takes all the while.
    tail_bytes: u64,
    /// What the commit in hand takes.
    commit_bytes: u64,
    /// What the response in hand takes.
    log_bytes: u64,
}

impl<'r, 's, W: World> Run<'r, 's, W> {
    fn new(
        model: &'r Model,
        world: &'r mut W,
        chain: &'r mut Chain<'s>,
        tail_bytes: u64,
    ) -> Run<'r, 's, W> {
        Run {
            model,
            world,
            chain,
            topic_id: None,
            segments: Vec::new().into_iter(),
            tail: Vec::new().into_iter(),
            last: None,
            in_tail: false,
            open: None,
            range: None,
            current: Current::Nothing,
            unasked: None,
            tail_bytes,
            commit_bytes: 0,
            log_bytes: 0,
        }
    }

    fn reserve(&mut self) -> Result<(), Stopped> {
        let held = self.tail_bytes + self.commit_bytes + self.log_bytes;
        self.world.reserve(AUDIT_BASE_BYTES + held)
    }

    /// Its first offset and the one after its last, by what queries are shown.
    fn bounds(&self) -> (Offset, Offset) {
        let segments = self.segments.as_slice();
        let tail = self.last.as_ref();
        let first = segments.first().map(SegmentPart::first_offset);
        let next = segments.last().map(SegmentPart::next_offset);
        (
            first.or(tail.map(|tail| tail.first)).unwrap_or(Offset(0)),
            tail.map(|tail| tail.next).or(next).unwrap_or(Offset(0)),
        )
    }

    fn go(mut self, subject: &Subject, decompressor: &mut Decompressor) -> Result<(), Stopped> {
        let (from, to) = self.bounds();
        let none = TopicId::default();
        let is_its = self.topic_id.is_none_or(|topic_id| {
            topic_id == subject.topic_id || topic_id == none || subject.topic_id == none
        });
        if from >= to {
            self.pass(to, Pass::Absent)?;
        } else if is_its {
            self.beside_the_log(from, to, decompressor)?;
            self.world.leave_log();
        } else {
            let topic_id = self.topic_id.unwrap_or_default();
            let why = format!("the topic was replaced since, its id was {topic_id}");
            self.give_up(from, to, why)?;
        }
        self.finish()
    }

    /// The broker says nothing of what is left.
    fn give_up(&mut self, at: Offset, to: Offset, why: String) -> Result<(), Stopped> {
        self.unasked = Some((at, why));
        self.pass(to, Pass::Unasked)
    }

    fn beside_the_log(
        &mut self,
        from: Offset,
        to: Offset,
        decompressor: &mut Decompressor,
    ) -> Result<(), Stopped> {
        self.world.ask_log(from, to);
        let mut at = from;
        loop {
            self.world.go_on()?;
            match self.world.log()? {
                LogSays::Begins(start) => {
                    at = at.max(start.min(to));
                    self.pass(at, Pass::Gone)?;
                }
                LogSays::Response(response) => {
                    self.log_bytes = response.frame.len() as u64;
                    self.reserve()?;
                    match walk(&response, at, to, decompressor, self) {
                        Ok(next) => at = next.min(to),
                        Err(WalkEnd::Stopped(stopped)) => return Err(stopped),
                        Err(WalkEnd::Malformed(what)) => {
                            let at = self.reached(at);
                            let why = format!("what it answers cannot be read: {what}");
                            return self.give_up(at, to, why);
                        }
                    }
                    self.pass(at, Pass::Absent)?;
                    self.log_bytes = 0;
                    self.reserve()?;
                }
                LogSays::End => return self.pass(to, Pass::Absent),
                LogSays::EndsAt(end) => {
                    self.pass(end.min(to), Pass::Absent)?;
                    let fault = Fault::LogEnds { end, loaded: to };
                    self.faults().push(fault);
                    let why = format!("its log ends at {end}");
                    return self.give_up(end, to, why);
                }
                LogSays::Failed(why) => return self.give_up(at, to, why),
            }
        }
    }

    /// How far the commit in hand was compared, at least `at`.
    fn reached(&self, at: Offset) -> Offset {
        match &self.current {
            Current::Compares(comparison) => at.max(comparison.at()),
            _ => at,
        }
    }

    /// Where faults of what is walked go.
    fn faults(&mut self) -> &mut Faults {
        &mut in_hand(&mut self.range).faults
    }

    /// The log has nothing of the offsets up to `to`, for this reason.
    fn pass(&mut self, to: Offset, how: Pass) -> Result<(), Stopped> {
        loop {
            match &mut self.current {
                Current::Compares(comparison) => {
                    let found = in_hand(&mut self.range).compared.get_or_insert_default();
                    comparison.pass(to, how, found);
                    if comparison.next() > to {
                        return Ok(());
                    }
                }
                Current::Unreadable(next) if *next > to => return Ok(()),
                Current::Unreadable(_) | Current::Nothing => {}
            }
            if !self.load()? {
                return Ok(());
            }
        }
    }

    /// Reads the next commit; whether there is one.
    fn load(&mut self) -> Result<bool, Stopped> {
        self.current = Current::Nothing;
        self.commit_bytes = 0;
        loop {
            self.world.go_on()?;
            if let Some(open) = &self.open {
                if open.commit < open.part.commits.len() {
                    self.load_commit()?;
                    return Ok(true);
                }
                self.end_range()?;
            }
            if let Some(part) = self.segments.next() {
                self.begin_segment(part)?;
                continue;
            }
            return self.load_tail();
        }
    }

    fn load_tail(&mut self) -> Result<bool, Stopped> {
        if !self.in_tail {
            let Some(last) = self.last.take() else {
                return Ok(false);
            };
            self.in_tail = true;
            self.range = Some(last);
        }
        let Some((content, first, next)) = self.tail.next() else {
            return Ok(false);
        };
        let commit = Commit::tail(content, first, next);
        if let Some(range) = &mut self.range {
            take_tail(range, &commit);
        }
        self.current = Current::Compares(Box::new(Comparison::new(commit)));
        Ok(true)
    }

    /// What is left of the run: ranges whose last commit the log has passed.
    fn finish(mut self) -> Result<(), Stopped> {
        while self.load()? {}
        self.end_range()
    }

    fn end_range(&mut self) -> Result<(), Stopped> {
        self.open = None;
        let Some(mut range) = self.range.take() else {
            return Ok(());
        };
        range.compared.get_or_insert_default();
        range.unasked.clone_from(&self.unasked);
        if self.in_tail || is_worth_a_row(&range) {
            self.world.row(range)?;
        }
        Ok(())
    }

    fn begin_segment(&mut self, part: SegmentPart) -> Result<(), Stopped> {
        let mut range = begin(&part);
        self.chain
            .segment(&part.file.header().header, &mut range.faults);
        // Asked before it is opened: a seal may be written meanwhile.
        let seal = part.file.seal();
        let file = self.open_file(&part, &mut range.faults);
        self.range = Some(range);
        let is_file = file.is_some();
        let reader = SegmentReader::new(file.unwrap_or_else(|| {
            let bytes = MapBytes::new(Arc::clone(&part.file), part.end_byte());
            Box::new(bytes)
        }));
        self.check_header(&part, &reader);
        if seal != SealState::Unknown && is_file {
            self.check_seal(&part, &reader, seal)?;
        }
        self.open = Some(Open {
            part,
            reader,
            commit: 0,
        });
        Ok(())
    }

    /// The file by its name. None: a merge took the name meanwhile, or it is lost; the snapshot still
    /// holds what is shown.
    fn open_file(
        &mut self,
        part: &SegmentPart,
        faults: &mut Faults,
    ) -> Option<Box<dyn SegmentBytes>> {
        let path = part.file.path();
        let what = match self.world.open(path) {
            Ok(Some(bytes)) => return Some(bytes),
            Ok(None) if !self.world.is_shown(path) => return None,
            Ok(None) => "it is not there".to_owned(),
            Err(error) => format!("it cannot be opened: {error}"),
        };
        faults.push(Fault::Bytes {
            at: part.first_offset(),
            path: path.display().to_string(),
            what,
        });
        None
    }

    fn damage(&mut self, at: Offset, path: &std::path::Path, what: String) {
        let path = path.display().to_string();
        self.faults().push(Fault::Bytes { at, path, what });
    }

    fn other(&mut self, at: Offset, path: &std::path::Path, what: &'static str) {
        let path = path.display().to_string();
        self.faults().push(Fault::Other { at, path, what });
    }

    fn check_header(&mut self, part: &SegmentPart, reader: &SegmentReader) {
        let (at, path) = (part.first_offset(), part.file.path());
        match reader.header() {
            Ok(Ok(header)) if header == *part.file.header() => {}
            Ok(Ok(_)) => self.other(at, path, "the header"),
            Ok(Err(damage)) => self.damage(at, path, damage.to_string()),
            Err(error) => self.damage(at, path, format!("read failed: {error}")),
        }
    }

    /// A seal that is known to be there: whole, and its index repeats the commits. Where it was never known to be
    /// synced, its absence is no damage.
    fn check_seal(
        &mut self,
        part: &SegmentPart,
        reader: &SegmentReader,
        seal: SealState,
    ) -> Result<(), Stopped> {
        let bytes = reader.bytes().saturating_sub(part.end_byte());
        self.commit_bytes = bytes * AUDIT_SEAL_FACTOR;
        self.reserve()?;
        match (torn_seal(part, reader), seal) {
            (Ok(None), _) => {}
            (Ok(torn), SealState::Written) => {
                if let Some(range) = &mut self.range {
                    range.footer = torn;
                }
            }
            (Ok(Some(what)), _) => self.damage(part.first_offset(), part.file.path(), what),
            (Err(error), _) => {
                let what = format!("read failed: {error}");
                self.damage(part.first_offset(), part.file.path(), what);
            }
        }
        self.commit_bytes = 0;
        self.reserve()
    }

    fn load_commit(&mut self) -> Result<(), Stopped> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let loaded = self.read_commit(&open);
        open.commit += 1;
        self.open = Some(open);
        self.current = loaded?;
        Ok(())
    }

    /// Reads the commit from the file, checks all of it, and makes it ready to be compared.
    fn read_commit(&mut self, open: &Open) -> Result<Current, Stopped> {
        let commit = &open.part.commits[open.commit];
        let (shown, at_byte) = (commit.record(), commit.at_byte());
        let at = shown.facts.first_offset;
        let path: PathBuf = open.part.file.path().to_path_buf();
        self.commit_bytes = bytes_of(shown);
        self.reserve()?;
        let record = match open.reader.message(at_byte) {
            Ok(Message::Commit(record, batches)) => Some((record, batches)),
            Ok(Message::EndOfStream) => {
                self.damage(at, &path, format!("the stream ends at byte {at_byte}"));
                None
            }
            Ok(Message::Damage(damage)) => {
                self.damage(at, &path, damage.to_string());
                None
            }
            Err(error) => {
                self.damage(at, &path, format!("read failed: {error}"));
                None
            }
        };
        let Some((record, batches)) = record else {
            // Only what queries are shown is left to go on by.
            self.take(&shown.facts, &[shown.facts]);
            return Ok(Current::Unreadable(shown.facts.next_offset));
        };
        self.take(&record.facts, &batches);
        let header = open.part.file.header();
        if record.facts != shown.facts || record.message_bytes() != shown.message_bytes() {
            self.other(at, &path, "a commit record");
            return Ok(Current::Unreadable(shown.facts.next_offset));
        }
        if let Err(what) = check_commit(&record, header) {
            self.damage(at, &path, format!("{what} at byte {at_byte}"));
            return Ok(Current::Unreadable(shown.facts.next_offset));
        }
        let body_at = at_byte + u64::from(record.head_bytes);
        let content = match open.reader.body(at_byte, &record) {
            Ok(body) => check_whole_body(&record, &body)
                .and_then(|()| Content::of_body(header, &record, &body))
                .map_err(|damage| damage.shifted(body_at).to_string()),
            Err(error) => Err(format!("read failed: {error}")),
        };
        match content {
            Ok(content) => {
                let commit = Commit::new(content, &batches);
                let faults = self.faults();
                commit.check(faults);
                commit.check_statistics(&header.header.schema, &record, faults);
                Ok(Current::Compares(Box::new(Comparison::new(commit))))
            }
            Err(what) => {
                self.damage(at, &path, what);
                Ok(Current::Unreadable(record.facts.next_offset))
            }
        }
    }

    fn take(&mut self, facts: &CommitFacts, batches: &[CommitFacts]) {
        let range = in_hand(&mut self.range);
        take(range, batches);
        self.chain.commit(facts, batches, &mut range.faults);
    }
}

/// What a commit takes while it is in hand: metadata, its bytes twice, the body, and what is known of its rejects.
fn bytes_of(record: &CommitRecord) -> u64 {
    3 * u64::from(record.head_bytes) + record.body_bytes + u64::from(record.facts.rejects) * 64
}

/// The range in hand: there is one whenever a commit is.
fn in_hand(range: &mut Option<Range>) -> &mut Range {
    range.get_or_insert_with(|| Range::new(Lineage(0), Offset(0), None))
}

impl<W: World> Entries for Run<'_, '_, W> {
    fn entry(&mut self, entry: &Entry<'_>) -> Result<(), Stopped> {
        let offset = entry.record.offset;
        // The commit that covers it, which is at the latest the one behind all that end here.
        self.pass(offset, Pass::Absent)?;
        if let Current::Compares(comparison) = &mut self.current {
            let range = in_hand(&mut self.range);
            let found = range.compared.get_or_insert_default();
            comparison.entry(entry, self.model, found, &mut range.faults);
        }
        Ok(())
    }

    fn holds(&mut self, bytes: u64) -> Result<(), Stopped> {
        self.log_bytes = bytes;
        self.reserve()
    }
}
