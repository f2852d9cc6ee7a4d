//! What goes wrong with an answer on its way: in one partition of it, in their order, in its bytes.

use kafka_protocol::messages::fetch_response::PartitionData;

use super::cluster::{Cluster, FAULTS};
use crate::sim::{Coverage, Random};

/// Bytes of a response that are its own and no record's: the checksum guards those.
const FRAME_BYTES: std::ops::Range<usize> = 4..16;

/// Something goes wrong with one partition's answer, or nothing.
pub fn partition(
    cluster: &Cluster,
    mut data: PartitionData,
    random: &mut Random,
    coverage: &mut Coverage,
) -> PartitionData {
    let (code, fault) = match random.below(4) {
        0 => (9, 5),
        1 => ([3, 100, 103][random.below(3) as usize], 6),
        2 => (29, 7),
        _ => (0, 9),
    };
    if !cluster.happens(fault, random) {
        return data;
    }
    if fault != 9 {
        coverage.hit(FAULTS[fault]);
        return data
            .with_error_code(code)
            .with_high_watermark(-1)
            .with_last_stable_offset(-1)
            .with_records(Some(Vec::new().into()));
    }
    let mut records = data.records.take().unwrap_or_default().to_vec();
    if records.len() > 61 {
        // What the first batch's checksum covers, and the checksum.
        let length = [records[8], records[9], records[10], records[11]];
        let size = (12 + i32::from_be_bytes(length) as usize).min(records.len());
        let at = 17 + random.below(size as u64 - 17) as usize;
        records[at] ^= 1 << random.below(8);
        coverage.hit(FAULTS[9]);
        cluster.corrupts(data.partition_index);
    }
    data.with_records(Some(records.into()))
}

/// Partitions come in another order, one is not there, one is there twice.
pub fn order(
    cluster: &Cluster,
    partitions: &mut Vec<PartitionData>,
    random: &mut Random,
    coverage: &mut Coverage,
) {
    let count = partitions.len() as u64;
    if count == 0 {
        return;
    }
    if count > 1 && cluster.happens(20, random) {
        let by = 1 + random.below(count - 1) as usize;
        partitions.rotate_left(by);
        coverage.hit(FAULTS[20]);
    }
    let at = random.below(count) as usize;
    if count > 1 && cluster.happens(21, random) {
        partitions.remove(at);
        coverage.hit(FAULTS[21]);
    } else if cluster.happens(19, random) {
        let twice = partitions[at].clone();
        partitions.push(twice);
        coverage.hit(FAULTS[19]);
    }
}

/// Something goes wrong with the whole of it. `Some(why)`: the connection breaks behind it.
pub fn response(
    cluster: &Cluster,
    bytes: &mut Vec<u8>,
    random: &mut Random,
    coverage: &mut Coverage,
) -> Option<&'static str> {
    let fault = [0, 1, 14, 18][random.below(4) as usize];
    if !cluster.happens(fault, random) {
        return None;
    }
    coverage.hit(FAULTS[fault]);
    match fault {
        0 => {
            let keep = random.below(bytes.len() as u64) as usize;
            bytes.truncate(keep);
            Some(FAULTS[0])
        }
        1 => Some(FAULTS[1]),
        14 => {
            for byte in bytes
                .iter_mut()
                .take(FRAME_BYTES.end)
                .skip(FRAME_BYTES.start)
            {
                *byte = random.number() as u8;
            }
            None
        }
        _ => {
            let twice = bytes.clone();
            bytes.extend(twice);
            None
        }
    }
}
