//! Names of a leaf partition's files: `<sequence>.<rewrite>.arrow`, a merge's temporary, and what a
//! segment in quarantine leaves, `<sequence>.<rewrite>.hole` or `.bridge`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::ids::{Rewrite, Sequence};
use crate::limits::{REWRITE_MAX, SEQUENCE_MAX};

const SUFFIX: &str = ".arrow";
const TEMPORARY_SUFFIX: &str = ".arrow.tmp";
const HOLE_SUFFIX: &str = ".hole";
const BRIDGE_SUFFIX: &str = ".bridge";

/// What a name in a leaf partition's directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileName {
    /// A segment.
    Segment(Sequence, Rewrite),
    /// What a merge did not finish.
    Temporary,
    /// What a segment in quarantine held is missing.
    Hole(Sequence, Rewrite),
    /// The same, loaded again or given up since: it is kept because the chain leads over it.
    Bridge(Sequence, Rewrite),
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

/// The path of a hole.
#[must_use]
pub fn hole_path(directory: &Path, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
    directory.join(format!("{sequence}.{rewrite}{HOLE_SUFFIX}"))
}

/// The path of a hole that is but a bridge.
#[must_use]
pub fn bridge_path(directory: &Path, sequence: Sequence, rewrite: Rewrite) -> PathBuf {
    directory.join(format!("{sequence}.{rewrite}{BRIDGE_SUFFIX}"))
}

/// What a name's numbers make, by its suffix.
type OfNumbers = fn(Sequence, Rewrite) -> FileName;

/// Reads a name; `None` for one that is not ours.
#[must_use]
pub fn parse_name(name: &OsStr) -> Option<FileName> {
    let name = name.to_str()?;
    let suffixes: [(&str, OfNumbers); 4] = [
        (TEMPORARY_SUFFIX, |_, _| FileName::Temporary),
        (SUFFIX, FileName::Segment),
        (HOLE_SUFFIX, FileName::Hole),
        (BRIDGE_SUFFIX, FileName::Bridge),
    ];
    let (numbers, of) = suffixes
        .iter()
        .find_map(|(suffix, of)| Some((name.strip_suffix(suffix)?, of)))?;
    let (sequence, rewrite) = numbers.split_once('.')?;
    let sequence: u64 = sequence.parse().ok()?;
    let rewrite: u32 = rewrite.parse().ok()?;
    // `01.0` and `+1.0` parse too; what is not written as we write it is not ours.
    let bounded = (1..=SEQUENCE_MAX).contains(&sequence) && rewrite <= REWRITE_MAX;
    if numbers != format!("{sequence}.{rewrite}") || !bounded {
        return None;
    }
    Some(of(Sequence(sequence), Rewrite(rewrite)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_written_and_no_other() {
        let path = segment_path(Path::new("/d"), Sequence(12), Rewrite(3));
        assert_eq!(path, Path::new("/d/12.3.arrow"));
        let segment = Some(FileName::Segment(Sequence(12), Rewrite(3)));
        assert_eq!(parse_name(OsStr::new("12.3.arrow")), segment);
        assert_eq!(
            parse_name(OsStr::new("12.3.arrow.tmp")),
            Some(FileName::Temporary)
        );
        for (path, name, of) in [
            (
                hole_path(Path::new("/d"), Sequence(12), Rewrite(3)),
                "12.3.hole",
                FileName::Hole(Sequence(12), Rewrite(3)),
            ),
            (
                bridge_path(Path::new("/d"), Sequence(12), Rewrite(3)),
                "12.3.bridge",
                FileName::Bridge(Sequence(12), Rewrite(3)),
            ),
        ] {
            assert_eq!(path, Path::new("/d").join(name));
            assert_eq!(parse_name(OsStr::new(name)), Some(of));
        }
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
            "1.0.hole.tmp",
            "1.hole",
        ] {
            assert_eq!(parse_name(OsStr::new(other)), None, "{other}");
        }
    }
}
