//! The way out of a leaf partition's directory: what is damaged goes to quarantine and leaves a hole,
//! what is not ours goes to the orphans.

use std::ffi::OsString;
use std::io::IoSlice;
use std::path::{Path, PathBuf};

use super::name::{bridge_path, hole_path};
use crate::disk::{Disk, DiskAction, DiskError};
use crate::format::{Hole, SegmentId, encode_hole};
use crate::limits::HOLE_NAME_BYTES_MAX;
use crate::planted::{Rule, out};

/// Moves a damaged segment to the quarantine, with its reason beside it, and leaves its hole; returns
/// that with the name in quarantine.
///
/// The hole is durable, name and all, before the file goes: a crash anywhere leaves the file, or the hole,
/// or both, and never neither.
///
/// # Errors
/// The disk's; the file is then where it was, or its new name is in doubt and its hole is not.
pub fn quarantine(
    disk: &dyn Disk,
    path: &Path,
    quarantine: &Path,
    hole: Hole,
) -> Result<Hole, DiskError> {
    let name = free_name(disk, path, quarantine)?;
    if name.len() > HOLE_NAME_BYTES_MAX {
        return Err(DiskError::new(path, DiskAction::Rename, libc::ENAMETOOLONG));
    }
    let reason_path = quarantine.join(format!("{name}.reason.txt"));
    let text = format!("{}: {}\n", path.display(), hole.reason);
    let told = disk
        .unlink(&reason_path)
        .and_then(|()| disk.create(&reason_path))
        .and_then(|file| {
            file.write_at(&[IoSlice::new(text.as_bytes())], 0)?;
            file.sync()
        });
    if let Err(error) = told {
        // On a full disk the file goes all the same: the log has the reason too.
        tracing::error!(%error, hole.reason, "a quarantine without its reason");
    }
    let hole = Hole {
        moved_to: name,
        ..hole
    };
    if !out(Rule::HoleWritten) {
        write_hole(disk, path, &hole)?;
    }
    move_to(disk, path, quarantine, &hole.moved_to)?;
    Ok(hole)
}

/// A new file, never an earlier process's: what that left in the cache proves nothing.
fn write_hole(disk: &dyn Disk, path: &Path, hole: &Hole) -> Result<(), DiskError> {
    let directory = path.parent().unwrap_or(path);
    let SegmentId {
        sequence, rewrite, ..
    } = hole.id;
    let hole_path = hole_path(directory, sequence, rewrite);
    disk.unlink(&bridge_path(directory, sequence, rewrite))?;
    disk.unlink(&hole_path)?;
    let file = disk.create(&hole_path)?;
    file.write_at(&[IoSlice::new(&encode_hole(hole))], 0)?;
    if !out(Rule::HoleSynced) {
        file.sync()?;
    }
    if !out(Rule::HoleNameSynced) {
        disk.sync_directory(directory)?;
    }
    Ok(())
}

/// Moves what is not ours, under a name that says where it lay; returns where it is now.
///
/// # Errors
/// The disk's; it is then where it was.
pub fn move_away(disk: &dyn Disk, path: &Path, directory: &Path) -> Result<PathBuf, DiskError> {
    let name = free_name(disk, path, directory)?;
    move_to(disk, path, directory, &name)
}

/// A name that is not taken in `directory`, which is made: the path's last three parts, then a number.
///
/// What is moved into it is gone from where it lay, so its own name is durable first: also one that an
/// earlier process made.
fn free_name(disk: &dyn Disk, path: &Path, directory: &Path) -> Result<String, DiskError> {
    disk.make_directory(directory)?;
    if let Some(parent) = directory.parent() {
        disk.sync_directory(parent)?;
    }
    let parts: Vec<String> = path
        .iter()
        .rev()
        .take(3)
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    let stem = parts.iter().rev().cloned().collect::<Vec<_>>().join("-");
    let taken: Vec<OsString> = disk.list(directory)?.into_iter().map(|e| e.name).collect();
    let name = (0u32..)
        .map(|n| match n {
            0 => stem.clone(),
            n => format!("{stem}.{n}"),
        })
        .find(|name| !taken.iter().any(|taken| taken == name.as_str()));
    Ok(name.unwrap_or(stem))
}

/// Renames, and syncs both directories.
fn move_to(
    disk: &dyn Disk,
    path: &Path,
    directory: &Path,
    name: &str,
) -> Result<PathBuf, DiskError> {
    let target = directory.join(name);
    disk.rename(path, &target)?;
    disk.sync_directory(directory)?;
    if let Some(parent) = path.parent() {
        disk.sync_directory(parent)?;
    }
    Ok(target)
}
