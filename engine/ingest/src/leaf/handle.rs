//! The aggregator's end of a leaf: orders in, reports out, and its end.

use std::thread::JoinHandle;

use tokio::sync::mpsc::{Receiver, Sender, error::TrySendError};

use super::config::LeafError;
use super::order::{Order, Report};

/// A running leaf.
#[derive(Debug)]
pub struct LeafHandle {
    /// Where orders go; may be cloned.
    pub orders: LeafOrders,
    /// What the leaf says. Read it: what does not fit waits in the leaf, where newer reports of a kind
    /// take the place of older ones.
    pub reports: Receiver<Report>,
    thread: JoinHandle<()>,
}

/// Where a leaf's orders go.
#[derive(Clone, Debug)]
pub struct LeafOrders {
    /// The leaf's number.
    pub index: u32,
    orders: Sender<Order>,
}

impl LeafOrders {
    /// Gives an order.
    ///
    /// # Errors
    /// `Busy`: try again, orders may be repeated. `Ended`: the leaf is gone.
    pub fn try_send(&self, order: Order) -> Result<(), LeafError> {
        let index = self.index;
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => LeafError::Busy { index },
            TrySendError::Closed(_) => LeafError::Ended { index },
        })
    }
}

impl LeafHandle {
    /// The port's end.
    #[must_use]
    pub fn new(
        index: u32,
        orders: Sender<Order>,
        reports: Receiver<Report>,
        thread: JoinHandle<()>,
    ) -> LeafHandle {
        LeafHandle {
            orders: LeafOrders { index, orders },
            reports,
            thread,
        }
    }

    /// Gives an order: see [`LeafOrders::try_send`].
    ///
    /// # Errors
    /// As there.
    pub fn try_send(&self, order: Order) -> Result<(), LeafError> {
        self.orders.try_send(order)
    }

    /// Its orders, its reports and its thread, apart: for whoever reads reports elsewhere than it joins.
    #[must_use]
    pub fn into_parts(self) -> (LeafOrders, Receiver<Report>, JoinHandle<()>) {
        (self.orders, self.reports, self.thread)
    }

    /// Waits for the leaf's end, which [`Order::Shutdown`] brings.
    ///
    /// # Errors
    /// `Ended`, if it ended in a panic; the process then ends as well.
    pub fn join(self) -> Result<(), LeafError> {
        let index = self.orders.index;
        drop(self.orders);
        drop(self.reports);
        self.thread.join().map_err(|_| LeafError::Ended { index })
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::channel;

    use super::*;

    fn joined(leaf: impl FnOnce() + Send + 'static) -> Result<(), LeafError> {
        let (orders, _) = channel(1);
        let (_, reports) = channel(1);
        LeafHandle::new(7, orders, reports, std::thread::spawn(leaf)).join()
    }

    #[test]
    fn a_leaf_that_ended_in_a_panic_did_not_end_well() {
        assert!(joined(|| {}).is_ok());
        // The panic's message is nobody's here.
        let ended = joined(|| std::panic::resume_unwind(Box::new("a panic")));
        assert!(matches!(ended, Err(LeafError::Ended { index: 7 })));
    }
}
