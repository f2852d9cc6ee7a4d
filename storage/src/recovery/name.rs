//! Names of a leaf partition's files: `<sequence>.<rewrite>.arrow`, and a merge's temporary.

use std::path::{Path, PathBuf};

use crate::ids::{Rewrite, Sequence};
use crate::limits::{REWRITE_MAX, SEQUENCE_MAX};

const SUFFIX: &str = ".arrow";
const TEMPORARY_SUFFIX: &str = ".arrow.tmp";

/// What a name in a leaf partition's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A segment.
    Segment(Sequence, Rewrite),
    /// What a merge did not finish.
    Temporary,
}

/// The path of a segment.
#[must_use]
pub fn segment_path(directory: &Path, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
    directory.join(format!("{sequence}.{rewrite}{SUFFIX}"))
}

/// The path of a merge's temporary.
#[must_use]
pub fn temporary_path(directory: &Path, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
    directory.join(format!("{sequence}.{rewrite}{TEMPORARY_SUFFIX}"))
}

/// Reads a name; `None` for one that is not ours.
#[must_use]
pub fn parse_name(name: &str) -> Option<FileName> {
    let (numbers, temporary) = match name.strip_suffix(TEMPORARY_SUFFIX) {
        Some(numbers) => (numbers, true),
        None => (name.strip_suffix(SUFFIX)?, false),
    };
    let (sequence, rewrite) = numbers.split_once('.')?;
    let sequence: u64 = sequence.parse().ok()?;
    let rewrite: u32 = rewrite.parse().ok()?;
    // `01.0` and `+1.0` parse too; what is not written as we write it is not ours.
    let bounded = (1..=SEQUENCE_MAX).contains(&sequence) && rewrite <= REWRITE_MAX;
    if numbers != format!("{sequence}.{rewrite}") || !bounded {
        return None;
    }
    Some(if temporary {
        FileName::Temporary
    } else {
        FileName::Segment(Sequence(sequence), Rewrite(rewrite))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other() {
        let path = segment_path(Path::new("/d"), Sequence(12), Rewrite(3));
        assert_eq!(path, Path::new("/d/12.3.arrow"));
        let segment = Some(FileName::Segment(Sequence(12), Rewrite(3)));
        assert_eq!(parse_name("12.3.arrow"), segment);
        assert_eq!(parse_name("12.3.arrow.tmp"), Some(FileName::Temporary));
        for other in [
            "012.3.arrow",
            "+1.0.arrow",
            "0.0.arrow",
            "1.arrow",
            "1.0.parquet",
            "1.0.0.arrow",
            "",
            ".arrow",
            "1.99999999999.arrow",
            "x.y.arrow",
            "1.0.arrow.tmp.tmp",
        ] {
            assert_eq!(parse_name(other), None, "{other}");
        }
    }
}
