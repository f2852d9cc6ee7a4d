//! What happens to a leaf and what it wants done: the whole of its contact with the world.
//!
//! The port performs effects in order and brings their outcomes back as events. A connection is
//! named by its lane and a number that is never used again: what comes of an older one is dropped.
//! A disk operation is named by its leaf partition's slot and its turn in it, for the same reason.

use storage::disk::{DiskDone, DiskOp};

use super::order::Order;

/// The clocks, read once for an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now {
    /// Monotonic, from some instant before the leaf began.
    pub us: u64,
    /// The wall's, since 1970: for what people see.
    pub unix_us: i64,
}

impl Now {
    /// The monotonic clock in ms.
    #[must_use]
    pub fn ms(self) -> u64 {
        self.us / 1_000
    }

    /// The wall's clock in ms.
    #[must_use]
    pub fn unix_ms(self) -> i64 {
        self.unix_us.div_euclid(1_000)
    }
}

/// A connection: the lane's number and the attempt's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Connection {
    /// Which lane.
    pub lane: u32,
    /// Counts every attempt of this leaf to connect.
    pub attempt: u64,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The aggregator ordered.
    Order(Order),
    /// A connection is up.
    Connected(Connection),
    /// A connection did not come up, broke, or was closed by the broker. One line says why.
    Lost(Connection, String),
    /// So many bytes were put into what [`super::Leaf::space`] gave.
    Received(Connection, usize),
    /// A disk operation of this slot is done.
    Disk(Slot, DiskDone),
    /// Time passed.
    Tick,
}

/// A leaf partition's place in its leaf, and how often the place was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its index.
    pub index: u32,
    /// Counts the uses of the index.
    pub turn: u32,
}

/// What the leaf wants done.
#[derive(Debug)]
pub enum Effect {
    /// Connect; then `Connected` or `Lost`.
    Connect(Connection, String, u16),
    /// Write these bytes to the connection, behind what was given before.
    Send(Connection, Vec<u8>),
    /// Bytes may be read again: `space` is no longer empty.
    Read(Connection),
    /// Close the connection; nothing more is heard of it.
    Close(Connection),
    /// Perform this on a disk thread, then `Disk`.
    Disk(Slot, Box<DiskOp>),
    /// The leaf is done: everything is durable, nothing is on its way.
    End,
}

/// Effects of one event, reused.
pub type Effects = Vec<Effect>;
