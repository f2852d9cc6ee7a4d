//! Metadata: brokers, topics, partitions and who leads them.

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, TopicName};
use storage::ids::TopicId;

use super::super::error::ErrorCode;
use super::super::wire::{Reader, WireFault};
use super::{
    Api, Asker, RequestFault, ResponseFault, Sent, put_request, read_address, read_array,
    read_response, text,
};

/// Of which topics.
#[derive(Clone, Copy, Debug)]
pub enum MetadataTopics<'a> {
    /// By name.
    Names(&'a [&'a str]),
    /// By id: from version 12 on ([`by_id_is_spoken`](super::Versions::get) says).
    Ids(&'a [TopicId]),
    /// None: brokers alone.
    None,
}

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broker {
    /// Its id.
    pub id: i32,
    /// Its advertised host.
    pub host: String,
    /// Its advertised port; 0 where it sent none that is one.
    pub port: u16,
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Of this partition: LEADER_NOT_AVAILABLE in an election.
    pub error: ErrorCode,
    /// Its index.
    pub index: i32,
    /// Its leader's broker id; -1 nobody.
    pub leader: i32,
    /// The leader's epoch; -1 before version 7.
    pub leader_epoch: i32,
}

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Of the topic: UNKNOWN_TOPIC_OR_PARTITION where there is none of that name.
    pub error: ErrorCode,
    /// Its name; `None` where an unknown id was asked for.
    pub name: Option<String>,
    /// Its id; all zero before version 10.
    pub id: TopicId,
    /// In the order sent.
    pub partitions: Vec<Partition>,
}

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// The cluster's id.
    pub cluster_id: Option<String>,
    /// The controller's broker id; -1 unknown.
    pub controller: i32,
    /// All brokers.
    pub brokers: Vec<Broker>,
    /// The topics asked for.
    pub topics: Vec<Topic>,
}

impl Metadata {
    /// A broker by its id.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Broker> {
        self.brokers.iter().find(|broker| broker.id == id)
    }
}

/// Asks. Never creates a topic.
///
/// # Errors
/// [`RequestFault`]; by id also where the broker has no version 12.
pub fn encode_metadata(
    out: &mut Vec<u8>,
    asker: &Asker<'_>,
    topics: MetadataTopics<'_>,
) -> Result<Sent, RequestFault> {
    const BY_ID_FROM: i16 = 12;
    let version = asker.versions.get(Api::Metadata)?;
    let topics = match topics {
        MetadataTopics::Names(names) => names
            .iter()
            .map(|name| {
                MetadataRequestTopic::default().with_name(Some(TopicName::from(text(name))))
            })
            .collect(),
        MetadataTopics::Ids(_) if version < BY_ID_FROM => {
            return Err(RequestFault::Unsupported {
                api: Api::Metadata,
                broker_min: version,
                broker_max: version,
                ours_min: BY_ID_FROM,
                ours_max: Api::Metadata.spoken().1,
            });
        }
        MetadataTopics::Ids(ids) => ids
            .iter()
            .map(|id| {
                MetadataRequestTopic::default()
                    .with_name(None)
                    .with_topic_id(uuid::Uuid::from_bytes(id.0))
            })
            .collect(),
        MetadataTopics::None => Vec::new(),
    };
    let body = MetadataRequest::default()
        .with_topics(Some(topics))
        .with_allow_auto_topic_creation(false);
    let sent = Sent {
        api: Api::Metadata,
        version,
        correlation_id: asker.correlation_id,
    };
    put_request(out, sent, asker.client_id, &body)
}

/// Reads it.
///
/// # Errors
/// [`ResponseFault`].
pub fn decode_metadata(sent: &Sent, frame: &[u8]) -> Result<Metadata, ResponseFault> {
    let version = sent.version;
    read_response(sent, frame, |reader, flexible| {
        reader.i32()?; // throttle time
        let brokers = read_array(reader, flexible, 9, |reader| {
            let id = reader.i32()?;
            let (host, port) = read_address(reader, flexible)?;
            reader.string(flexible)?; // rack
            reader.skip_tags(flexible)?;
            Ok(Broker { id, host, port })
        })?;
        let cluster_id = reader.string(flexible)?.map(str::to_owned);
        let controller = reader.i32()?;
        let topics = read_array(reader, flexible, 6, |reader| read_topic(reader, version))?;
        Ok(Metadata {
            cluster_id,
            controller,
            brokers,
            topics,
        })
    })
}

fn read_topic(reader: &mut Reader<'_>, version: i16) -> Result<Topic, WireFault> {
    let flexible = Api::Metadata.is_flexible(version);
    let error = reader.i16()?.into();
    let name = reader.string(flexible)?.map(str::to_owned);
    let id = if version >= 10 {
        reader.uuid()?
    } else {
        TopicId::default()
    };
    reader.bool()?; // internal
    let partitions = read_array(reader, flexible, 12, |reader| {
        let error = reader.i16()?.into();
        let index = reader.i32()?;
        let leader = reader.i32()?;
        let leader_epoch = if version >= 7 { reader.i32()? } else { -1 };
        skip_ids(reader, flexible)?; // replicas
        skip_ids(reader, flexible)?; // in sync
        if version >= 5 {
            skip_ids(reader, flexible)?; // offline
        }
        reader.skip_tags(flexible)?;
        Ok(Partition {
            error,
            index,
            leader,
            leader_epoch,
        })
    })?;
    if version >= 8 {
        reader.i32()?; // authorised operations
    }
    reader.skip_tags(flexible)?;
    Ok(Topic {
        error,
        name,
        id,
        partitions,
    })
}

fn skip_ids(reader: &mut Reader<'_>, flexible: bool) -> Result<(), WireFault> {
    let count = reader.count(flexible, 4)?.unwrap_or(0);
    reader.take(count * 4)?;
    Ok(())
}
