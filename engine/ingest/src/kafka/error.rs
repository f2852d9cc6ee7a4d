//! Kafka's error codes, and what each asks of us.

macro_rules! error_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $text:literal;)*) => {
        /// An error code as a broker sends it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $name,)*
            /// A code that this list does not know.
            Unlisted(i16),
        }

        impl From<i16> for ErrorCode {
            fn from(code: i16) -> ErrorCode {
                match code {
                    $($code => ErrorCode::$name,)*
                    code => ErrorCode::Unlisted(code),
                }
            }
        }

        impl ErrorCode {
            /// The number on the wire.
            #[must_use]
            pub fn code(self) -> i16 {
                match self {
                    $(ErrorCode::$name => $code,)*
                    ErrorCode::Unlisted(code) => code,
                }
            }

            /// Kafka's own name for it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(ErrorCode::$name => $text,)*
                    ErrorCode::Unlisted(_) => "an error code this version does not know",
                }
            }
        }
    };
}

error_codes! {
    /// No error.
    None = 0, "NONE";
    /// The server met something it did not expect.
    UnknownServerError = -1, "UNKNOWN_SERVER_ERROR";
    /// The offset lies outside the log.
    OffsetOutOfRange = 1, "OFFSET_OUT_OF_RANGE";
    /// A message failed its checksum on the broker.
    CorruptMessage = 2, "CORRUPT_MESSAGE";
    /// This broker has no such topic or partition (or not yet, or no longer).
    UnknownTopicOrPartition = 3, "UNKNOWN_TOPIC_OR_PARTITION";
    /// A fetch size that is not positive.
    InvalidFetchSize = 4, "INVALID_FETCH_SIZE";
    /// An election is under way.
    LeaderNotAvailable = 5, "LEADER_NOT_AVAILABLE";
    /// This broker no longer leads (or follows) the partition.
    NotLeaderOrFollower = 6, "NOT_LEADER_OR_FOLLOWER";
    /// The broker gave up waiting.
    RequestTimedOut = 7, "REQUEST_TIMED_OUT";
    /// The broker is not there.
    BrokerNotAvailable = 8, "BROKER_NOT_AVAILABLE";
    /// The replica is not there.
    ReplicaNotAvailable = 9, "REPLICA_NOT_AVAILABLE";
    /// A message above the broker's limit.
    MessageTooLarge = 10, "MESSAGE_TOO_LARGE";
    /// An older controller spoke.
    StaleControllerEpoch = 11, "STALE_CONTROLLER_EPOCH";
    /// Offset metadata above the broker's limit.
    OffsetMetadataTooLarge = 12, "OFFSET_METADATA_TOO_LARGE";
    /// The broker lost its connection.
    NetworkException = 13, "NETWORK_EXCEPTION";
    /// The coordinator is still loading.
    CoordinatorLoadInProgress = 14, "COORDINATOR_LOAD_IN_PROGRESS";
    /// No coordinator yet.
    CoordinatorNotAvailable = 15, "COORDINATOR_NOT_AVAILABLE";
    /// Another broker coordinates this group.
    NotCoordinator = 16, "NOT_COORDINATOR";
    /// A topic name that is not one.
    InvalidTopicException = 17, "INVALID_TOPIC_EXCEPTION";
    /// A record list above the segment size.
    RecordListTooLarge = 18, "RECORD_LIST_TOO_LARGE";
    /// Too few in-sync replicas.
    NotEnoughReplicas = 19, "NOT_ENOUGH_REPLICAS";
    /// Too few in-sync replicas, found out after the append.
    NotEnoughReplicasAfterAppend = 20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND";
    /// An acks value that is not one.
    InvalidRequiredAcks = 21, "INVALID_REQUIRED_ACKS";
    /// A group generation that has passed.
    IllegalGeneration = 22, "ILLEGAL_GENERATION";
    /// A group protocol the others do not share.
    InconsistentGroupProtocol = 23, "INCONSISTENT_GROUP_PROTOCOL";
    /// A group id that is not one.
    InvalidGroupId = 24, "INVALID_GROUP_ID";
    /// The group does not know this member: somebody else is in the group.
    UnknownMemberId = 25, "UNKNOWN_MEMBER_ID";
    /// A session timeout out of range.
    InvalidSessionTimeout = 26, "INVALID_SESSION_TIMEOUT";
    /// The group is rebalancing.
    RebalanceInProgress = 27, "REBALANCE_IN_PROGRESS";
    /// An offset commit above the broker's limit.
    InvalidCommitOffsetSize = 28, "INVALID_COMMIT_OFFSET_SIZE";
    /// Not allowed on the topic.
    TopicAuthorizationFailed = 29, "TOPIC_AUTHORIZATION_FAILED";
    /// Not allowed on the group.
    GroupAuthorizationFailed = 30, "GROUP_AUTHORIZATION_FAILED";
    /// Not allowed on the cluster.
    ClusterAuthorizationFailed = 31, "CLUSTER_AUTHORIZATION_FAILED";
    /// A timestamp out of range.
    InvalidTimestamp = 32, "INVALID_TIMESTAMP";
    /// A SASL mechanism the broker has not.
    UnsupportedSaslMechanism = 33, "UNSUPPORTED_SASL_MECHANISM";
    /// A request out of turn in the SASL exchange.
    IllegalSaslState = 34, "ILLEGAL_SASL_STATE";
    /// A request version the broker has not.
    UnsupportedVersion = 35, "UNSUPPORTED_VERSION";
    /// The topic exists already.
    TopicAlreadyExists = 36, "TOPIC_ALREADY_EXISTS";
    /// A number of partitions that is not one.
    InvalidPartitions = 37, "INVALID_PARTITIONS";
    /// A malformed request.
    InvalidRequest = 42, "INVALID_REQUEST";
    /// A message format this request cannot be answered in.
    UnsupportedForMessageFormat = 43, "UNSUPPORTED_FOR_MESSAGE_FORMAT";
    /// A sequence number out of order.
    OutOfOrderSequenceNumber = 45, "OUT_OF_ORDER_SEQUENCE_NUMBER";
    /// The broker's disk failed.
    KafkaStorageError = 56, "KAFKA_STORAGE_ERROR";
    /// SASL authentication failed.
    SaslAuthenticationFailed = 58, "SASL_AUTHENTICATION_FAILED";
    /// The replica's epoch or log directory is being moved.
    ReassignmentInProgress = 60, "REASSIGNMENT_IN_PROGRESS";
    /// The group is not empty.
    NonEmptyGroup = 68, "NON_EMPTY_GROUP";
    /// The broker does not know this group.
    GroupIdNotFound = 69, "GROUP_ID_NOT_FOUND";
    /// The broker does not know this fetch session.
    FetchSessionIdNotFound = 70, "FETCH_SESSION_ID_NOT_FOUND";
    /// The fetch session's epoch is not the next one.
    InvalidFetchSessionEpoch = 71, "INVALID_FETCH_SESSION_EPOCH";
    /// The listener has no such broker.
    ListenerNotFound = 72, "LISTENER_NOT_FOUND";
    /// The leader epoch we named is below the broker's: our leader is an old one.
    FencedLeaderEpoch = 74, "FENCED_LEADER_EPOCH";
    /// The leader epoch we named is above the broker's: the broker lags.
    UnknownLeaderEpoch = 75, "UNKNOWN_LEADER_EPOCH";
    /// The topic's codec needs a newer request.
    UnsupportedCompressionType = 76, "UNSUPPORTED_COMPRESSION_TYPE";
    /// The broker's epoch is stale.
    StaleBrokerEpoch = 77, "STALE_BROKER_EPOCH";
    /// The leader does not know its high watermark yet.
    OffsetNotAvailable = 78, "OFFSET_NOT_AVAILABLE";
    /// The election found nobody.
    PreferredLeaderNotAvailable = 80, "PREFERRED_LEADER_NOT_AVAILABLE";
    /// The group is at its maximum size.
    GroupMaxSizeReached = 81, "GROUP_MAX_SIZE_REACHED";
    /// Another member took this group instance id.
    FencedInstanceId = 82, "FENCED_INSTANCE_ID";
    /// Offsets of open transactions: ask again.
    UnstableOffsetCommit = 88, "UNSTABLE_OFFSET_COMMIT";
    /// Quota exceeded.
    ThrottlingQuotaExceeded = 89, "THROTTLING_QUOTA_EXCEEDED";
    /// A producer with the same id took over.
    ProducerFenced = 90, "PRODUCER_FENCED";
    /// The broker does not know this topic id (or not yet).
    UnknownTopicId = 100, "UNKNOWN_TOPIC_ID";
    /// The topic ids of the fetch session and the broker differ.
    FetchSessionTopicIdError = 106, "FETCH_SESSION_TOPIC_ID_ERROR";
    /// The topic id of the request is not that of the log.
    InconsistentTopicId = 103, "INCONSISTENT_TOPIC_ID";
    /// The offset has moved to tiered storage.
    OffsetMovedToTieredStorage = 109, "OFFSET_MOVED_TO_TIERED_STORAGE";
    /// The group member's epoch has passed.
    FencedMemberEpoch = 110, "FENCED_MEMBER_EPOCH";
    /// The group member's epoch is stale.
    StaleMemberEpoch = 113, "STALE_MEMBER_EPOCH";
}

