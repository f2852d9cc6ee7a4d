//! The simulated brokers' half of fetch sessions, written from KIP-227's description: what they keep, and
//! what an answer leaves out. A request that the leaf could have made shorter, or that would make it lose
//! a partition, is its fault.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};

use super::cluster::FAULTS;
use crate::sim::{Coverage, Random};

/// From this version on there are sessions.
const SESSION_FROM: i16 = 7;
/// From this version on topics go by id.
const TOPIC_ID_FROM: i16 = 13;

/// A request's place in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// None.
    Outside,
    /// It asks for one.
    Makes,
    /// In this one.
    In(i32),
    /// Not in the one that it names: the error.
    Refused(i16),
}

/// Every broker's sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    open: BTreeMap<(i32, i32), Session>,
    made: i32,
}

#[derive(Debug)]
struct Session {
    /// The next request's.
    epoch: i32,
    by_id: bool,
    cached: Vec<Cached>,
}

#[derive(Debug)]
struct Cached {
    /// The topic, as requests name it; without its partitions.
    topic: FetchTopic,
    asked: FetchPartition,
    high_watermark: i64,
    log_start_offset: i64,
}

impl Sessions {
    /// Takes a request: it then names all that is fetched by it.
    ///
    /// # Errors
    /// What no client would say.
    pub fn take(
        &mut self,
        broker: i32,
        version: i16,
        fetch: &mut FetchRequest,
    ) -> Result<Place, String> {
        if version < SESSION_FROM {
            return Ok(Place::Outside);
        }
        let (id, epoch) = (fetch.session_id, fetch.session_epoch);
        if epoch <= 0 {
            if !fetch.forgotten_topics_data.is_empty() {
                return Err("a request that names everything forgets something".to_owned());
            }
            self.open.remove(&(broker, id));
            return Ok(match epoch {
                0 => Place::Makes,
                _ => Place::Outside,
            });
        }
        let Some(session) = self.open.get_mut(&(broker, id)) else {
            return Ok(Place::Refused(70));
        };
        if session.epoch != epoch {
            return Ok(Place::Refused(71));
        }
        if session.by_id != (version >= TOPIC_ID_FROM) {
            return Ok(Place::Refused(106));
        }
        session.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let gone = fetch.forgotten_topics_data.iter();
        let gone = gone.flat_map(|topic| topic.partitions.iter().map(move |one| (topic, *one)));
        for (topic, partition) in gone {
            session.forget(&topic.topic, topic.topic_id.into_bytes(), partition)?;
        }
        for (topic, one) in named(fetch) {
            session.told(topic, one)?;
        }
        fetch.topics = session.all();
        Ok(Place::In(id))
    }

    /// Makes of a whole answer what is sent, and keeps what the client then knows.
    pub fn answer(
        &mut self,
        broker: i32,
        place: Place,
        asked: (i16, &FetchRequest),
        response: &mut FetchResponse,
        random: &mut Random,
        coverage: &mut Coverage,
    ) {
        if place == Place::Outside {
            return;
        }
        if response.throttle_time_ms > 0 && random.chance(500) {
            // Nothing was read, and nothing is kept.
            coverage.hit(FAULTS[29]);
            response.responses.clear();
            if let Place::In(id) = place {
                response.session_id = id;
            }
            return;
        }
        match place {
            Place::Makes if random.chance(150) => coverage.hit(FAULTS[27]),
            Place::Makes => {
                self.made += 1;
                let (version, request) = asked;
                let session = Session::made(version, request, response);
                response.session_id = self.made;
                self.open.insert((broker, self.made), session);
            }
            Place::In(id) => {
                response.session_id = id;
                if let Some(session) = self.open.get_mut(&(broker, id)) {
                    session.leave_out(response);
                }
            }
            Place::Outside | Place::Refused(_) => {}
        }
    }

    /// A broker has a session no more, or says so: the error.
    pub fn lose(
        &mut self,
        broker: i32,
        id: i32,
        random: &mut Random,
        coverage: &mut Coverage,
    ) -> i16 {
        coverage.hit(FAULTS[28]);
        let code = [70, 71, 106][random.below(3) as usize];
        if code == 70 {
            self.open.remove(&(broker, id));
        }
        code
    }
}

