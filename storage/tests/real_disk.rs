//! The kernel's disk keeps the promises of [`storage::disk::Disk`], and its errors name the file.

use std::ffi::OsString;
use std::fs;
use std::io::IoSlice;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use storage::disk::{Disk, DiskAction, DiskError, DiskFault, RealDisk};
use storage::error::StorageError;
use storage::map::{Map, Pages};

/// An empty directory, its own for each test.
fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

fn refused<T>(result: Result<T, DiskError>) -> DiskError {
    match result {
        Ok(_) => panic!("it must be refused"),
        Err(error) => error,
    }
}

#[test]
fn create_is_exclusive_and_what_it_makes_is_its_owners_alone() {
    let path = directory("real-create").join("1.0.arrow");
    let file = RealDisk.create(&path).expect("created");
    assert_eq!((file.path(), file.bytes()), (path.as_path(), Ok(0)));
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&path) & 0o077, 0);
    file.write_at(&[IoSlice::new(b"first")], 0)
        .expect("written");
    let error = refused(RealDisk.create(&path));
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Exists, DiskAction::Create)
    );
    assert_eq!(error.path, path);
    let text = format!(
        "{}: create failed: File exists (os error 17)",
        path.display()
    );
    assert_eq!(error.to_string(), text);
    assert_eq!(
        fs::read(&path).expect("there"),
        b"first",
        "the first one's bytes"
    );
    let nested = path.with_file_name("a").join("b");
    RealDisk.make_directory(&nested).expect("with its parents");
    RealDisk.make_directory(&nested).expect("again");
    assert_eq!(mode(&nested) & 0o077, 0);
}

#[test]
fn what_is_written_is_read_as_far_as_the_file_goes() {
    let path = directory("real-write").join("file");
    let file = RealDisk.create(&path).expect("created");
    // More slices than one call takes, empty ones among them.
    let parts: Vec<Vec<u8>> = (0..3_000_u32)
        .map(|n| vec![n as u8; (n % 4) as usize])
        .collect();
    let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    file.write_at(&slices, 10).expect("written");
    let all = parts.concat();
    let mut read = vec![0xee; all.len() + 100];
    assert_eq!(file.read_at(&mut read, 10), Ok(all.len()));
    assert_eq!(&read[..all.len()], all);
    assert_eq!(file.bytes(), Ok(10 + all.len() as u64));
    assert_eq!(file.read_at(&mut read, 1 << 40), Ok(0));
    assert_eq!(file.write_at(&[], 0), Ok(()));
    file.sync().expect("synced");
    let again = RealDisk.open(&path).expect("opened");
    let mut head = [0xee; 10];
    assert_eq!((again.read_at(&mut head, 0), head), (Ok(10), [0; 10]));
}

#[test]
fn a_full_disk_is_told_from_every_other_failure() {
    let full = RealDisk.open(Path::new("/dev/full")).expect("there");
    let error = refused(full.write_at(&[IoSlice::new(b"x")], 0));
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Full, DiskAction::Write)
    );
    assert!(error.is_full());
    let text = "/dev/full: write failed: No space left on device (os error 28)";
    assert_eq!(error.to_string(), text);
    assert!(RealDisk.free_bytes(&directory("real-free")).expect("asked") > 0);
    let error = refused(RealDisk.free_bytes(Path::new("/nonexistent/x")));
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Missing, DiskAction::FreeSpace)
    );
}

/// A device that neither syncs nor reserves, and memory that is not there.
#[test]
fn what_the_kernel_refuses_is_an_error_and_not_asked_again() {
    let full = RealDisk.open(Path::new("/dev/full")).expect("there");
    assert_eq!(refused(full.sync()).doing, DiskAction::Sync);
    assert_eq!(refused(full.allocate(0, 1)).doing, DiskAction::Allocate);
    let memory = RealDisk.open(Path::new("/proc/self/mem")).expect("Linux");
    let error = refused(memory.read_at(&mut [0; 8], 0));
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Refused, DiskAction::Read)
    );
    let text = "/proc/self/mem: read failed: Input/output error (os error 5)";
    assert_eq!(error.to_string(), text);
}

#[test]
fn space_is_reserved_without_a_length_and_given_back_by_a_cut() {
    let path = directory("real-allocate").join("file");
    let file = RealDisk.create(&path).expect("created");
    file.write_at(&[IoSlice::new(&[7; 5_000])], 0)
        .expect("written");
    file.allocate(0, 1 << 20)
        .expect("reserved, or a file system that cannot");
    assert_eq!(file.bytes(), Ok(5_000), "the length stays");
    let blocks = |path: &Path| fs::metadata(path).expect("there").blocks() * 512;
    let (here, other) = (blocks(&path), path.with_file_name("other"));
    let asked = fs::File::create(&other).and_then(|file| {
        let keep = FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(&file, keep, 0, 1 << 20).map_err(Into::into)
    });
    assert!(asked.is_err() || here >= blocks(&other), "{here} bytes");
    file.truncate(4_096).expect("cut");
    assert_eq!(file.bytes(), Ok(4_096));
    let kept = blocks(&path);
    assert!(kept <= 64 << 10, "{kept} bytes are kept");
    let mut read = [0; 8];
    assert_eq!(file.read_at(&mut read, 4_090), Ok(6));
    file.truncate(8_192).expect("longer");
    assert_eq!((file.read_at(&mut read, 4_096), read), (Ok(8), [0; 8]));
}

