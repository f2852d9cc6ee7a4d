//! The port: the leaf on a pinned glommio executor. The only file that names glommio.
//!
//! One task owns the loop: orders and disk completions in, time, turns of loading, effects out. Each
//! connection has a task of its own that reads straight into the leaf's region and writes what the leaf
//! gave it; it borrows the leaf only within one poll, never across an await. Orders and completions
//! come through tokio's bounded queues, whose wakers work from foreign threads.
//!
//! A panic on the leaf ends the process with its message: what is durable is durable, recovery does the
//! rest.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures::io::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use glommio::timer::Timer;
use glommio::{LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement};
use storage::disk::{Disk, DiskDone, RealDisk};
use storage::segment::Bell as DamageBell;
use storage::store::StoreSettings;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, Receiver, Sender, error::TrySendError};

use super::config::{LeafConfig, LeafError};
use super::disks::DiskThreads;
use super::event::{Connection, Effect, Effects, Event, Now, Slot};
use super::handle::LeafHandle;
use super::machine::Leaf;
use super::order::{Order, Report};
use super::resolve::{self, LookUp, Resolver};
use super::views::Views;
use crate::limits;

/// Starts a leaf on a thread of its own, pinned as the configuration says.
///
/// Call it from a thread that is not pinned: the leaf's disk threads inherit its CPUs.
///
/// # Errors
/// `Start`: no io_uring, too little locked memory, no thread.
pub fn spawn(config: LeafConfig, views: Arc<Views>) -> Result<LeafHandle, LeafError> {
    spawn_on(config, views, Arc::new(RealDisk), StoreSettings::default())
}

/// The same on another disk, with other bounds of segments and merges: for a test that looks at what a
/// real leaf asks of its disk.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_on(
    config: LeafConfig,
    views: Arc<Views>,
    disk: Arc<dyn Disk>,
    stores: StoreSettings,
) -> Result<LeafHandle, LeafError> {
    let below = Below {
        disk,
        stores,
        look_up: resolve::system(),
    };
    spawn_over(config, views, below)
}

/// What a leaf stands on.
struct Below {
    disk: Arc<dyn Disk>,
    stores: StoreSettings,
    look_up: LookUp,
}

fn spawn_over(
    config: LeafConfig,
    views: Arc<Views>,
    below: Below,
) -> Result<LeafHandle, LeafError> {
    let index = config.index;
    let start_error = |source: std::io::Error| LeafError::Start {
        index,
        mend: mend(&source),
        source,
    };
    let (orders, orders_in) = mpsc::channel(limits::ORDERS_QUEUED_MAX);
    let (reports_out, reports) = mpsc::channel(limits::REPORTS_QUEUED_MAX);
    let (done, done_in) = mpsc::channel(limits::DISK_DONE_QUEUED_MAX);
    let disks = DiskThreads::start(index, &below.disk, &done).map_err(start_error)?;
    drop(done);
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name(format!("leaf-{index}"))
        .spawn(move || {
            let _guard = EndOnPanic;
            let executor = match executor(&config) {
                Ok(executor) => executor,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(()));
            let ways = Ways {
                disks,
                stores: below.stores,
                resolver: Resolver::new(below.look_up),
                orders: orders_in,
                done: done_in,
                reports: reports_out,
            };
            executor.run(run(config, views, ways));
        })
        .map_err(start_error)?;
    match start.recv() {
        Ok(Ok(())) => Ok(LeafHandle::new(index, orders, reports, thread)),
        Ok(Err(error)) => Err(start_error(error)),
        Err(_) => Err(LeafError::Ended { index }),
    }
}

fn executor(config: &LeafConfig) -> std::io::Result<LocalExecutor> {
    let placement = match config.cpu {
        Some(cpu) => Placement::Fixed(cpu),
        None => Placement::Unbound,
    };
    let mut builder = LocalExecutorBuilder::new(placement)
        .name("leaf")
        .io_memory(limits::IO_MEMORY_BYTES)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1));
    if config.spin {
        builder = builder.spin_before_park(Duration::from_micros(limits::SPIN_US));
    }
    builder.make().map_err(std::io::Error::from)
}

