//! Text files that a configuration leads to: read whole and bounded, whatever the path leads to. A file and
//! nothing else: some are read when they are looked at and again when they are used.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The file's text, of at most `bytes_max` bytes.
///
/// # Errors
/// What is wrong, to be put behind "cannot be read: ".
pub(super) fn read(path: &Path, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    // A pipe that nobody writes to must not hold the start up.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| error.to_string())?;
    let found = file.metadata().map_err(|error| error.to_string())?;
    if !found.is_file() && !found.is_dir() {
        return Err("it is not a regular file".into());
    }
    file.take(bytes_max + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("it is longer than {bytes_max} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("it is not UTF-8 text, at byte {at}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("f");
        std::fs::write(&path, "four").expect("written");
        assert_eq!(read(&path, 4), Ok("four".into()));
        assert_eq!(read(&path, 3), Err("it is longer than 3 bytes".into()));
        std::fs::write(&path, [b'a', 0xff]).expect("written");
        assert_eq!(
            read(&path, 4),
            Err("it is not UTF-8 text, at byte 1".into())
        );
        let folder = read(folder.path(), 4);
        assert_eq!(folder, Err("Is a directory (os error 21)".into()));
        // Neither what never ends nor what nobody writes to is waited for.
        let pipe = path.with_extension("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo").success());
        for path in [Path::new("/dev/zero"), &pipe] {
            assert_eq!(read(path, 4), Err("it is not a regular file".into()));
        }
    }
}