/// Who must act on an error code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// Nothing to do.
    None,
    /// Ask who leads, or take the current leader out of the response.
    LeaderMoved,
    /// The broker lags, just started, or the topic is gone: ask the aggregator.
    TopicUnknown,
    /// The offset is outside the log: locate again, naming what was lost.
    OutOfRange,
    /// Find the group's coordinator again.
    CoordinatorMoved,
    /// The same request again, after a pause.
    Retriable,
    /// The log is damaged on the broker.
    Corrupt,
    /// Somebody must give rights.
    Unauthorized,
    /// Trying again cannot help.
    Fatal,
}

impl ErrorCode {
    /// Who must act.
    #[must_use]
    pub fn class(self) -> ErrorClass {
        use ErrorCode as E;
        match self {
            E::None => ErrorClass::None,
            E::NotLeaderOrFollower | E::FencedLeaderEpoch | E::UnknownLeaderEpoch => {
                ErrorClass::LeaderMoved
            }
            E::UnknownTopicOrPartition | E::UnknownTopicId | E::InconsistentTopicId => {
                ErrorClass::TopicUnknown
            }
            E::OffsetOutOfRange => ErrorClass::OutOfRange,
            E::CoordinatorNotAvailable | E::NotCoordinator => ErrorClass::CoordinatorMoved,
            E::LeaderNotAvailable
            | E::UnknownServerError
            | E::RequestTimedOut
            | E::BrokerNotAvailable
            | E::ReplicaNotAvailable
            | E::NetworkException
            | E::CoordinatorLoadInProgress
            | E::NotEnoughReplicas
            | E::NotEnoughReplicasAfterAppend
            | E::RebalanceInProgress
            | E::KafkaStorageError
            | E::ReassignmentInProgress
            | E::FetchSessionIdNotFound
            | E::InvalidFetchSessionEpoch
            | E::FetchSessionTopicIdError
            | E::ListenerNotFound
            | E::OffsetNotAvailable
            | E::PreferredLeaderNotAvailable
            | E::UnstableOffsetCommit
            | E::ThrottlingQuotaExceeded
            | E::OffsetMovedToTieredStorage => ErrorClass::Retriable,
            E::CorruptMessage => ErrorClass::Corrupt,
            E::TopicAuthorizationFailed
            | E::GroupAuthorizationFailed
            | E::ClusterAuthorizationFailed
            | E::SaslAuthenticationFailed
            | E::UnsupportedSaslMechanism
            | E::IllegalSaslState => ErrorClass::Unauthorized,
            _ => ErrorClass::Fatal,
        }
    }

    /// Whether it is one at all.
    #[must_use]
    pub fn is_error(self) -> bool {
        self != ErrorCode::None
    }

    /// Whether the same request may succeed later, perhaps elsewhere.
    #[must_use]
    pub fn is_retriable(self) -> bool {
        matches!(
            self.class(),
            ErrorClass::LeaderMoved
                | ErrorClass::TopicUnknown
                | ErrorClass::CoordinatorMoved
                | ErrorClass::Retriable
                | ErrorClass::Corrupt
        )
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name(), self.code())
    }
}

impl std::error::Error for ErrorCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_as_itself() {
        for code in -2..=200_i16 {
            assert_eq!(ErrorCode::from(code).code(), code);
        }
        assert_eq!(ErrorCode::from(6).to_string(), "NOT_LEADER_OR_FOLLOWER (6)");
        assert_eq!(ErrorCode::from(6).class(), ErrorClass::LeaderMoved);
        assert_eq!(ErrorCode::from(103).class(), ErrorClass::TopicUnknown);
        assert!(!ErrorCode::from(10).is_retriable());
        assert_eq!(ErrorCode::from(777), ErrorCode::Unlisted(777));
    }
}
