//! A way between a node and a broker that cuts, delays, limits and says nothing.
//!
//! Two threads a connection; what happens to it is looked up before each read, so a change takes hold
//! of connections that are there already.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A read ends after so long without a byte, to look at the way again.
const LOOK: Duration = Duration::from_millis(10);
const READ_BYTES: usize = 16 << 10;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// They pass.
    Open,
    /// Connections are taken and closed at once, those that are there too.
    Cut,
    /// Connections are taken and no byte passes; what waits goes on when the way is open again.
    Silent,
    /// Each piece waits so long.
    Delay(Duration),
    /// So many bytes a second, each way and connection.
    Limit(usize),
    /// Each connection is closed after some bytes of its answers: at least as many, at most twice.
    CutAfter(u64),
}

struct Shared {
    way: Mutex<Way>,
    target: Mutex<Option<SocketAddr>>,
    ended: AtomicBool,
    connections: AtomicU64,
}

impl Shared {
    fn way(&self) -> Way {
        *self.way.lock().unwrap()
    }
}

/// A running proxy; dropping it closes every connection.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Listens on a free port; connections go nowhere until there is a target.
    pub fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            way: Mutex::new(Way::Open),
            target: Mutex::new(None),
            ended: AtomicBool::new(false),
            connections: AtomicU64::new(0),
        });
        let taking = shared.clone();
        thread::spawn(move || take(&listener, &taking));
        Proxy { addr, shared }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where connections lead from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap() = Some(target);
    }

    pub fn set(&self, way: Way) {
        *self.shared.way.lock().unwrap() = way;
    }

    /// How many were made so far.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for connections; there is nothing to do where it is gone.
        let _ = TcpStream::connect(self.addr);
    }
}

fn take(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.ended.load(Ordering::Relaxed) {
            return;
        }
        let target = *shared.target.lock().unwrap();
        let (Ok(client), Some(target)) = (client, target) else {
            continue;
        };
        let number = shared.connections.fetch_add(1, Ordering::Relaxed);
        if shared.way() == Way::Cut {
            continue;
        }
        let Ok(broker) = TcpStream::connect(target) else {
            continue;
        };
        for (from, to, answers) in [(&client, &broker, false), (&broker, &client, true)] {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let shared = shared.clone();
            thread::spawn(move || {
                pump(&from, &to, &shared, answers.then_some(number));
                // Fails where the other direction has closed them.
                let _ = from.shutdown(Shutdown::Both);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }
}

/// One direction until either side ends. `answers`: the connection's number, where it is the broker's.
fn pump(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared, answers: Option<u64>) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    to.set_nodelay(true).unwrap();
    let mut bytes = vec![0; READ_BYTES];
    let mut passed = 0;
    while !shared.ended.load(Ordering::Relaxed) {
        let way = shared.way();
        let most = match way {
            Way::Cut => return,
            Way::Silent => {
                thread::sleep(LOOK);
                continue;
            }
            Way::Limit(bytes_a_second) => bytes_a_second / 100,
            Way::Open | Way::Delay(_) | Way::CutAfter(_) => READ_BYTES,
        };
        let mut read = match from.read(&mut bytes[..most.clamp(1, READ_BYTES)]) {
            Ok(0) => return,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                continue;
            }
            Err(_) => return,
        };
        match way {
            Way::Delay(pause) => thread::sleep(pause),
            Way::Limit(_) => thread::sleep(Duration::from_millis(10)),
            Way::Open | Way::Cut | Way::Silent | Way::CutAfter(_) => {}
        }
        let mut ends = false;
        if let (Way::CutAfter(bytes_min), Some(number)) = (way, answers) {
            // Somewhere else each time, and the same in each run.
            let end = bytes_min + number.wrapping_mul(0x9e37_79b9_7f4a_7c15) % bytes_min;
            let left = usize::try_from(end.saturating_sub(passed)).unwrap();
            ends = read >= left;
            read = read.min(left);
        }
        passed += read as u64;
        if to.write_all(&bytes[..read]).is_err() || ends {
            return;
        }
    }
}
