//! The aggregator's port as the simulation has it: whatever is asked for lies here until the drive does it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use control::aggregator::client::{
    Brokers, ClientFault, Connection, ConnectionFault, TopicAnswer, TopicState,
};
use control::aggregator::clock::Clock;
use control::aggregator::port::{DiskWork, Port};
use control::aggregator::settings::ClientSettings;
use futures::FutureExt;
use futures::future::BoxFuture;
use ingest::kafka::requests::{CommittedOffset, OffsetSpec};
use ingest::leaf::Now;
use ingest::leaf::order::Leader;
use storage::ids::Offset;
use tokio::sync::oneshot;

/// What somebody waits for.
pub enum Effect {
    /// So late it is.
    Sleep {
        until_us: u64,
        done: oneshot::Sender<()>,
    },
    /// Work on the data directory.
    Disk {
        work: DiskWork,
        done: oneshot::Sender<()>,
    },
    /// A question to the brokers.
    Ask {
        question: Question,
        answer: oneshot::Sender<Result<Answer, ClientFault>>,
    },
}

impl Effect {
    /// Whether nobody waits for it any more.
    #[must_use]
    pub fn is_left(&self) -> bool {
        match self {
            Effect::Sleep { done, .. } | Effect::Disk { done, .. } => done.is_closed(),
            Effect::Ask { answer, .. } => answer.is_closed(),
        }
    }

    /// Whether it may be done now.
    #[must_use]
    pub fn is_due(&self, now_us: u64) -> bool {
        match self {
            Effect::Sleep { until_us, .. } => *until_us <= now_us,
            Effect::Disk { .. } | Effect::Ask { .. } => true,
        }
    }
}

/// What brokers are asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// Metadata.
    Topic,
    /// ListOffsets, of the leaders as they were known.
    Offsets {
        of: Vec<(i32, Option<Leader>)>,
        latest: bool,
        read_committed: bool,
    },
    /// OffsetForLeaderEpoch.
    EpochEnd {
        partition: i32,
        leader: Leader,
        epoch: i32,
    },
    /// OffsetCommit: partition, offset and the text beside it.
    Publish {
        group: String,
        offsets: Vec<(i32, i64, String)>,
    },
    /// OffsetFetch.
    Published { group: String, partitions: Vec<i32> },
}

/// What they answer.
pub enum Answer {
    Topic(TopicAnswer),
    Offsets(BTreeMap<i32, Offset>),
    EpochEnd(i64),
    Publish,
    Published(Vec<CommittedOffset>),
}

/// See the module.
#[derive(Clone)]
pub struct SimPort(Arc<Mutex<Waiting>>);

struct Waiting {
    now: Now,
    spawned: Vec<BoxFuture<'static, ()>>,
    effects: Vec<Effect>,
}

impl SimPort {
    /// A port at which nothing waits.
    #[must_use]
    pub fn new(now: Now) -> SimPort {
        SimPort(Arc::new(Mutex::new(Waiting {
            now,
            spawned: Vec::new(),
            effects: Vec::new(),
        })))
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So late it is.
    pub fn set_now(&self, now: Now) {
        self.waiting().now = now;
    }

    /// Tasks that were started since.
    #[must_use]
    pub fn take_spawned(&self) -> Vec<BoxFuture<'static, ()>> {
        std::mem::take(&mut self.waiting().spawned)
    }

    /// How many effects could be done now, but for sleep.
    #[must_use]
    pub fn work(&self) -> usize {
        let waiting = self.waiting();
        let effects = waiting.effects.iter();
        let due = effects.filter(|one| !one.is_left() && one.is_due(waiting.now.us));
        due.count()
    }

    /// Takes one that may be done now; `choose` says which of so many.
    pub fn take(&self, choose: impl FnOnce(u64) -> u64) -> Option<Effect> {
        let mut waiting = self.waiting();
        waiting.effects.retain(|one| !one.is_left());
        let now_us = waiting.now.us;
        let effects = waiting.effects.iter().enumerate();
        let due: Vec<usize> = effects
            .filter(|(_, one)| one.is_due(now_us))
            .map(|(at, _)| at)
            .collect();
        if due.is_empty() {
            return None;
        }
        let at = due[choose(due.len() as u64) as usize];
        Some(waiting.effects.remove(at))
    }
}