#[test]
fn names_come_change_and_go_and_going_can_be_repeated() {
    let here = directory("real-names");
    let (one, two, below) = (here.join("one"), here.join("two"), here.join("below"));
    let file = RealDisk.create(&one).expect("created");
    file.write_at(&[IoSlice::new(b"one")], 0).expect("written");
    RealDisk.create(&two).expect("created");
    RealDisk.make_directory(&below).expect("made");
    let mut names: Vec<(OsString, bool)> = RealDisk
        .list(&here)
        .expect("listed")
        .into_iter()
        .map(|entry| (entry.name, entry.is_directory))
        .collect();
    names.sort();
    let expected = [("below", true), ("one", false), ("two", false)];
    assert_eq!(names, expected.map(|(name, is)| (name.into(), is)));
    RealDisk
        .rename(&one, &two)
        .expect("it replaces what is there");
    assert_eq!(fs::read(&two).expect("there"), b"one");
    let error = refused(RealDisk.rename(&one, &two));
    assert_eq!(
        (error.fault, error.doing),
        (DiskFault::Missing, DiskAction::Rename)
    );
    assert_eq!(error.path, one);
    RealDisk.sync_directory(&here).expect("synced");
    let error = refused(RealDisk.unlink(&below));
    assert_eq!(
        (error.doing, error.path.as_path()),
        (DiskAction::Unlink, below.as_path())
    );
    let error = refused(RealDisk.remove_directory(&here));
    assert_eq!(
        (error.fault, error.path.as_path()),
        (DiskFault::Refused, here.as_path())
    );
    for _ in 0..2 {
        RealDisk.unlink(&two).expect("gone, also when it was");
        RealDisk
            .remove_directory(&below)
            .expect("gone, also when it was");
    }
    RealDisk.remove_directory(&here).expect("it is empty");
    for error in [
        refused(RealDisk.list(&here)),
        refused(RealDisk.open(&two)),
        refused(RealDisk.sync_directory(&here)),
        refused(RealDisk.pages(&two, 0)),
    ] {
        assert_eq!(error.fault, DiskFault::Missing, "{error}");
        assert!(
            error.to_string().starts_with(&here.display().to_string()),
            "{error}"
        );
    }
}

#[test]
fn a_link_out_of_the_directory_is_not_followed() {
    let here = directory("real-link");
    let (outside, link) = (here.join("outside"), here.join("1.0.arrow"));
    fs::write(&outside, "somebody's").expect("written");
    symlink(&outside, &link).expect("linked");
    let error = refused(RealDisk.open(&link));
    assert_eq!(
        (error.fault, error.path.as_path()),
        (DiskFault::Refused, link.as_path())
    );
    assert_eq!(refused(RealDisk.create(&link)).fault, DiskFault::Exists);
    RealDisk.unlink(&link).expect("the link");
    assert_eq!(fs::read(&outside).expect("there"), b"somebody's");
}

/// Descriptors of this process that are of this file.
fn descriptors(path: &Path) -> usize {
    let entries = fs::read_dir("/proc/self/fd").expect("Linux");
    let of = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
    let links = entries.flatten().filter_map(of);
    links.filter(|link| link == path).count()
}

#[test]
fn a_map_keeps_a_descriptor_only_while_its_file_may_grow() {
    let path = directory("real-descriptors").join("file");
    fs::write(&path, [7; 100]).expect("written");
    let open = |bytes_max| Map::open(&path, bytes_max).expect("a map");
    for whole in [open(0), open(99), open(100)] {
        assert_eq!(descriptors(&path), 0, "{whole:?}");
    }
    let growing = open(101);
    assert_eq!(descriptors(&path), 1);
    growing.sealed(100);
    assert_eq!(descriptors(&path), 0);
    let shown = growing.buffer(0, 100).expect("all of it");
    assert_eq!(shown.as_slice(), [7; 100]);
    assert!(growing.buffer(1, 100).is_err());
}

/// A page that cannot be brought into memory is an error of the read-ahead and no SIGBUS of whoever reads then.
#[test]
fn reading_ahead_asks_the_disk() {
    let path = directory("real-ahead").join("file");
    // As large as any page.
    let page = 64 << 10;
    fs::write(&path, vec![7; 2 * page]).expect("written");
    let map = Map::open(&path, 0).expect("a map");
    assert!(map.prefetch(0, 2 * page).is_ok() && map.prefetch(9, 0).is_ok());
    let file = fs::File::options().write(true).open(&path);
    file.and_then(|file| file.set_len(page as u64))
        .expect("cut");
    assert!(map.prefetch(0, page).is_ok());
    let error = map.prefetch(page as u64, page).expect_err("it is gone");
    let doing = DiskAction::Prefetch;
    assert!(
        matches!(&error, StorageError::Disk { doing: found, .. } if *found == doing),
        "{error}"
    );
}
