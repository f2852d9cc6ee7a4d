//! Hostile bytes for the hot path, and the bounds that every fuzz target keeps.
//!
//! A target's body is a plain function of any bytes: it hands them to the product as a peer, a file or
//! a user would, and asserts what must hold whatever they are. libFuzzer calls it (`libfuzzer/`, built
//! by cargo-fuzz), and so does a test on stable Rust, over the corpus that is kept beside it.
//!
//! What every body promises of the product: no panic, no read out of bounds, no more memory at a time
//! than [`bounds`] allows it, an end within [`bounds::INPUT_MS_MAX`].

pub mod bounds;
pub mod corpus;
pub mod input;

pub mod batch;
pub mod fetch;
pub mod json;
pub mod responses;
pub mod segments;

mod memory_disk;
mod repair;
mod table;

/// The slow twin of the JSON decode, as its unit tests have it.
#[path = "../../../engine/ingest/src/pipeline/json/twin.rs"]
#[allow(missing_docs, reason = "a test's file")]
mod twin;

// Where the twin looks for them.
use ingest::{limits, pipeline};

use corpus::Target;

/// The targets of this crate.
pub const TARGETS: &[Target] = &[
    Target {
        name: "fetch_response",
        body: fetch::fetch_response,
    },
    Target {
        name: "record_batch",
        body: batch::record_batch,
    },
    Target {
        name: "json",
        body: json::json,
    },
    Target {
        name: "segments",
        body: segments::segments,
    },
    Target {
        name: "kafka_responses",
        body: responses::kafka_responses,
    },
];

/// One input of a target: what its libFuzzer binary calls.
///
/// # Panics
/// Where a promise is broken: a find.
pub fn run(name: &str, data: &[u8]) {
    Target::named(TARGETS, name).check(data);
}

#[global_allocator]
static COUNTING: bounds::Counting = bounds::Counting;
