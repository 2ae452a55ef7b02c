//! The copy of a configuration for a command, as a file.
//!
//! The copy may contain secrets. It is deleted at the end of the run, and leftovers of killed runs
//! are deleted by the next run. A copy in use is locked by its creator, and locks end with
//! processes.

use std::{
    fs::{File, read_dir, remove_file},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use nix::unistd::geteuid;
use tempfile::TempPath;

const PREFIX: &str = "mirrord-sessions-";
/// Younger copies are kept: they may not be locked yet, or mirrord may be about to read them.
const MIN_AGE: Duration = Duration::from_mins(10);
/// The maximum number of inspected files.
const MAX_FILES: usize = 10_000;

/// A copy that is deleted on drop.
pub(super) struct ConfigCopy {
    pub(super) path: TempPath,
    /// The file is locked while it is open.
    _file: File,
}

/// Writes a file that other users can't read.
pub(super) fn write_copy(extension: &str, text: &str) -> io::Result<ConfigCopy> {
    let folder = std::env::temp_dir();
    remove_stale_copies(&folder, SystemTime::now());
    let mut file = tempfile::Builder::new().prefix(PREFIX).suffix(extension).tempfile_in(folder)?;
    // On a file system without locks, no copy is ever swept.
    let _ = file.as_file().try_lock();
    file.write_all(text.as_bytes())?;
    file.flush()?;
    let (file, path) = file.into_parts();
    Ok(ConfigCopy { path, _file: file })
}

/// Deletes the leftovers of killed runs. Files that can't be deleted are left for the next run.
fn remove_stale_copies(folder: &Path, now: SystemTime) {
    let Ok(entries) = read_dir(folder) else {
        return;
    };
    for entry in entries.take(MAX_FILES).flatten() {
        let has_prefix = entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes());
        // The metadata is that of the entry, not of a link's target.
        let Some(metadata) = has_prefix.then(|| entry.metadata().ok()).flatten() else {
            continue;
        };
        let is_own = metadata.is_file() && metadata.uid() == geteuid().as_raw();
        let age = metadata.modified().ok().and_then(|at| now.duration_since(at).ok());
        if !is_own || age.is_none_or(|age| age < MIN_AGE) {
            continue;
        }
        let path = entry.path();
        if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            let _ = remove_file(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn deletes_leftovers_of_killed_runs() {
        let folder = tempfile::tempdir().unwrap();
        let exists = |name: &str| folder.path().join(name).exists();
        let make = |name: &str, age: Duration| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - age).unwrap();
            file
        };
        let old = MIN_AGE * 2;
        make("mirrord-sessions-left.json", old);
        make("mirrord-sessions-young.json", Duration::ZERO);
        make("another-left.json", old);
        let used = make("mirrord-sessions-used.json", old);
        used.try_lock().unwrap();
        std::fs::create_dir(folder.path().join("mirrord-sessions-folder")).unwrap();
        let elsewhere = folder.path().join("another-left.json");
        std::os::unix::fs::symlink(elsewhere, folder.path().join("mirrord-sessions-link")).unwrap();
        remove_stale_copies(folder.path(), SystemTime::now());
        assert!(!exists("mirrord-sessions-left.json"));
        for name in [
            "mirrord-sessions-young.json",
            "another-left.json",
            "mirrord-sessions-used.json",
            "mirrord-sessions-folder",
            "mirrord-sessions-link",
        ] {
            assert!(exists(name), "{name}");
        }
        // The lock ends with the run.
        drop(used);
        // A command of another test may have inherited the open file until it is started.
        let start = Instant::now();
        while exists("mirrord-sessions-used.json") {
            assert!(start.elapsed() < Duration::from_mins(1), "the unlocked copy was not deleted");
            remove_stale_copies(folder.path(), SystemTime::now());
        }
        remove_stale_copies(Path::new("/nowhere/at-all"), SystemTime::now());
    }
}
