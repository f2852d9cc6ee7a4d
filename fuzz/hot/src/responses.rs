//! `kafka_responses`: every answer of a broker but Fetch's.
//!
//! Input: question | version | the frame, as a broker sends it behind its length. The correlation id is
//! taken from the frame.

use ingest::kafka::requests::{
    Api, Sent, decode_api_versions, decode_epoch_ends, decode_find_coordinator,
    decode_list_offsets, decode_metadata, decode_offset_commit, decode_offset_fetch,
};

use crate::bounds::within;
use crate::input::Input;

/// What is kept of an answer, per byte of it: a topic of nine bytes becomes a struct of eight times as
/// many, and a list that grows is there twice for a moment.
const KEPT_PER_BYTE: usize = 32;

/// The body.
pub fn kafka_responses(data: &[u8]) {
    let mut input = Input::new(data);
    let api = input.pick(&Api::ALL);
    let (oldest, newest) = api.spoken();
    let versions = (newest - oldest) as usize + 1;
    let version = oldest + input.below(versions) as i16;
    let frame = input.rest();
    let sent = Sent {
        api,
        version,
        correlation_id: frame
            .first_chunk()
            .map_or(0, |four| i32::from_be_bytes(*four)),
    };
    let bytes_max = frame.len() * KEPT_PER_BYTE + 4_096;
    within(bytes_max, api.name(), || answer(&sent, frame));
}

fn answer(sent: &Sent, frame: &[u8]) {
    let fault = match sent.api {
        // Its own target.
        Api::Fetch => None,
        Api::ListOffsets => decode_list_offsets(sent, frame).err(),
        Api::Metadata => decode_metadata(sent, frame).err(),
        Api::OffsetCommit => decode_offset_commit(sent, frame).err(),
        Api::OffsetFetch => decode_offset_fetch(sent, frame).err(),
        Api::FindCoordinator => decode_find_coordinator(sent, frame).err(),
        Api::ApiVersions => match decode_api_versions(sent, frame) {
            Ok(versions) => {
                for api in Api::ALL {
                    let (oldest, newest) = api.spoken();
                    if let Some(Ok(version)) = versions.as_ref().map(|all| all.get(api)) {
                        assert!((oldest..=newest).contains(&version));
                    }
                }
                None
            }
            Err(fault) => Some(fault),
        },
        Api::OffsetForLeaderEpoch => decode_epoch_ends(sent, frame).err(),
    };
    if let Some(fault) = fault {
        assert!(!fault.to_string().is_empty());
    }
}
