//! AUDIT PIPELINE ... VERIFY's side of Kafka: a partition's log, as long as somebody takes it.
//!
//! The control core asks and hands on; what is in the responses is the auditor's to read. One response
//! waits at a time: the next is asked for when the one before was taken. What retention takes meanwhile
//! is said, a leader that moves is followed, and a log that ends below what was loaded is waited for
//! before it is told: a new leader's high watermark may lag for a moment.

use std::sync::Arc;

use ingest::audit::LogSays;
use ingest::kafka::error::ErrorClass;
use ingest::kafka::requests::OffsetSpec;
use storage::ids::{Offset, TopicId};
use tokio::sync::mpsc;

use super::client::{Brokers, ClientFault, TopicAnswer, TopicState};
use super::log::{Fetched, LogReader};
use super::settings::client_settings;
use super::shared::Shared;
use crate::catalog::PipelineId;
use crate::limits::{
    AUDIT_EMPTY_ANSWERS_MAX, AUDIT_END_ANSWERS_MAX, AUDIT_TRIES_MAX, TOPIC_QUESTION_INTERVAL_MS,
};

/// A part of a log that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogWanted {
    /// The pipeline, whose brokers and isolation level they are.
    pub pipeline: PipelineId,
    /// The Kafka partition.
    pub kafka_partition: i32,
    /// The topic's id when it was paired.
    pub topic_id: TopicId,
    /// The first offset.
    pub from: Offset,
    /// The offset after the last.
    pub to: Offset,
}

/// What comes of it.
#[derive(Clone, Debug)]
pub enum LogMessage {
    /// Of this partition.
    Says(LogSays),
    /// No broker answers at all: another partition need not be asked for.
    NoBroker(String),
}

impl Shared {
    /// Reads the log until it is given, cannot be read, or nobody listens.
    pub(super) async fn read_log(
        self: Arc<Shared>,
        wanted: LogWanted,
        out: mpsc::Sender<LogMessage>,
    ) {
        let reading = async {
            if let Err(last) = self.give_log(&wanted, &out).await {
                // Err: nobody listens.
                let _ = out.send(last).await;
            }
        };
        tokio::select! {
            biased;
            () = out.closed() => {}
            () = reading => {}
        }
    }

    /// On `Err`: what is to be said last.
    async fn give_log(
        &self,
        wanted: &LogWanted,
        out: &mpsc::Sender<LogMessage>,
    ) -> Result<(), LogMessage> {
        let failed = |why: String| LogMessage::Says(LogSays::Failed(why));
        let view = self.view();
        let Some(pipeline) = view.pipeline_by_id(wanted.pipeline) else {
            return Err(failed("the pipeline was dropped meanwhile".to_owned()));
        };
        let settings =
            client_settings(&pipeline.spec).map_err(|error| failed(error.to_string()))?;
        let client = self.port.brokers(settings);
        let topic = &pipeline.spec.topic;
        let mut cursor = wanted.from;
        let (mut tries, mut empty) = (0, 0);
        loop {
            let state = self.led(&*client, topic, wanted).await?;
            let Some(Some(leader)) = state.partitions.get(&wanted.kafka_partition) else {
                let partition = wanted.kafka_partition;
                return Err(failed(ClientFault::NoLeader { partition }.to_string()));
            };
            let start = self.edge(&*client, topic, &state, wanted, OffsetSpec::Earliest);
            let start = start.await?;
            say(out, LogSays::Begins(start)).await?;
            cursor = cursor.max(start.min(wanted.to));
            let mut reader = LogReader::new(
                &*client,
                topic,
                state.id,
                wanted.kafka_partition,
                leader.clone(),
            );
            // Until the leader has to be asked for again.
            let (why, is_outside) = loop {
                if cursor >= wanted.to {
                    return Err(LogMessage::Says(LogSays::End));
                }
                // Room for what comes, before it is asked for.
                let Ok(room) = out.reserve().await else {
                    return Ok(());
                };
                let fetched = match reader.fetch(cursor).await {
                    Ok(fetched) => fetched,
                    Err(fault) => break (format!("{}: {fault}", reader.address()), false),
                };
                match step(&fetched, cursor, wanted.to, &mut empty) {
                    Step::Records => {
                        (tries, cursor) = (0, fetched.next);
                        room.send(LogMessage::Says(LogSays::Response(fetched.response)));
                    }
                    Step::Nothing => {}
                    Step::Said(said) => return Err(LogMessage::Says(said)),
                    Step::Again(why) => {
                        let is_outside = fetched.error.class() == ErrorClass::OutOfRange;
                        break (format!("{}: {why}", reader.address()), is_outside);
                    }
                }
            };
            tries += 1;
            if tries >= AUDIT_TRIES_MAX {
                let end = self.edge(&*client, topic, &state, wanted, OffsetSpec::Latest);
                return Err(match end.await? {
                    // Outside, and not below: beyond.
                    end if is_outside && end < cursor => LogMessage::Says(LogSays::EndsAt(end)),
                    _ => failed(format!("offset {cursor}: {why}")),
                });
            }
            self.port.sleep(TOPIC_QUESTION_INTERVAL_MS).await;
        }
    }

