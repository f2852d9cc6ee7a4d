//! The aggregator: learns topics, pairs partitions, orders leaves.
