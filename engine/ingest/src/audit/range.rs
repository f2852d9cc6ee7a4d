//! What an audit says of one range: a segment, or the tail.

use std::path::PathBuf;

use storage::counts::Counts;
use storage::ids::{Lineage, Offset};

use super::compare::Compared;
use super::fault::Faults;

/// One range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its lineage.
    pub lineage: Lineage,
    /// Its first offset.
    pub first: Offset,
    /// The offset after its last.
    pub next: Offset,
    /// Its commits, as the user's batches.
    pub commits: u64,
    /// Its rows.
    pub rows: u64,
    /// What became of its offsets. Of a tail only loaded and rejected are known: the rest is counted when
    /// it is committed.
    pub counts: Counts,
    /// The segment's file; the tail has none.
    pub file: Option<PathBuf>,
    /// What was compared with the broker's log; nothing where only records were looked at.
    pub compared: Option<Compared>,
    /// Why the broker was not asked for part of it, and from which offset on.
    pub unasked: Option<(Offset, String)>,
    /// Of the tail: why the leaf partition stands still, where it does. Of a range that is missing: why.
    pub stands: Option<String>,
    /// What is torn of a footer that was never known to be synced. It repeats what the records say: no row hangs on
    /// it, and a start writes it anew, or cuts it where it is the newest.
    pub footer: Option<String>,
    /// What is wrong.
    pub faults: Faults,
}

impl Range {
    /// An empty one that begins at `first`.
    #[must_use]
    pub fn new(lineage: Lineage, first: Offset, file: Option<PathBuf>) -> Range {
        Range {
            lineage,
            first,
            next: first,
            commits: 0,
            rows: 0,
            counts: Counts::default(),
            file,
            compared: None,
            unasked: None,
            stands: None,
            footer: None,
            faults: Faults::default(),
        }
    }

    /// Whether nothing is wrong: what is not compared is not wrong, nor is a footer that is to be written again.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.faults.is_empty() && self.stands.is_none()
    }

    /// STATUS: `ok`, with what was not compared and what is to be written again, or what is wrong.
    #[must_use]
    pub fn status(&self) -> String {
        let mut said = match (self.faults.is_empty(), &self.stands) {
            (true, None) => "ok".to_owned(),
            (true, Some(words)) => words.clone(),
            (false, None) => self.faults.to_string(),
            (false, Some(words)) => format!("{}; {words}", self.faults),
        };
        if let Some(torn) = &self.footer {
            said.push_str(&format!(
                ", its footer, which the next start makes anew: {torn}"
            ));
        }
        let Some(compared) = &self.compared else {
            return said;
        };
        if compared.gone > 0 {
            said.push_str(&format!(
                ", {} offsets no longer at the broker",
                compared.gone
            ));
        }
        if compared.unread > 0 {
            said.push_str(&format!(
                ", {} offsets from before the pipeline was replaced compared by class alone",
                compared.unread
            ));
        }
        if compared.unasked > 0
            && let Some((from, why)) = &self.unasked
        {
            let from = if *from <= self.first {
                String::new()
            } else {
                format!(" from offset {from} on")
            };
            said.push_str(&format!(", the broker was not asked{from}: {why}"));
        }
        said
    }
}
