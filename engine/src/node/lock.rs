//! The data directory's lock: one process at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// The lock, held until it is dropped; the kernel drops it when the process ends, however it ends.
pub struct Lock {
    _file: File,
}

const MEND: &str = "name a data_dir that this user may write to";

/// Creates the data directory where it is missing (0700) and takes `LOCK` in it.
///
/// # Errors
/// One line: who holds it, or what the kernel said.
pub fn take(data_dir: &Path) -> Result<Lock, String> {
    let shown = data_dir.display();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(|error| format!("data_dir {shown} cannot be made: {error}; {MEND}"))?;
    let path = data_dir.join("LOCK");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(|error| format!("{} cannot be opened: {error}; {MEND}", path.display()))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Who holds it is a courtesy: without it the message still stands.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() {
                String::new()
            } else {
                format!(" (process {holder})")
            };
            return Err(format!(
                "data_dir {shown} is held by another process{holder}; stop it or name another data_dir"
            ));
        }
        Err(TryLockError::Error(error)) => {
            return Err(format!("{} cannot be locked: {error}", path.display()));
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    Ok(Lock { _file: file })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_has_one_holder_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().join("a/b");
        let first = take(&data_dir).expect("free");
        let error = take(&data_dir).err().expect("held");
        let expected = format!(
            "data_dir {} is held by another process (process {}); stop it or name another data_dir",
            data_dir.display(),
            std::process::id()
        );
        assert_eq!(error, expected);
        drop(first);
        assert!(take(&data_dir).is_ok());
    }
}
