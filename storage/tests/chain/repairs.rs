//! What recovery mends, and that it is done when it ends.

use std::fs;
use std::path::Path;

use storage::disk::{Disk, RealDisk};
use storage::format::parse_seal;
use storage::recovery::RecoveredPartition;
use storage::store::StoreSettings;

use crate::damage::{flip, single};
use crate::forged::Place;
use crate::neighbours::with_hole;
use crate::rig::Rig;
use crate::watched::Watched;

/// Recovers what a rig left in its lineage 1, which begins at 0.
fn recovered(disk: &dyn Disk, directory: &Path, mapped: bool) -> RecoveredPartition {
    let place = Place::at(directory, 1, 0);
    place.recover_on(disk, mapped).expect("sound")
}

/// Before it was begun the names were made durable, and behind the last of what it did to them they are again.
#[test]
fn the_names_that_recovery_leaves_are_durable_when_it_ends() {
    let rig = with_hole("names-durable");
    let disk = Watched::default();
    let place = Place::at(rig.directory(), 2, 6);
    place.recover_on(&disk, false).expect("sound");
    assert_eq!(disk.said(), ["sync 1", "rename to 2.0.bridge", "sync 1"]);
}

#[test]
fn a_segment_that_gets_its_footer_again_is_mapped_as_far_as_it_goes() {
    let mut rig = Rig::new("footer-again", 1, single());
    for _ in 0..3 {
        rig.commit(2, "a");
    }
    let first = rig.segments().remove(0);
    let bytes = fs::read(&first).expect("it is there");
    flip(&first, bytes.len() - 1);
    let recovered = recovered(&RealDisk, rig.directory(), false);
    assert_eq!(fs::read(&first).expect("it is there"), bytes);
    drop(rig);
    // A map holds a descriptor where its file may yet grow.
    let names = fs::read_dir("/proc/self/fd").expect("procfs");
    let links = names.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    assert_eq!(links.filter(|link| *link == first).count(), 0);
    drop(recovered);
}

/// Cut before its content's end of stream is there again, a merged segment passes for a damaged one, should the node
/// end just then.
#[test]
fn a_merged_segment_gets_its_footer_again_in_its_place_and_any_other_behind_a_cut() {
    let merging = StoreSettings::default().merge_rows_mean_min;
    for (merge_rows_mean_min, name, cut) in [(0, "1.0.arrow", true), (merging, "1.1.arrow", false)]
    {
        let settings = StoreSettings {
            segment_commits_max: 4,
            merge_rows_mean_min,
            ..StoreSettings::default()
        };
        let mut rig = Rig::new("footer-place", 1, settings);
        for _ in 0..5 {
            rig.commit(3, "a");
        }
        assert_eq!(rig.names(), [name, "2.0.arrow"]);
        let first = rig.segments().remove(0);
        let bytes = fs::read(&first).expect("it is there");
        flip(&first, bytes.len() - 1);
        let disk = Watched::default();
        recovered(&disk, rig.directory(), false);
        assert_eq!(fs::read(&first).expect("it is there"), bytes);
        let said = disk.said();
        assert_eq!(said.contains(&format!("cut {name}")), cut, "{said:?}");
    }
}

/// A whole footer whose flatbuffer is 64 bytes longer than ours: its readers do not mind what stands behind it.
fn with_longer_footer(sealed: &[u8]) -> Vec<u8> {
    let u32_at = |at: usize| u32::from_le_bytes(sealed[at..at + 4].try_into().expect("4 bytes"));
    let tail = sealed.len() - 10;
    let footer_at = tail - u32_at(tail) as usize;
    let index_at = footer_at - u32_at(footer_at - 8) as usize;
    let mut footer = sealed[footer_at..tail].to_vec();
    footer.extend([0; 64]);
    footer.extend((footer.len() as u32).to_le_bytes());
    footer.extend(b"ARROW1");
    let mut longer = sealed[..footer_at].to_vec();
    // The footer's checksum behind the magic, the content's end and the commits; then the index's own.
    longer[index_at + 20..index_at + 24].copy_from_slice(&crc32fast::hash(&footer).to_le_bytes());
    let crc = crc32fast::hash(&longer[index_at..footer_at - 4]);
    longer[footer_at - 4..].copy_from_slice(&crc.to_le_bytes());
    longer.extend(footer);
    longer
}

/// What another version wrote, of which no sync ever said anything: it is written again as this one does it, and
/// nothing of the longer one stays behind it. Below a reader's map nothing is cut: that would be its end.
#[test]
fn a_longer_footer_is_written_over_and_cut_unless_it_is_mapped() {
    for mapped in [false, true] {
        let settings = StoreSettings {
            sync_age_ms: 1 << 40,
            ..single()
        };
        let mut rig = Rig::new("footer-longer", 1, settings);
        rig.load(3, "a");
        rig.pass(rig.settings.flush_age_ms);
        let (path, directory) = (rig.segments().remove(0), rig.directory().to_path_buf());
        drop(rig);
        let sealed = fs::read(&path).expect("it is there");
        let longer = with_longer_footer(&sealed);
        let read = |at: u64, len: usize| Ok::<_, ()>(longer[at as usize..][..len].to_vec());
        let seal = parse_seal(longer.len() as u64, read).expect("no error but damage");
        assert_eq!(seal.expect("whole").commits.len(), 1);
        fs::write(&path, &longer).expect("it can be written");
        let recovered = recovered(&RealDisk, &directory, mapped);
        assert!(recovered.segments[0].sealed);
        let bytes = fs::read(&path).expect("it is there");
        assert_eq!(bytes[..sealed.len()], sealed);
        let kept = if mapped { longer.len() } else { sealed.len() };
        assert_eq!(bytes.len(), kept, "mapped: {mapped}");
    }
}

/// A merged one's torn footer is written over; where it was longer, its rest goes too: a start after this one finds
/// a whole footer.
#[test]
fn a_longer_torn_footer_of_a_merged_segment_leaves_nothing_behind() {
    let settings = StoreSettings {
        segment_commits_max: 4,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("footer-merged-longer", 1, settings);
    for _ in 0..5 {
        rig.commit(3, "a");
    }
    assert_eq!(rig.names(), ["1.1.arrow", "2.0.arrow"]);
    let (path, directory) = (rig.segments().remove(0), rig.directory().to_path_buf());
    drop(rig);
    let sealed = fs::read(&path).expect("it is there");
    fs::write(&path, with_longer_footer(&sealed)).expect("it can be written");
    flip(&path, sealed.len());
    recovered(&RealDisk, &directory, false);
    assert_eq!(fs::read(&path).expect("it is there"), sealed);
}