impl Session {
    fn made(version: i16, request: &FetchRequest, response: &FetchResponse) -> Session {
        let cached = named(request).map(|(topic, one)| {
            let mut cached = Cached::new(topic, one);
            let said = response.responses.iter().filter(|said| cached.is_of(said));
            let mut said = said.flat_map(|said| &said.partitions);
            if let Some(said) = said.find(|said| said.partition_index == one.partition) {
                cached.say(said);
            }
            cached
        });
        Session {
            epoch: 1,
            by_id: version >= TOPIC_ID_FROM,
            cached: cached.collect(),
        }
    }

    fn told(&mut self, topic: &FetchTopic, one: &FetchPartition) -> Result<(), String> {
        let mut known = self.cached.iter_mut();
        let known = known.find(|cached| {
            cached.is_named(&topic.topic, topic.topic_id.into_bytes())
                && cached.asked.partition == one.partition
        });
        match known {
            Some(cached) if cached.asked == *one => Err(format!(
                "partition {} is named in its session and did not change",
                one.partition
            )),
            Some(cached) => {
                cached.asked = one.clone();
                Ok(())
            }
            None => {
                self.cached.push(Cached::new(topic, one));
                Ok(())
            }
        }
    }

    fn forget(&mut self, name: &TopicName, id: [u8; 16], partition: i32) -> Result<(), String> {
        let before = self.cached.len();
        self.cached
            .retain(|cached| !cached.is_named(name, id) || cached.asked.partition != partition);
        if self.cached.len() == before {
            return Err(format!(
                "partition {partition} is forgotten and was not told"
            ));
        }
        Ok(())
    }

    /// All that it fetches.
    fn all(&self) -> Vec<FetchTopic> {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for cached in &self.cached {
            let (name, id) = (&cached.topic.topic, cached.topic.topic_id);
            let asked = cached.asked.clone();
            match topics.last_mut() {
                Some(last) if last.topic == *name && last.topic_id == id => {
                    last.partitions.push(asked);
                }
                _ => topics.push(cached.topic.clone().with_partitions(vec![asked])),
            }
        }
        topics
    }

    fn leave_out(&mut self, response: &mut FetchResponse) {
        for topic in &mut response.responses {
            let mut partitions = std::mem::take(&mut topic.partitions);
            partitions.retain(|said| {
                let mut cached = self.cached.iter_mut();
                let cached = cached
                    .find(|one| one.is_of(topic) && one.asked.partition == said.partition_index);
                cached.is_none_or(|cached| cached.say(said))
            });
            topic.partitions = partitions;
        }
        response
            .responses
            .retain(|topic| !topic.partitions.is_empty());
    }
}

impl Cached {
    fn new(topic: &FetchTopic, asked: &FetchPartition) -> Cached {
        Cached {
            topic: topic.clone().with_partitions(Vec::new()),
            asked: asked.clone(),
            high_watermark: -1,
            log_start_offset: -1,
        }
    }

    fn is_named(&self, name: &TopicName, id: [u8; 16]) -> bool {
        self.topic.topic == *name && self.topic.topic_id.into_bytes() == id
    }

    /// Whether an answer speaks of its topic, of which an old version knows the name alone.
    fn is_of(&self, said: &FetchableTopicResponse) -> bool {
        self.topic.topic_id == said.topic_id
    }

    /// What is said of it now; whether any of that is new.
    fn say(&mut self, said: &PartitionData) -> bool {
        let records = said.records.as_ref().is_some_and(|bytes| !bytes.is_empty());
        let failed = said.error_code != 0;
        let new = records
            || failed
            || self.high_watermark != said.high_watermark
            || self.log_start_offset != said.log_start_offset;
        // Behind an error all is said again.
        self.high_watermark = if failed { -1 } else { said.high_watermark };
        self.log_start_offset = said.log_start_offset;
        new
    }
}

/// What a request names.
fn named(request: &FetchRequest) -> impl Iterator<Item = (&FetchTopic, &FetchPartition)> {
    let topics = request.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(move |one| (topic, one)))
}
