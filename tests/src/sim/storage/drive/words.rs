//! Disk operations and their outcomes, in words.

use std::path::Path;

use storage::disk::{DiskDone, DiskOp};

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(super) fn words(op: &DiskOp) -> String {
    match op {
        DiskOp::Recover(_) => "recover".to_owned(),
        DiskOp::Create(create) => format!(
            "create {}, prev {:?}",
            name(&create.path),
            create.header.prev
        ),
        DiskOp::Write(write) => format!(
            "write {} at {}: commit {} of {}..{}, durable end {}",
            name(write.file.path()),
            write.at_byte,
            write.facts.commit_number,
            write.facts.first_offset,
            write.facts.next_offset,
            write.durable_end
        ),
        DiskOp::Sync {
            file, directory, ..
        } => format!(
            "sync {}{}",
            name(file.path()),
            if directory.is_some() {
                " and its name"
            } else {
                ""
            }
        ),
        DiskOp::Seal { sequence, .. } => format!("seal {sequence}"),
        DiskOp::Merge(merge) => {
            format!("merge of {} into {:?}", merge.inputs.len(), merge.header.id)
        }
        DiskOp::Unlink { paths } => {
            format!(
                "unlink {:?}",
                paths.iter().map(|path| name(path)).collect::<Vec<_>>()
            )
        }
        DiskOp::Quarantine { path, hole, .. } => {
            format!("quarantine {} with {}", name(path), hole.offsets())
        }
        DiskOp::CloseHoles(holes) => format!(
            "close holes {:?}, bridges {:?}",
            holes
                .unlink
                .iter()
                .map(|path| name(path))
                .collect::<Vec<_>>(),
            holes
                .rename
                .iter()
                .map(|(_, to)| name(to))
                .collect::<Vec<_>>()
        ),
        DiskOp::Drop { .. } => "drop".to_owned(),
    }
}

pub(super) fn outcome(done: &DiskDone) -> String {
    fn said<T, E: std::fmt::Debug>(what: String, result: &Result<T, E>) -> String {
        match result {
            Ok(_) => format!("{what}: done"),
            Err(error) => format!("{what}: {error:?}"),
        }
    }
    match done {
        DiskDone::Recovered(result) => said("recovery".to_owned(), result),
        DiskDone::Created { sequence, result } => said(format!("create {sequence}"), result),
        DiskDone::Written { sequence, result } => said(format!("write to {sequence}"), result),
        DiskDone::Synced {
            sequence, result, ..
        } => said(format!("sync of {sequence}"), result),
        DiskDone::Sealed { sequence, result } => said(format!("seal of {sequence}"), result),
        DiskDone::Merged(result) => said("merge".to_owned(), result),
        DiskDone::Unlinked(result) => said("unlink".to_owned(), result),
        DiskDone::Quarantined { result, .. } => said("quarantine".to_owned(), result),
        DiskDone::HolesClosed { result, .. } => said("close holes".to_owned(), result),
        DiskDone::Dropped(result) => said("drop".to_owned(), result),
    }
}
