//! Bytes to records: everything that knows Kafka's wire.
