//! The names of things on disk, as types: none is ever used again, none can be mistaken for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// A table, from the catalog.
    TableId(u64)
);
id!(
    /// A shard of one table on one leaf, paired with one Kafka partition; from the catalog.
    LeafPartitionId(u64)
);
id!(
    /// How often a pairing's cursor was set by hand, its table truncated or its topic replaced.
    /// Within one lineage offsets never decrease. The first is 1.
    Lineage(u64)
);
id!(
    /// Counts the aggregator's orders to one leaf partition; what belongs to an earlier one is dropped.
    Generation(u64)
);
id!(
    /// A segment's place in its leaf partition's directory: the first is 1, and none comes twice.
    Sequence(u64)
);
id!(
    /// How often the segments that one file stands for were rewritten: 0 as first written.
    Rewrite(u32)
);
id!(
    /// A message's place in its Kafka partition. The first is 0.
    Offset(i64)
);

impl Offset {
    /// The offset after this one.
    ///
    /// # Panics
    /// At `i64::MAX`, which no broker hands out: the walk refuses such a batch.
    #[must_use]
    pub fn next(self) -> Offset {
        Offset(self.0.checked_add(1).expect("an offset below i64::MAX"))
    }

    /// How many offsets lie in `self..end`; 0 where `end` is not above `self`.
    #[must_use]
    pub fn until(self, end: Offset) -> u64 {
        u64::try_from(end.0.saturating_sub(self.0)).unwrap_or(0)
    }
}

/// A topic's id as Kafka gives it; all zero where the broker is too old to have one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub [u8; 16]);

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
