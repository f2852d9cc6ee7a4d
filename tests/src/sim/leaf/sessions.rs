//! The simulated brokers' half of fetch sessions, written from KIP-227's description: what they keep, and
//! what an answer leaves out. A request that the leaf could have made shorter, or that would make it lose
//! a partition, is its fault.

use std::collections::BTreeMap;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{FetchRequest, FetchResponse};

use super::broker::FAULTS;
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
    /// The topic, as the request that made it names it.
    topic: FetchTopic,
    cached: Vec<Cached>,
}

#[derive(Debug)]
struct Cached {
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
        let told = fetch.topics.iter().flat_map(|topic| &topic.partitions);
        for one in told {
            session.told(one)?;
        }
        let gone = fetch.forgotten_topics_data.iter();
        for partition in gone.flat_map(|topic| &topic.partitions) {
            session.forget(*partition)?;
        }
        let all = session.cached.iter().map(|cached| cached.asked.clone());
        fetch.topics = vec![session.topic.clone().with_partitions(all.collect())];
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
            coverage.hit(FAULTS[19]);
            response.responses.clear();
            if let Place::In(id) = place {
                response.session_id = id;
            }
            return;
        }
        match place {
            Place::Makes if random.chance(150) => coverage.hit(FAULTS[17]),
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
        coverage.hit(FAULTS[18]);
        let code = [70, 71, 106][random.below(3) as usize];
        if code == 70 {
            self.open.remove(&(broker, id));
        }
        code
    }
}

impl Session {
    fn made(version: i16, request: &FetchRequest, response: &FetchResponse) -> Session {
        let answered: Vec<&PartitionData> = response
            .responses
            .iter()
            .flat_map(|topic| &topic.partitions)
            .collect();
        let asked = request.topics.iter().flat_map(|topic| &topic.partitions);
        let cached = asked.filter_map(|one| {
            let said = answered
                .iter()
                .find(|said| said.partition_index == one.partition)?;
            let mut cached = Cached::new(one);
            cached.say(said);
            Some(cached)
        });
        Session {
            epoch: 1,
            by_id: version >= TOPIC_ID_FROM,
            topic: request.topics.first().cloned().unwrap_or_default(),
            cached: cached.collect(),
        }
    }

    fn told(&mut self, one: &FetchPartition) -> Result<(), String> {
        let known = self
            .cached
            .iter_mut()
            .find(|cached| cached.asked.partition == one.partition);
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
                self.cached.push(Cached::new(one));
                Ok(())
            }
        }
    }

    fn forget(&mut self, partition: i32) -> Result<(), String> {
        let before = self.cached.len();
        self.cached
            .retain(|cached| cached.asked.partition != partition);
        if self.cached.len() == before {
            return Err(format!(
                "partition {partition} is forgotten and was not told"
            ));
        }
        Ok(())
    }

    fn leave_out(&mut self, response: &mut FetchResponse) {
        for topic in &mut response.responses {
            topic.partitions.retain(|said| {
                let mut cached = self.cached.iter_mut();
                let cached = cached.find(|one| one.asked.partition == said.partition_index);
                cached.is_none_or(|cached| cached.say(said))
            });
        }
        response
            .responses
            .retain(|topic| !topic.partitions.is_empty());
    }
}

impl Cached {
    fn new(asked: &FetchPartition) -> Cached {
        Cached {
            asked: asked.clone(),
            high_watermark: -1,
            log_start_offset: -1,
        }
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
