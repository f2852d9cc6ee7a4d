//! A snapshot by its files and its tail: what an auditor walks, part by part.

use std::sync::Arc;

use super::{Durable, Published, Snapshot};
use crate::block::{Block, Mark};
use crate::content::Content;
use crate::ids::Offset;
use crate::segment::{Commit, SegmentFile};

/// One segment as a snapshot shows it.
#[derive(Clone, Debug)]
pub struct SegmentPart {
    /// Its file.
    pub file: Arc<SegmentFile>,
    /// Those of its commits that are shown, in order; none where a lineage has only begun.
    pub commits: Vec<Arc<Commit>>,
    /// Whether it is the one that is appended to.
    pub is_open: bool,
}

impl SegmentPart {
    /// Where it begins.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.file.header().header.first_offset
    }

    /// Where what is shown of it ends.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        let last = self.commits.last();
        last.map_or(self.first_offset(), |last| last.record().facts.next_offset)
    }

    /// The byte at which what is shown of it ends.
    #[must_use]
    pub fn end_byte(&self) -> u64 {
        let header = u64::from(self.file.header().bytes);
        let last = self.commits.last();
        last.map_or(header, |last| {
            last.at_byte() + last.record().message_bytes()
        })
    }
}

/// A block of the tail up to the mark that the snapshot goes by.
#[derive(Clone, Debug)]
pub struct TailPart {
    block: Arc<Block>,
    mark: Mark,
}

impl TailPart {
    /// The first offset that it covers.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.block.first_offset()
    }

    /// The offset after the last that it covers.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.mark.next_offset
    }

    /// Its rows and rejects, where they lie.
    #[must_use]
    pub fn content(&self) -> Content {
        Content::of_block(&self.block, self.mark)
    }
}

impl Snapshot {
    /// Every segment, oldest first.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentPart> {
        let inner = &*self.inner;
        let published = &inner.published;
        let mut found = Vec::with_capacity(inner.sealed + 2);
        for (at, segment) in published.sealed.iter().enumerate() {
            let commits = segment.commits();
            let shown = match at.cmp(&inner.sealed) {
                std::cmp::Ordering::Less => commits,
                std::cmp::Ordering::Equal if inner.sealed_partial > 0 => {
                    &commits[..inner.sealed_partial as usize]
                }
                _ => break,
            };
            found.push(SegmentPart {
                file: Arc::clone(segment.file()),
                commits: shown.to_vec(),
                is_open: false,
            });
        }
        if let Some(open) = published.open.as_ref()
            && inner.sealed == published.sealed.len()
        {
            found.push(SegmentPart {
                file: Arc::clone(open.file()),
                commits: open.first(inner.open_commits).cloned().collect(),
                is_open: true,
            });
        }
        found
    }

    /// How far it says that it is durable.
    #[must_use]
    pub fn durable(&self) -> Durable {
        self.inner.published.durable
    }

    /// What is visible and not committed: no block, or one, or the one being flushed and the one being
    /// filled behind it.
    #[must_use]
    pub fn tail(&self) -> Vec<TailPart> {
        self.blocks()
            .map(|(block, mark)| TailPart {
                block: Arc::clone(block),
                mark,
            })
            .collect()
    }

    /// The same without its tail, whose blocks it does not hold: what is looked at for long must not
    /// keep them from the leaf.
    #[must_use]
    pub fn committed(&self) -> Snapshot {
        let inner = &*self.inner;
        Snapshot::of(super::Inner {
            published: Arc::new(Published {
                blocks: [None, None],
                ..Published::clone(&inner.published)
            }),
            sealed: inner.sealed,
            sealed_partial: inner.sealed_partial,
            open_commits: inner.open_commits,
            marks: [None, None],
            parts: std::sync::OnceLock::new(),
        })
    }
}