impl Clock for SimPort {
    fn now_ms(&self) -> u64 {
        self.waiting().now.ms()
    }

    fn unix_ms(&self) -> i64 {
        self.waiting().now.unix_ms()
    }
}

impl Port for SimPort {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.waiting().spawned.push(task);
    }

    fn sleep(&self, ms: u64) -> BoxFuture<'static, ()> {
        let (done, slept) = oneshot::channel();
        let mut waiting = self.waiting();
        let until_us = waiting.now.us + ms * 1_000;
        waiting.effects.push(Effect::Sleep { until_us, done });
        slept.map(drop).boxed()
    }

    fn disk(&self, work: DiskWork) -> BoxFuture<'static, ()> {
        let (done, waits) = oneshot::channel();
        self.waiting().effects.push(Effect::Disk { work, done });
        waits.map(drop).boxed()
    }

    fn brokers(&self, settings: ClientSettings) -> Box<dyn Brokers> {
        Box::new(SimBrokers {
            port: self.clone(),
            settings,
        })
    }
}

struct SimBrokers {
    port: SimPort,
    settings: ClientSettings,
}

impl std::fmt::Debug for SimBrokers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SimBrokers")
    }
}

/// A question that never has an answer.
#[must_use]
pub fn unanswered() -> ClientFault {
    let fault = ConnectionFault::Timeout {
        doing: "asking",
        after_ms: 10_000,
    };
    ClientFault::Unreachable(vec![(("sim".to_owned(), 9_091), fault)])
}

impl SimBrokers {
    async fn ask(&self, question: Question) -> Result<Answer, ClientFault> {
        let (answer, answered) = oneshot::channel();
        let effect = Effect::Ask { question, answer };
        self.port.waiting().effects.push(effect);
        answered.await.unwrap_or_else(|_| Err(unanswered()))
    }
}

#[async_trait]
impl Brokers for SimBrokers {
    fn settings(&self) -> &ClientSettings {
        &self.settings
    }

    async fn topic(&self, _topic: &str) -> Result<TopicAnswer, ClientFault> {
        match self.ask(Question::Topic).await? {
            Answer::Topic(answer) => Ok(answer),
            _ => Err(unanswered()),
        }
    }

    async fn offsets(
        &self,
        _topic: &str,
        state: &TopicState,
        partitions: &[i32],
        spec: OffsetSpec,
    ) -> Result<BTreeMap<i32, Offset>, ClientFault> {
        let leader = |index: &i32| state.partitions.get(index).cloned().flatten();
        let question = Question::Offsets {
            of: partitions.iter().map(|one| (*one, leader(one))).collect(),
            latest: spec == OffsetSpec::Latest,
            read_committed: self.settings.read_committed,
        };
        match self.ask(question).await? {
            Answer::Offsets(offsets) => Ok(offsets),
            _ => Err(unanswered()),
        }
    }

    async fn epoch_end(
        &self,
        _topic: &str,
        partition: i32,
        leader: &Leader,
        epoch: i32,
    ) -> Result<i64, ClientFault> {
        let leader = leader.clone();
        let question = Question::EpochEnd {
            partition,
            leader,
            epoch,
        };
        match self.ask(question).await? {
            Answer::EpochEnd(offset) => Ok(offset),
            _ => Err(unanswered()),
        }
    }

    async fn publish(
        &self,
        group: &str,
        _topic: &str,
        offsets: &[(i32, Offset, i32, String)],
    ) -> Result<(), ClientFault> {
        let offsets = offsets.iter();
        let offsets = offsets.map(|(index, offset, _, text)| (*index, offset.0, text.clone()));
        let question = Question::Publish {
            group: group.to_owned(),
            offsets: offsets.collect(),
        };
        self.ask(question).await.map(drop)
    }

    async fn published(
        &self,
        group: &str,
        _topic: &str,
        partitions: &[i32],
    ) -> Result<Vec<CommittedOffset>, ClientFault> {
        let question = Question::Published {
            group: group.to_owned(),
            partitions: partitions.to_vec(),
        };
        match self.ask(question).await? {
            Answer::Published(offsets) => Ok(offsets),
            _ => Err(unanswered()),
        }
    }

    async fn connection(&self, _leader: &Leader) -> Result<Connection, ClientFault> {
        Err(unanswered())
    }

    fn close(&self) {}
}
