//! Faults of the machine under one node: syncs, writes, opens and renames that fail, a wall clock that jumps
//! (a library preloaded into it), and a small file system of its own.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::node::Node;

/// The layout that `peers/faults.c` states.
const CONTROL_BYTES: u64 = 4_096;
const CLOCK_AT: u64 = 0;
const FOLDER_AT: u64 = 40;

/// What a broken device does to the segments below one folder; each with the byte of its switch, behind which
/// stands how often it happened, and what the switch is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A sync fails.
    Sync,
    /// A write fails, and nothing of it is in the file.
    Write,
    /// A write fails, and half of it is in the file.
    WriteHalfDone,
    /// A write takes half of what it was given, and says so.
    WriteShort,
    /// Opening a file fails, be it there or to be made.
    Open,
    /// Renaming a file fails.
    Rename,
}

impl Fault {
    const fn switch(self) -> (u64, u32) {
        match self {
            Fault::Sync => (8, 1),
            Fault::Write => (16, 1),
            Fault::WriteHalfDone => (16, 2),
            Fault::WriteShort => (16, 3),
            Fault::Open => (24, 1),
            Fault::Rename => (32, 1),
        }
    }
}

/// The faults of one node.
pub struct Faults {
    control: File,
}

impl Faults {
    /// Compiles the library below `dir` and has each process of the node from now on load it.
    pub fn of_node(dir: &Path, node: &mut Node) -> Faults {
        let (library, path) = (dir.join("faults.so"), dir.join("faults"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/faults.c");
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .status();
        assert!(compiled.expect("a C compiler").success());
        let control = File::create_new(&path).unwrap();
        control.set_len(CONTROL_BYTES).unwrap();
        node.set_environment("LD_PRELOAD", &library);
        node.set_environment("PINLEAF_FAULTS", &path);
        Faults { control }
    }

    /// From now on it befalls each segment below `folder`, with `EIO`.
    pub fn begin(&self, fault: Fault, folder: &Path) {
        let mut name = folder.as_os_str().as_encoded_bytes().to_vec();
        name.push(0);
        self.control.write_all_at(&name, FOLDER_AT).unwrap();
        let (at_byte, value) = fault.switch();
        self.put(at_byte, &value.to_ne_bytes());
    }

    /// It befalls none any more.
    pub fn mend(&self, fault: Fault) {
        self.put(fault.switch().0, &0_u32.to_ne_bytes());
    }

    /// How often it happened so far.
    pub fn times(&self, fault: Fault) -> u32 {
        let mut count = [0; 4];
        let at_byte = fault.switch().0 + 4;
        self.control.read_exact_at(&mut count, at_byte).unwrap();
        u32::from_ne_bytes(count)
    }

    /// The wall clock is so many seconds ahead of the machine's, or behind.
    pub fn set_clock_ahead(&self, seconds: i64) {
        let ahead_ns = seconds * 1_000_000_000;
        self.put(CLOCK_AT, &ahead_ns.to_ne_bytes());
    }

    fn put(&self, at_byte: u64, bytes: &[u8]) {
        self.control.write_all_at(bytes, at_byte).unwrap();
    }
}

/// A file system of its own on a folder, for as long as the value lives. Needs root.
pub struct Mount {
    folder: PathBuf,
}

impl Mount {
    /// In memory.
    pub fn tmpfs(folder: &Path, mib: u64) -> Mount {
        fs::create_dir_all(folder).unwrap();
        run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "none"])
            .arg(folder));
        Mount {
            folder: folder.to_owned(),
        }
    }

    /// ext4 on a loop device over the file `image`.
    pub fn ext4(folder: &Path, image: &Path, mib: u64) -> Mount {
        fs::create_dir_all(folder).unwrap();
        File::create(image).unwrap().set_len(mib << 20).unwrap();
        run(Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0"])
            .arg(image));
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([image, folder]));
        Mount {
            folder: folder.to_owned(),
        }
    }

    /// Fills it to the last byte with one more file, which is the path that is answered.
    pub fn fill(&self) -> PathBuf {
        let paths = (0..).map(|number| self.folder.join(format!("ballast{number}")));
        let path = { paths }.find(|path| !path.exists()).unwrap();
        let ballast = File::create(&path).unwrap();
        let mut at_byte = 0;
        let mut bytes = vec![0x5a; 1 << 20];
        while !bytes.is_empty() {
            match ballast.write_at(&bytes, at_byte) {
                Ok(written) if written > 0 => at_byte += written as u64,
                // A smaller piece may have room yet.
                _ => bytes.truncate(bytes.len() / 2),
            }
        }
        // What the file system has taken and has no room for is said here.
        let _ = ballast.sync_all();
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: who still has a file open there keeps it until its end.
        let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
    }
}

fn run(command: &mut Command) {
    let ended = command.output().unwrap();
    assert!(
        ended.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

/// Whether the long runs are wanted.
pub fn is_full_run() -> bool {
    std::env::var("PINLEAF_FULL").is_ok_and(|value| value == "1")
}

/// So long in a full run, so long in the test command.
pub fn lasting(full: Duration, small: Duration) -> Duration {
    if is_full_run() { full } else { small }
}
