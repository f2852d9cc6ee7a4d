//! Footprint: what a row takes on disk, what partitions take in memory, what an idle node costs.
//!
//! Of its leaf partitions the segment that is being written is open; behind `ALTER PIPELINE ... SET OFFSETS`
//! at the very same offsets the segments before are sealed, and merged where they are to be.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::{Bench, Measured, SETTLE_POLL, Variant, check, load, rest};
use crate::engine::{About, Running};
use crate::fault::Fault;
use crate::plan::Plan;
use crate::process::MemoryWatch;
use crate::topic::{Content, Topic};

/// What a merge may take; until two looks that far apart find the same.
const STEADY: Duration = Duration::from_secs(2);
const STEADY_MAX: Duration = Duration::from_secs(120);

/// With 1 and with 256 partitions.
#[must_use]
pub fn variants(plan: &Plan) -> Vec<Variant> {
    let variant = |partitions: &u32| {
        let content = Content::orders(plan.footprint_rows, *partitions);
        Variant::new("footprint", name(*partitions), vec![content])
    };
    plan.footprint_partitions.iter().map(variant).collect()
}

/// Of the variant of so many partitions.
#[must_use]
pub fn name(partitions: u32) -> String {
    format!(
        "{partitions} partition{}",
        if partitions == 1 { "" } else { "s" }
    )
}

/// Loads, looks, seals, looks, waits.
///
/// # Errors
/// As [`super::measure`].
pub fn measure(
    bench: &Bench<'_>,
    variant: &Variant,
    topics: &[Topic],
) -> Result<(Measured, About), Fault> {
    let (mut running, about) = bench.pinleaf.run(&bench.job(topics, variant))?;
    let broker_cpu = || bench.broker_cpu();
    let (loaded, checked) = load("pinleaf", &mut running, topics, broker_cpu)?;
    let rows = topics[0].expected.rows();
    let tables = running.data_dir().join("tables");
    let bytes = || {
        segments(&tables)
            .iter()
            .map(|(_, bytes)| bytes)
            .sum::<u64>()
    };
    let mut measured = Measured::new(rows, checked);
    measured.put_memory(loaded.memory);
    measured.put("open_bytes_per_row", bytes() as f64 / rows as f64);

    // What follows is a span of time in which nothing happens.
    rest(&running);
    let watch = MemoryWatch::of(running.group());
    let (cpu, began) = (running.group().cpu(), Instant::now());
    thread::sleep(bench.plan.idle);
    let used = running.group().cpu().saturating_sub(cpu);
    measured.put(
        "idle_cpu_percent",
        used.as_secs_f64() / began.elapsed().as_secs_f64() * 100.0,
    );
    measured.put("idle_rss_anon_mb", watch.peak().rss_anon_bytes as f64 / 1e6);

    running.client().query("STOP PIPELINE bench.t")?;
    running
        .client()
        .query("ALTER PIPELINE bench.t SET OFFSETS LATEST")?;
    running.client().query("START PIPELINE bench.t")?;
    let began = Instant::now();
    let mut last = Vec::new();
    let mut since = began;
    while since.elapsed() < STEADY && began.elapsed() < STEADY_MAX {
        let now = segments(&tables);
        if now != last {
            (last, since) = (now, Instant::now());
        }
        thread::sleep(SETTLE_POLL);
    }
    measured.put("sealed_bytes_per_row", bytes() as f64 / rows as f64);
    measured.checked = check("pinleaf", &mut running, topics)?;
    Box::new(running).stop()?;
    Ok((measured, about))
}

/// Every file below, with what it takes on disk.
fn segments(dir: &Path) -> Vec<(PathBuf, u64)> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                // Its length, and not the blocks that are allocated ahead of it.
                Ok(metadata) => found.push((entry.path(), metadata.size())),
                Err(_) => {}
            }
        }
    }
    found.sort();
    found
}