    /// The topic, once the partition has a leader, or `pipelines_extractor_get_offsets_timeout_ms` are over.
    async fn led(
        &self,
        client: &dyn Brokers,
        topic: &str,
        wanted: &LogWanted,
    ) -> Result<TopicState, LogMessage> {
        let failed = |why: String| LogMessage::Says(LogSays::Failed(why));
        let limit_ms = self.variables(&self.view()).get_offsets_timeout_ms();
        let deadline_ms = self.port.now_ms() + limit_ms;
        loop {
            match client.topic(topic).await {
                Ok(TopicAnswer::There(state)) => {
                    let none = TopicId::default();
                    let known = wanted.topic_id;
                    if known != none && state.id != none && known != state.id {
                        return Err(failed(format!(
                            "topic '{topic}' was replaced: Kafka now gives that name the id {}",
                            state.id
                        )));
                    }
                    match state.partitions.get(&wanted.kafka_partition) {
                        Some(Some(_)) => return Ok(state),
                        Some(None) if self.port.now_ms() < deadline_ms => {}
                        Some(None) => return Ok(state),
                        None => {
                            return Err(failed(format!(
                                "topic '{topic}' has {} partitions now, and no partition {}",
                                state.partitions.len(),
                                wanted.kafka_partition
                            )));
                        }
                    }
                }
                Ok(TopicAnswer::Missing) => {
                    return Err(failed(format!("there is no topic '{topic}' now")));
                }
                Err(fault) => {
                    let error = client.error("asking for the topic", &fault);
                    return Err(LogMessage::NoBroker(error.to_string()));
                }
            }
            self.port.sleep(TOPIC_QUESTION_INTERVAL_MS).await;
        }
    }

    /// The log's first offset, or its end.
    async fn edge(
        &self,
        client: &dyn Brokers,
        topic: &str,
        state: &TopicState,
        wanted: &LogWanted,
        spec: OffsetSpec,
    ) -> Result<Offset, LogMessage> {
        let partition = wanted.kafka_partition;
        let found = client.offsets(topic, state, &[partition], spec).await;
        let found = found.map_err(|fault| {
            let error = client.error("asking for offsets", &fault);
            LogMessage::Says(LogSays::Failed(error.to_string()))
        })?;
        found.get(&partition).copied().ok_or_else(|| {
            let why = format!("asked for offsets, the broker does not name partition {partition}");
            LogMessage::Says(LogSays::Failed(why))
        })
    }
}

async fn say(out: &mpsc::Sender<LogMessage>, said: LogSays) -> Result<(), LogMessage> {
    // Err: nobody listens, which ends the reading anyway.
    let sent = out.send(LogMessage::Says(said)).await;
    sent.map_err(|unsent| unsent.0)
}

/// What a response asks for.
enum Step {
    /// It has records: on behind them.
    Records,
    /// It has none, and more may come.
    Nothing,
    /// This is all there is to say.
    Said(LogSays),
    /// Who leads is to be asked again, and where the log begins.
    Again(String),
}

/// `empty`: answers in a row without a record.
fn step(fetched: &Fetched, cursor: Offset, to: Offset, empty: &mut u32) -> Step {
    if fetched.error.is_error() {
        let why = format!("the broker answers {}", fetched.error);
        return match fetched.error.class() {
            ErrorClass::Unauthorized | ErrorClass::Fatal => Step::Said(LogSays::Failed(why)),
            _ => Step::Again(why),
        };
    }
    if fetched.next > cursor {
        *empty = 0;
        return Step::Records;
    }
    if let Some(why) = &fetched.spoiled {
        return Step::Said(LogSays::Failed(format!("offset {cursor}: {why}")));
    }
    *empty += 1;
    // What lies between was compacted away; or the log does not reach so far.
    match fetched.end {
        end if end >= to.0 && *empty >= AUDIT_EMPTY_ANSWERS_MAX => Step::Said(LogSays::End),
        end if end < to.0 && *empty >= AUDIT_END_ANSWERS_MAX => {
            Step::Said(LogSays::EndsAt(Offset(end).max(cursor)))
        }
        _ => Step::Nothing,
    }
}