/// What a person can do about it.
fn mend(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => {
            "; raise the limit of locked memory to 512 KiB or more a leaf (ulimit -l, LimitMEMLOCK=)"
        }
        Some(libc::ENOSYS | libc::EPERM) => {
            "; io_uring is needed: Linux 5.8 or newer, allowed by seccomp and kernel.io_uring_disabled=0"
        }
        _ => "",
    }
}

/// Ends the process when its thread unwinds: half a leaf must not live on.
#[derive(Debug)]
pub struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("unnamed");
            tracing::error!("thread {name} panicked: the process ends, recovery does the rest");
            std::process::abort();
        }
    }
}

/// One connection, as its task and the loop share it.
struct Link {
    connection: Connection,
    outbox: VecDeque<Vec<u8>>,
    /// Bytes of the outbox's first that are written.
    written: usize,
    waker: Option<Waker>,
}

impl Link {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// What the tasks of one leaf share.
struct Port {
    leaf: Leaf,
    links: HashMap<u32, Link>,
    disks: DiskThreads,
    resolver: Resolver,
    begun: Instant,
    effects: Effects,
    ended: bool,
}

/// Tells the loop that there is something to do.
#[derive(Default)]
struct Bell {
    rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    /// Connection tasks that live.
    tasks: Cell<usize>,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[derive(Clone)]
struct Shared {
    port: Rc<RefCell<Port>>,
    bell: Rc<Bell>,
}

impl Port {
    fn now(&self) -> Now {
        let us = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            us: us(self.begun.elapsed()),
            unix_us: unix.map_or(0, |unix| i64::try_from(us(unix)).unwrap_or(i64::MAX)),
        }
    }

    /// Hands an event to the leaf and performs what it wants.
    fn on(&mut self, shared: &Shared, event: Event) {
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.leaf.on(now, event, &mut effects);
        self.perform(shared, &mut effects);
        self.effects = effects;
    }

    /// One turn of loading; whether there may be more.
    fn turn(&mut self, shared: &Shared) -> bool {
        let now = self.now();
        let mut effects = std::mem::take(&mut self.effects);
        let more = self.leaf.turn(now, &mut effects);
        self.perform(shared, &mut effects);
        self.effects = effects;
        more
    }

    fn perform(&mut self, shared: &Shared, effects: &mut Effects) {
        for effect in effects.drain(..) {
            match effect {
                Effect::Connect(connection, host, port) => {
                    self.links.insert(
                        connection.lane,
                        Link {
                            connection,
                            outbox: VecDeque::new(),
                            written: 0,
                            waker: None,
                        },
                    );
                    let bell = Rc::clone(&shared.bell);
                    bell.tasks.set(bell.tasks.get() + 1);
                    let shared = shared.clone();
                    glommio::spawn_local(async move {
                        link(&shared, connection, host, port).await;
                        shared.bell.tasks.set(shared.bell.tasks.get() - 1);
                        shared.bell.ring();
                    })
                    .detach();
                }
                Effect::Send(connection, bytes) => {
                    if let Some(link) = self.link(connection) {
                        link.outbox.push_back(bytes);
                        link.wake();
                    }
                }
                Effect::Read(connection) => {
                    if let Some(link) = self.link(connection) {
                        link.wake();
                    }
                }
                Effect::Close(connection) => {
                    if self.link(connection).is_some()
                        && let Some(mut link) = self.links.remove(&connection.lane)
                    {
                        link.wake();
                    }
                }
                Effect::Disk(slot, op) => self.disks.submit(slot, op),
                Effect::End => self.ended = true,
            }
        }
    }

    fn link(&mut self, connection: Connection) -> Option<&mut Link> {
        self.links
            .get_mut(&connection.lane)
            .filter(|link| link.connection == connection)
    }

