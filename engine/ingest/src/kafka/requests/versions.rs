//! Which version of each question both sides speak.

use kafka_protocol::messages::ApiVersionsRequest;

use super::super::error::ErrorCode;
use super::{RequestFault, ResponseFault, Sent, put_request, read_response, text};

/// A question that is asked of brokers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Records.
    Fetch,
    /// Offsets by time.
    ListOffsets,
    /// Brokers, topics, partitions, leaders.
    Metadata,
    /// Publishes a group's offsets.
    OffsetCommit,
    /// Reads a group's offsets.
    OffsetFetch,
    /// Which broker keeps a group.
    FindCoordinator,
    /// Versions.
    ApiVersions,
    /// Where a leader epoch ended.
    OffsetForLeaderEpoch,
}

/// key, name, oldest and newest spoken, first flexible version.
type ApiFacts = (i16, &'static str, i16, i16, i16);

impl Api {
    /// All of them.
    pub const ALL: [Api; 8] = [
        Api::Fetch,
        Api::ListOffsets,
        Api::Metadata,
        Api::OffsetCommit,
        Api::OffsetFetch,
        Api::FindCoordinator,
        Api::ApiVersions,
        Api::OffsetForLeaderEpoch,
    ];

    const fn facts(self) -> ApiFacts {
        use super::super::fetch::{VERSION_MAX, VERSION_MIN};
        match self {
            Api::Fetch => (1, "Fetch", VERSION_MIN, VERSION_MAX, 12),
            Api::ListOffsets => (2, "ListOffsets", 2, 8, 6),
            Api::Metadata => (3, "Metadata", 4, 12, 9),
            Api::OffsetCommit => (8, "OffsetCommit", 2, 9, 8),
            Api::OffsetFetch => (9, "OffsetFetch", 1, 7, 6),
            Api::FindCoordinator => (10, "FindCoordinator", 1, 4, 3),
            Api::ApiVersions => (18, "ApiVersions", 0, 3, 3),
            Api::OffsetForLeaderEpoch => (23, "OffsetForLeaderEpoch", 2, 4, 4),
        }
    }

    /// Its number on the wire.
    #[must_use]
    pub const fn key(self) -> i16 {
        self.facts().0
    }

    /// Kafka's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().1
    }

    /// The oldest and newest version that we speak.
    #[must_use]
    pub const fn spoken(self) -> (i16, i16) {
        (self.facts().2, self.facts().3)
    }

    /// Whether that version has the flexible encoding.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().4
    }
}

/// What one broker speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// By [`Api::ALL`]: the broker's oldest and newest, -1 where it has none.
    ranges: [(i16, i16); Api::ALL.len()],
}

impl Versions {
    /// From what a broker says: (key, oldest, newest). Keys that we do not ask are passed over.
    #[must_use]
    pub fn of_broker(said: impl IntoIterator<Item = (i16, i16, i16)>) -> Versions {
        let mut ranges = [(-1, -1); Api::ALL.len()];
        for (key, min, max) in said {
            if let Some(at) = Api::ALL.iter().position(|api| api.key() == key) {
                ranges[at] = (min, max);
            }
        }
        Versions { ranges }
    }

    /// Whether the broker speaks this version.
    #[must_use]
    pub fn speaks(&self, api: Api, version: i16) -> bool {
        let at = Api::ALL.iter().position(|one| *one == api).unwrap_or(0);
        let (oldest, newest) = self.ranges[at];
        (oldest..=newest).contains(&version)
    }

    /// The newest version that both speak.
    ///
    /// # Errors
    /// [`RequestFault::Unsupported`], with both ranges.
    pub fn get(&self, api: Api) -> Result<i16, RequestFault> {
        let at = Api::ALL.iter().position(|one| *one == api).unwrap_or(0);
        let (broker_min, broker_max) = self.ranges[at];
        let (ours_min, ours_max) = api.spoken();
        let version = broker_max.min(ours_max);
        if broker_max < 0 || version < broker_min.max(ours_min) {
            return Err(RequestFault::Unsupported {
                api,
                broker_min,
                broker_max,
                ours_min,
                ours_max,
            });
        }
        Ok(version)
    }
}

/// Asks which versions the broker speaks.
///
/// - `version`: 3 first; 0 after [`decode_api_versions`] said `None`.
///
/// # Errors
/// [`RequestFault::TooLong`].
pub fn encode_api_versions(
    out: &mut Vec<u8>,
    version: i16,
    correlation_id: i32,
    client_id: &str,
) -> Result<Sent, RequestFault> {
    let mut body = ApiVersionsRequest::default();
    if version >= 3 {
        body.client_software_name = text("pinleaf");
        body.client_software_version = text(env!("CARGO_PKG_VERSION"));
    }
    let sent = Sent {
        api: Api::ApiVersions,
        version,
        correlation_id,
    };
    put_request(out, sent, client_id, &body)
}

/// Reads it; `None`: the broker does not know that version of the question, ask with 0.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_api_versions(sent: &Sent, frame: &[u8]) -> Result<Option<Versions>, ResponseFault> {
    let (error, versions) = read_response(sent, frame, |reader, flexible| {
        let error = ErrorCode::from(reader.i16()?);
        if error.is_error() {
            // What follows is in version 0's encoding or missing; version 0 will say it all again.
            return Ok((error, None));
        }
        let count = reader.count(flexible, 6)?.unwrap_or(0);
        let mut said = Vec::new();
        for _ in 0..count {
            said.push((reader.i16()?, reader.i16()?, reader.i16()?));
            reader.skip_tags(flexible)?;
        }
        Ok((error, Some(Versions::of_broker(said))))
    })?;
    match (error, versions) {
        (ErrorCode::UnsupportedVersion, _) if sent.version > 0 => Ok(None),
        (_, Some(versions)) => Ok(Some(versions)),
        (error, None) => Err(ResponseFault::Refused {
            api: Api::ApiVersions,
            error,
        }),
    }
}
