//! Names to addresses: each look-up on a thread of its own, and nobody waits longer than he wants to.
//!
//! The system's resolver answers when it likes, half a minute after the network went away. A leaf that
//! ends, and a lane that has waited long enough, leave it behind; what it says then goes nowhere.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::limits::{ADDRESSES_MAX, LOOKUPS_MAX};

/// What looks a name up; it may block.
pub(super) type LookUp = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// A look-up under way; an error when its thread is gone.
pub(super) type Found = oneshot::Receiver<io::Result<Vec<SocketAddr>>>;

/// Looks names up, for one leaf.
#[derive(Clone)]
pub(super) struct Resolver {
    look_up: LookUp,
    /// One for each thread that still waits for the system.
    under_way: Arc<()>,
}

/// The system's own.
pub(super) fn system() -> LookUp {
    Arc::new(|name, port| {
        Ok((name, port)
            .to_socket_addrs()?
            .take(ADDRESSES_MAX)
            .collect())
    })
}

impl Resolver {
    /// With the system's look-up, or a test's.
    pub fn new(look_up: LookUp) -> Resolver {
        Resolver {
            look_up,
            under_way: Arc::new(()),
        }
    }

    /// Begins a look-up. An address needs none.
    ///
    /// # Errors
    /// No thread, or too many look-ups that the system has not answered.
    pub fn begin(&self, host: &str, port: u16) -> Result<Found, String> {
        let (tell, found) = oneshot::channel();
        if let Ok(ip) = host.parse::<IpAddr>() {
            // The receiver stands here.
            let _ = tell.send(Ok(vec![SocketAddr::new(ip, port)]));
            return Ok(found);
        }
        if Arc::strong_count(&self.under_way) > LOOKUPS_MAX {
            return Err(format!(
                "{host} cannot be resolved: {LOOKUPS_MAX} look-ups wait for the system already"
            ));
        }
        let (look_up, name) = (Arc::clone(&self.look_up), host.to_owned());
        let counted = Arc::clone(&self.under_way);
        std::thread::Builder::new()
            .name("leaf-resolve".into())
            .spawn(move || {
                let addresses = look_up(&name, port);
                drop(counted);
                // Err: nobody waits for it any more.
                let _ = tell.send(addresses);
            })
            .map_err(|error| format!("{host} cannot be resolved: no thread: {error}"))?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_address_needs_no_look_up_and_a_name_gets_the_systems() {
        let resolver = Resolver::new(system());
        let found = resolver.begin("127.0.0.1", 7).unwrap().blocking_recv();
        assert_eq!(found.unwrap().unwrap(), ["127.0.0.1:7".parse().unwrap()]);
        let found = resolver.begin("::1", 7).unwrap().blocking_recv();
        assert_eq!(found.unwrap().unwrap(), ["[::1]:7".parse().unwrap()]);
        let found = resolver.begin("localhost", 7).unwrap().blocking_recv();
        assert!(
            found
                .unwrap()
                .unwrap()
                .iter()
                .all(|at| at.ip().is_loopback())
        );
    }

    #[test]
    fn look_ups_that_are_never_answered_are_bounded() {
        let (release, held) = mpsc::channel::<()>();
        let held = Mutex::new(held);
        let stuck: LookUp = Arc::new(move |_, _| {
            // Err: released by the sender's end.
            let _ = held.lock().unwrap().recv();
            Ok(vec![])
        });
        let resolver = Resolver::new(stuck);
        let waiting: Vec<Found> = (0..LOOKUPS_MAX)
            .map(|_| resolver.begin("broker", 1).unwrap())
            .collect();
        let refused = resolver.begin("broker", 1).unwrap_err();
        assert!(refused.contains("8 look-ups wait"), "{refused}");
        drop(release);
        for found in waiting {
            assert!(found.blocking_recv().unwrap().unwrap().is_empty());
        }
        assert!(resolver.begin("broker", 1).is_ok());
    }
}
