//! What is true of one leaf partition: its lineages, what of them was said to be durable, and what the
//! leaf gave up.

use std::collections::BTreeMap;

use super::disk::Damaged;
use super::law::Seen;

/// Ranges that were given up because retention had taken them.
pub type Lost = Vec<(i64, i64)>;

/// See the module.
#[derive(Clone, Debug)]
pub struct Tracked {
    /// Which.
    pub leaf_partition: u64,
    /// Its table.
    pub table: u64,
    /// The Kafka partition.
    pub log: usize,
    /// The lineage that the catalog has.
    pub lineage: u64,
    /// Those below are not to be seen.
    pub live: u64,
    /// The lineage's first offset.
    pub start: i64,
    /// Where another owner goes on.
    pub end_offset: Option<i64>,
    /// The lineages that were left, as they were then.
    pub left: BTreeMap<u64, Seen>,
    /// The lineage that a snapshot shows, once it was said.
    pub shown: Option<u64>,
    /// What was said to be durable.
    pub durable: i64,
    /// The cursor, as last seen.
    pub visible: i64,
    /// The highest that the cursor was in this lineage.
    pub highest: i64,
    /// What the leaf gave up below the cursor, the last range perhaps still under way. More than one
    /// where it is not known yet which of the histories a recovery has kept.
    pub lost: Vec<Lost>,
    /// The same as it stood before the cursor went back.
    lost_before: Vec<Lost>,
    /// Where unclean elections cut the log since the lineage began.
    pub cuts: Vec<i64>,
    /// The lineage began beyond the log's end: somebody's mistake.
    pub beyond: bool,
    /// Something happened to its files that no crash does.
    pub damage: Option<Damaged>,
    /// A lineage that was left, and from where on its end may be missing: it rotted, and nothing vouched for it yet.
    pub left_shorter: Option<(u64, i64)>,
}

impl Tracked {
    /// A leaf partition of this Kafka partition, from this offset on.
    #[must_use]
    pub fn new(leaf_partition: u64, table: u64, log: usize, start: i64) -> Tracked {
        Tracked {
            leaf_partition,
            table,
            log,
            lineage: 1,
            live: 1,
            start,
            end_offset: None,
            left: BTreeMap::new(),
            shown: None,
            durable: start,
            visible: start,
            highest: start,
            lost: vec![Lost::new()],
            lost_before: Vec::new(),
            cuts: Vec::new(),
            beyond: false,
            damage: None,
            left_shorter: None,
        }
    }

    /// Where its segments lie.
    #[must_use]
    pub fn directory(&self) -> String {
        format!("/data/tables/{}/{}", self.table, self.leaf_partition)
    }

    /// The cursor as it stands: a void takes it back, and what was given up above it is loaded or given
    /// up anew. What stood there may still be what a crash leaves, until a recovery has chosen.
    pub fn see(&mut self, visible: i64) {
        if visible < self.visible && self.shown.is_some() {
            let cut = self.lost.iter().map(|lost| below(lost, visible)).collect();
            self.lost_before
                .extend(std::mem::replace(&mut self.lost, cut));
            self.lost_before.sort_unstable();
            self.lost_before.dedup();
        }
        self.visible = visible;
        self.highest = self.highest.max(visible);
    }

    /// The leaf gives up what lies below the log's start.
    pub fn loses(&mut self, from: i64, to: i64) {
        self.lost.iter_mut().for_each(|lost| lost.push((from, to)));
    }

    /// Recovery chose one of the histories: which, the law will find.
    pub fn recovered_at(&mut self, durable: i64) {
        let all = self.lost.iter().chain(&self.lost_before);
        self.lost = all.map(|lost| below(lost, durable)).collect();
        self.lost.sort_unstable();
        self.lost.dedup();
        self.lost_before.clear();
        self.durable = durable;
        self.visible = durable;
        self.shown = Some(self.lineage);
    }

    /// From where on the end of a lineage that was left may be missing.
    pub fn shortened(&self, lineage: u64) -> Option<i64> {
        let (of, from) = self.left_shorter?;
        (of == lineage).then_some(from)
    }

    /// A lineage begins, in the catalog: the one before ends as it was seen.
    pub fn begins(&mut self, lineage: u64, live: u64, start: i64, before: Seen) {
        self.left.insert(self.lineage, before);
        self.left.retain(|lineage, _| *lineage >= live);
        self.lineage = lineage;
        self.live = live;
        self.start = start;
        self.shown = None;
        self.durable = start;
        self.visible = start;
        self.highest = start;
        self.lost = vec![Lost::new()];
        self.lost_before.clear();
        self.cuts.clear();
        self.beyond = false;
    }
}

fn below(lost: &Lost, end: i64) -> Lost {
    let lost = lost.iter().filter(|range| range.0 < end);
    lost.map(|&(from, to)| (from, to.min(end))).collect()
}
