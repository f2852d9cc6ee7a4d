//! One process's control core: the real aggregator and catalog, their tasks, and what lies between them and
//! the leaves. Dropped when the process ends; the catalog's file is what stays.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use control::aggregator::{Aggregator, AggregatorConfig, AggregatorError, End, Ended, LeafLink};
use control::catalog::{Catalog, Desk, EngineVariables, FIRST_NODE, Store};
use futures::FutureExt;
use ingest::leaf::Now;
use ingest::leaf::order::{Goal, Order, Report};
use tokio::sync::mpsc;

use super::executor::Executor;
use super::port::SimPort;
use crate::sim::Random;

/// Reports between a leaf and the aggregator.
const REPORTS_MAX: usize = 1_024;

/// What a task leaves for the drive to find.
pub type Slot<T> = Arc<Mutex<Option<T>>>;

/// Leaves it there.
pub fn put<T>(slot: &Slot<T>, what: T) {
    *lock(slot) = Some(what);
}

/// Takes what is in a slot.
pub fn take<T>(slot: &Slot<T>) -> Option<T> {
    lock(slot).take()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// See the module.
pub struct Process {
    pub executor: Executor,
    pub port: SimPort,
    pub desk: Desk,
    /// Once it is started.
    pub aggregator: Option<Aggregator>,
    pub end: Option<End>,
    /// Why the aggregator has ended.
    pub ended: Option<Ended>,
    /// One for each leaf.
    pub links: Vec<Link>,
    started: Slot<Result<(Aggregator, End), AggregatorError>>,
}

/// What is on its way to a leaf and from it.
pub struct Link {
    orders: Arc<Mutex<Orders>>,
    reports: mpsc::Sender<Report>,
}

struct Orders {
    queue: VecDeque<Order>,
    /// As many are taken.
    max: usize,
    refused: u64,
    /// The last generation that each leaf partition was given.
    told: BTreeMap<u64, u64>,
}

impl Process {
    /// A process begins, with this catalog and so many leaves.
    #[must_use]
    pub fn start(store: Store, leaves: usize, now: Now, random: &mut Random) -> Process {
        let (catalog, desk) = Catalog::with_desk(store);
        let port = SimPort::new(now);
        let (links, leaves) = (0..leaves).map(|_| Link::new(random)).unzip();
        let config = AggregatorConfig {
            data_dir: PathBuf::from("/data"),
            node: FIRST_NODE,
            variables: EngineVariables::default(),
        };
        let started = Slot::default();
        let starting = {
            let (port, started) = (Arc::new(port.clone()), Arc::clone(&started));
            async move {
                let begun = Aggregator::start_on(port, config, catalog, leaves).await;
                put(&started, begun);
            }
        };
        let mut executor = Executor::default();
        executor.spawn(starting.boxed());
        Process {
            executor,
            port,
            desk,
            aggregator: None,
            end: None,
            ended: None,
            links,
            started,
        }
    }

    /// One of its tasks gets on.
    ///
    /// # Errors
    /// Why it could not be started.
    pub fn poll_one(&mut self, now: Now, random: &mut Random) -> Result<(), AggregatorError> {
        self.port.set_now(now);
        self.executor.poll_one(random);
        for task in self.port.take_spawned() {
            self.executor.spawn(task);
        }
        if let Some(started) = take(&self.started) {
            let (aggregator, end) = started?;
            (self.aggregator, self.end) = (Some(aggregator), Some(end));
        }
        Ok(())
    }

    /// Nothing of its own is left to do, until a leaf, a broker or the clock says something.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let orders = self.links.iter().map(Link::orders).sum::<usize>();
        self.executor.is_idle() && self.desk.waiting() == 0 && orders == 0 && self.port.work() == 0
    }
}

/// What an order has a leaf partition do, with its generation; attached, it rests.
#[must_use]
pub fn goal(order: &Order) -> Option<(u64, u64, Goal)> {
    match order {
        Order::Attach {
            generation,
            pairing,
            ..
        } => Some((pairing.leaf_partition, *generation, Goal::Stop)),
        Order::Goal {
            leaf_partition,
            generation,
            goal,
        } => Some((*leaf_partition, *generation, *goal)),
        _ => None,
    }
}

impl Link {
    fn new(random: &mut Random) -> (Link, LeafLink) {
        let max = [2, 8, 1_024][random.below(3) as usize];
        let orders = Arc::new(Mutex::new(Orders {
            queue: VecDeque::new(),
            max,
            refused: 0,
            told: BTreeMap::new(),
        }));
        let (reports, heard) = mpsc::channel(REPORTS_MAX);
        let taken = Arc::clone(&orders);
        let send = move |order| {
            let mut orders = lock(&taken);
            if orders.queue.len() == orders.max {
                orders.refused += 1;
                return false;
            }
            if let Some((id, generation, _)) = goal(&order) {
                orders.told.insert(id, generation);
            }
            orders.queue.push_back(order);
            true
        };
        let leaf = LeafLink {
            send: Box::new(send),
            reports: heard,
        };
        (Link { orders, reports }, leaf)
    }

    /// How many orders wait.
    #[must_use]
    pub fn orders(&self) -> usize {
        lock(&self.orders).queue.len()
    }

    /// The last generation that a leaf partition was given; `None`: it is another leaf's.
    #[must_use]
    pub fn told(&self, leaf_partition: u64) -> Option<u64> {
        lock(&self.orders).told.get(&leaf_partition).copied()
    }

    /// How often an order found the queue full, since this was last asked.
    pub fn take_refused(&self) -> u64 {
        std::mem::take(&mut lock(&self.orders).refused)
    }

    /// The oldest order.
    #[must_use]
    pub fn next_order(&self) -> Option<Order> {
        lock(&self.orders).queue.pop_front()
    }

    /// Whether a report finds room.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.reports.capacity() > 0
    }

    /// A report sets out.
    pub fn report(&self, report: Report) {
        // Err: the aggregator has failed to start, which is found out by itself.
        drop(self.reports.try_send(report));
    }
}
