//! When a segment is sealed, and what becomes of its file then.

use storage::format::parse_seal;
use storage::limits::{COLUMNS_MAX, FOOTER_BYTES_MAX, INDEX_BYTES_MAX};
use storage::store::StoreSettings;

use crate::rig::Rig;

#[test]
fn a_segment_of_many_columns_is_sealed_before_its_index_is_too_large_to_read() {
    let settings = StoreSettings {
        merge_rows_mean_min: 0,
        ..StoreSettings::default()
    };
    let mut rig = Rig::new("wide", COLUMNS_MAX, settings);
    while rig.segments().len() < 2 {
        rig.commit(1, "a text as long as statistics keep it");
        let records = rig.history().len() as u64 * COLUMNS_MAX as u64 * 100;
        assert!(records < FOOTER_BYTES_MAX, "sealed by now");
    }
    let bytes = std::fs::read(&rig.segments()[0]).expect("it is there");
    let read = |at: u64, len: usize| Ok::<_, ()>(bytes[at as usize..at as usize + len].to_vec());
    let seal = parse_seal(bytes.len() as u64, read).expect("no error but damage");
    let seal = seal.expect("a seal that its reader takes");
    let index_bytes = seal.commits.iter().map(|(_, r)| r.index_bytes_max());
    assert!(index_bytes.sum::<u64>() >= INDEX_BYTES_MAX);
    rig.again();
    assert_eq!(rig.rows(), rig.history().len() as u64);
}