    /// Writes what waits and reads what is there; `Err` says why the connection ended.
    fn poll_link(
        &mut self,
        shared: &Shared,
        connection: Connection,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), String>> {
        let Some(link) = self.link(connection) else {
            return Poll::Ready(Ok(()));
        };
        while let Some(bytes) = link.outbox.front() {
            match Pin::new(&mut *stream).poll_write(cx, &bytes[link.written..]) {
                Poll::Pending => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(Ok(bytes_written)) => {
                    link.written += bytes_written;
                    if link.written == bytes.len() {
                        link.outbox.pop_front();
                        link.written = 0;
                    }
                }
            }
        }
        link.waker = Some(cx.waker().clone());
        let space = self.leaf.space(connection);
        if space.is_empty() {
            return Poll::Pending;
        }
        match Pin::new(stream).poll_read(cx, space) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.to_string())),
            Poll::Ready(Ok(0)) => Poll::Ready(Err("the broker closed the connection".to_owned())),
            Poll::Ready(Ok(bytes)) => {
                self.on(shared, Event::Received(connection, bytes));
                // What arrived is decoded before more is read: it is still in the cache.
                shared.bell.ring();
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    /// Hands on the reports that wait; whether some had to stay.
    fn report(&mut self, reports: &Sender<Report>) -> bool {
        self.leaf.reports(|report| match reports.try_send(report) {
            Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
            Err(TrySendError::Full(report)) => Err(report),
        });
        self.leaf.has_reports()
    }
}

/// One connection's life.
async fn link(shared: &Shared, connection: Connection, host: String, port: u16) {
    let lost = |why: String| {
        let mut inner = shared.port.borrow_mut();
        inner.on(shared, Event::Lost(connection, why));
        inner.links.retain(|_, link| link.connection != connection);
        drop(inner);
        shared.bell.ring();
    };
    // Spawned in the middle of an event: the leaf is borrowed still.
    glommio::executor().yield_now().await;
    let resolver = shared.port.borrow().resolver.clone();
    let mut connecting = pin!(connect(resolver, host, port));
    // A connection that is closed meanwhile is not waited for: neither a look-up nor a silent host.
    let connected = poll_fn(|cx| {
        match shared.port.borrow_mut().link(connection) {
            Some(link) => link.waker = Some(cx.waker().clone()),
            None => return Poll::Ready(None),
        }
        connecting.as_mut().poll(cx).map(Some)
    })
    .await;
    let mut stream = match connected {
        Some(Ok(stream)) => stream,
        Some(Err(why)) => return lost(why),
        None => return,
    };
    shared
        .port
        .borrow_mut()
        .on(shared, Event::Connected(connection));
    shared.bell.ring();
    let ended = poll_fn(|cx| {
        let mut port = shared.port.borrow_mut();
        port.poll_link(shared, connection, &mut stream, cx)
    })
    .await;
    if let Err(why) = ended {
        lost(why);
    }
}

async fn connect(resolver: Resolver, host: String, port: u16) -> Result<TcpStream, String> {
    let mut found = resolver.begin(&host, port)?;
    let mut timer = Timer::new(Duration::from_millis(limits::CONNECT_TIMEOUT_MS));
    let found = poll_fn(|cx| match Pin::new(&mut found).poll(cx) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => Pin::new(&mut timer).poll(cx).map(|_| None),
    });
    let addresses = match found.await {
        Some(Ok(Ok(addresses))) if addresses.is_empty() => {
            return Err(format!("{host} has no address"));
        }
        Some(Ok(Ok(addresses))) => addresses,
        Some(Ok(Err(error))) => return Err(format!("{host} cannot be resolved: {error}")),
        Some(Err(_)) => return Err(format!("{host} cannot be resolved: the look-up broke off")),
        None => {
            let within = limits::CONNECT_TIMEOUT_MS;
            return Err(format!(
                "{host} cannot be resolved: no answer in {within} ms"
            ));
        }
    };
    let each_ms = limits::CONNECT_TIMEOUT_MS / addresses.len() as u64;
    let within = Duration::from_millis(each_ms);
    // A name may have one address that nobody listens at: localhost's of the other family.
    let mut connected = Err(String::new());
    for address in addresses {
        connected = TcpStream::connect_timeout(address, within)
            .await
            .map_err(|error| error.to_string());
        if connected.is_ok() {
            break;
        }
    }
    let stream = connected?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// What the loop woke up for.
enum Woken {
    Order(Option<Order>),
    Done(Slot, DiskDone),
    Tick,
    Rung,
}

/// A leaf's ways to the world.
struct Ways {
    disks: DiskThreads,
    stores: StoreSettings,
    resolver: Resolver,
    orders: Receiver<Order>,
    done: Receiver<(Slot, DiskDone)>,
    reports: Sender<Report>,
}

async fn run(config: LeafConfig, views: Arc<Views>, ways: Ways) {
    let Ways {
        disks,
        stores,
        resolver,
        orders,
        mut done,
        reports,
    } = ways;
    let damage = Arc::new(Notify::new());
    let mut leaf = Leaf::new(config, views);
    leaf.set_stores(stores);
    leaf.set_bell(DamageBell::new({
        let damage = Arc::clone(&damage);
        move || damage.notify_one()
    }));
    let shared = Shared {
        port: Rc::new(RefCell::new(Port {
            leaf,
            links: HashMap::new(),
            disks,
            resolver,
            begun: Instant::now(),
            effects: Vec::with_capacity(limits::EFFECTS_KEPT),
            ended: false,
        })),
        bell: Rc::default(),
    };
    let mut orders = Some(orders);
    loop {
        let timer = {
            let mut port = shared.port.borrow_mut();
            let held_back = port.report(&reports);
            if port.ended && !held_back && shared.bell.tasks.get() == 0 {
                break;
            }
            let now = port.now();
            let mut at_us = port.leaf.deadline_us();
            if held_back {
                let again_us = now.us + limits::REPORT_AGAIN_MS * 1_000;
                at_us = Some(at_us.map_or(again_us, |at_us| at_us.min(again_us)));
            }
            at_us.map(|at_us| Duration::from_micros(at_us.saturating_sub(now.us).max(1)))
        };
        match woken(&shared.bell, &mut orders, &mut done, &damage, timer).await {
            Woken::Order(order) => {
                // A node that lets go of its leaf wants it to end.
                let order = order.unwrap_or_else(|| {
                    orders = None;
                    Order::Shutdown
                });
                let mut port = shared.port.borrow_mut();
                port.on(&shared, Event::Order(order));
            }
            Woken::Done(slot, done) => {
                let mut port = shared.port.borrow_mut();
                port.on(&shared, Event::Disk(slot, done));
            }
            Woken::Tick => {
                let mut port = shared.port.borrow_mut();
                port.on(&shared, Event::Tick);
            }
            Woken::Rung => {}
        }
        loop {
            let more = shared.port.borrow_mut().turn(&shared);
            // The connections' tasks have their turn, also while events come in one after another.
            glommio::executor().yield_now().await;
            if !more {
                break;
            }
        }
    }
    if let Ok(port) = Rc::try_unwrap(shared.port) {
        port.into_inner().disks.end();
    }
}

/// Waits for whatever comes first.
async fn woken(
    bell: &Bell,
    orders: &mut Option<Receiver<Order>>,
    done: &mut Receiver<(Slot, DiskDone)>,
    damage: &Notify,
    timer: Option<Duration>,
) -> Woken {
    let mut timer = timer.map(Timer::new);
    let mut damaged = pin!(damage.notified());
    poll_fn(|cx| {
        if let Poll::Ready(Some((slot, done))) = done.poll_recv(cx) {
            return Poll::Ready(Woken::Done(slot, done));
        }
        if bell.rung.replace(false) {
            return Poll::Ready(Woken::Rung);
        }
        if let Some(orders) = orders
            && let Poll::Ready(order) = orders.poll_recv(cx)
        {
            return Poll::Ready(Woken::Order(order));
        }
        if damaged.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Woken::Tick);
        }
        if let Some(timer) = &mut timer
            && Pin::new(timer).poll(cx).is_ready()
        {
            return Poll::Ready(Woken::Tick);
        }
        *bell.waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests;
