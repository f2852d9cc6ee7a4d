//! What a segment in quarantine held, in words: what is missing, and what to do about it.

use storage::disk::Failure;
use storage::format::{Before, Hole};
use storage::recovery::KnownHole;

/// What is missing of a Kafka partition, why, and what to do: one line.
#[must_use]
pub fn missing(known: &KnownHole, kafka_partition: i32) -> String {
    let hole = &known.hole;
    format!(
        "{} of partition {kafka_partition} are missing: the segment that held them is in quarantine/{} ({}); {}",
        hole.offsets(),
        hole.moved_to,
        hole.reason,
        next_step(hole, known.bridged, kafka_partition)
    )
}

/// What to do about it.
fn next_step(hole: &Hole, bridged: bool, kafka_partition: i32) -> String {
    let (first, next) = (hole.first_offset, hole.next_offset);
    if hole.before == Before::Unknown {
        return "START PIPELINE loads them again where what is left tells what stood before them; otherwise put the \
                segment back from a copy, then START, or DROP TABLE"
            .to_owned();
    }
    if bridged {
        return format!(
            "what follows them is there: ALTER PIPELINE ... SET OFFSETS to the partition's CURSOR_OFFSET gives them up, '{{\"{kafka_partition}\": {first}}}' loads them and all that follows once more"
        );
    }
    format!(
        "START PIPELINE loads them again as far as Kafka has them, ALTER PIPELINE ... SET OFFSETS '{{\"{kafka_partition}\": {next}}}' gives them up"
    )
}

/// Why a store stands still, and what to do, where it is for damage. `bridged`: what follows it is there.
pub(super) fn failure(why: &Failure, bridged: bool, kafka_partition: i32) -> String {
    match why {
        Failure::Corrupt {
            hole: Some(hole), ..
        } => format!("{why}; {}", next_step(hole, bridged, kafka_partition)),
        Failure::Corrupt { hole: None, .. } => {
            format!("{why}; make room or mend the disk, then START PIPELINE")
        }
        _ => why.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use storage::disk::{DiskAction, DiskError};
    use storage::format::{Predecessor, SegmentId};
    use storage::ids::{LeafPartitionId, Lineage, Offset, Rewrite, Sequence, TableId};

    use super::*;

    fn hole() -> Hole {
        Hole {
            table: TableId(1),
            id: SegmentId {
                leaf_partition: LeafPartitionId(10),
                sequence: Sequence(3),
                rewrite: Rewrite(0),
            },
            lineage: Lineage(1),
            first_offset: Offset(100),
            next_offset: Offset(200),
            next_commit_number: 9,
            before: Before::Segment(Predecessor {
                sequence: Sequence(2),
                lineage: Lineage(1),
                next_offset: Offset(100),
                next_commit_number: 5,
            }),
            vouches: true,
            standing: Lineage(1),
            found_unix_ms: 0,
            moved_to: "1-10-3.0.arrow".to_owned(),
            reason: "checksum mismatch in column 0, buffer 1 at byte 4096".to_owned(),
        }
    }

    #[test]
    fn it_ends_with_what_to_do() {
        let known = |bridged| KnownHole {
            hole: hole(),
            bridged,
            told: true,
        };
        let missing = |bridged| super::missing(&known(bridged), 4);
        let what = "offsets 100 to 199 of partition 4 are missing: the segment that held them is in quarantine/1-10-3.0.arrow (checksum mismatch in column 0, buffer 1 at byte 4096); ";
        let start = "START PIPELINE loads them again as far as Kafka has them, ALTER PIPELINE ... SET OFFSETS '{\"4\": 200}' gives them up";
        assert_eq!(missing(false), format!("{what}{start}"));
        let set = "what follows them is there: ALTER PIPELINE ... SET OFFSETS to the partition's CURSOR_OFFSET gives them up, '{\"4\": 100}' loads them and all that follows once more";
        assert_eq!(missing(true), format!("{what}{set}"));
        let corrupt = |hole: Option<Hole>| Failure::Corrupt {
            path: PathBuf::from("tables/1/10/3.0.arrow"),
            what: "checksum mismatch".to_owned(),
            hole: hole.map(Box::new),
        };
        let said = "tables/1/10/3.0.arrow: checksum mismatch; the whole segment moved to quarantine/1-10-3.0.arrow, and with it offsets 100 to 199; ";
        let failed = |hole| failure(&corrupt(hole), false, 4);
        assert_eq!(failed(Some(hole())), format!("{said}{start}"));
        let unknown = Hole {
            before: Before::Unknown,
            ..hole()
        };
        assert!(
            failed(Some(unknown))
                .ends_with("put the segment back from a copy, then START, or DROP TABLE")
        );
        assert!(failed(None).ends_with("; make room or mend the disk, then START PIPELINE"));
        let path = PathBuf::from("1.0.arrow");
        let disk = Failure::File(DiskError::new(&path, DiskAction::Write, 5));
        assert_eq!(failure(&disk, false, 4), disk.to_string());
    }
}
