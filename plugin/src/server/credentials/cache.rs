//! Cache of the answers of credential plugins, for shell completion alone.
//!
//! A plugin may take a second, or ask its user to log in. Completion must do neither on each key, so
//! it uses the last answer of the plugin until that expires. Every other command runs the plugin,
//! like kubectl.
//!
//! The folder is accessible to its owner alone, and so is each file. A file is used for at most an
//! hour, and never after the answer expires.

use std::{
    fs::{self, DirBuilder, File},
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

/// Variable that disables the cache with the value `off`.
const SWITCH: &str = "MIRRORD_SESSIONS_CREDENTIAL_CACHE";
/// Maximum age of a file.
const MAX_AGE: Duration = Duration::from_hours(1);
/// Time before its expiry from which an answer is not used, because a request takes time.
const MARGIN: Duration = Duration::from_secs(10);
/// Size limit of an answer, in bytes.
const MAX_ANSWER: usize = 1 << 16;
/// Maximum number of files.
const MAX_FILES: usize = 32;

/// Folder of cached answers.
#[derive(Clone, Debug)]
pub(super) struct Cache {
    folder: PathBuf,
}

#[derive(Deserialize, Serialize)]
struct Cached {
    /// Settings of the plugin and of the cluster, which must equal those of the request.
    key: String,
    written_at: Timestamp,
    expires_at: Timestamp,
    answer: String,
}

impl Cache {
    /// Returns the cache in kubectl's cache folder, unless it is switched off.
    pub(super) fn find(
        variable: impl Fn(&str) -> Option<String>,
        home: Option<PathBuf>,
    ) -> Option<Self> {
        if variable(SWITCH).is_some_and(|value| value == "off") {
            return None;
        }
        let non_empty = |path: &PathBuf| !path.as_os_str().is_empty();
        let folder = variable("KUBECACHEDIR").map(PathBuf::from).filter(non_empty);
        let folder = folder.or_else(|| Some(home?.join(".kube").join("cache")))?;
        Some(Self { folder: folder.join("mirrord-sessions").join("credentials") })
    }

    fn path(&self, key: &str) -> PathBuf {
        // Two keys with one hash replace each other's answer; `Cached::key` tells them apart.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.folder.join(format!("{:016x}.json", hasher.finish()))
    }

    /// Returns the cached answer of a plugin, if it may still be used.
    pub(super) fn read(&self, key: &str, now: Timestamp) -> Option<String> {
        is_private(&fs::symlink_metadata(&self.folder).ok()?).then_some(())?;
        let file = File::open(self.path(key)).ok()?;
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && is_private(&metadata)).then_some(())?;
        let mut bytes = Vec::new();
        // The key and the escapes of JSON add to the answer.
        file.take(8 * MAX_ANSWER as u64).read_to_end(&mut bytes).ok()?;
        let cached: Cached = serde_json::from_slice(&bytes).ok()?;
        let is_recent = cached.written_at <= now && now < cached.written_at + MAX_AGE;
        let is_valid = now + MARGIN < cached.expires_at;
        (cached.key == key && is_recent && is_valid).then_some(cached.answer)
    }

    /// Stores the answer of a plugin. Failures are ignored, since nothing depends on the cache.
    pub(super) fn write(&self, key: &str, answer: &str, expires_at: Timestamp, now: Timestamp) {
        if expires_at > now + MARGIN && answer.len() <= MAX_ANSWER {
            let cached = Cached {
                key: key.to_owned(),
                written_at: now,
                expires_at,
                answer: answer.to_owned(),
            };
            let _ = self.store(&cached);
        }
    }

    fn store(&self, cached: &Cached) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        if !is_private(&fs::symlink_metadata(&self.folder)?) {
            return Ok(());
        }
        prune(&self.folder);
        // The file has mode 0600 from the beginning.
        let mut file = NamedTempFile::new_in(&self.folder)?;
        file.write_all(serde_json::to_string(cached)?.as_bytes())?;
        file.persist(self.path(&cached.key))?;
        Ok(())
    }

    /// Removes the answer of a plugin.
    pub(super) fn remove(&self, key: &str) {
        let _ = fs::remove_file(self.path(key));
    }
}

/// Returns whether only this user has access.
fn is_private(metadata: &fs::Metadata) -> bool {
    const OTHERS: u32 = 0o077;
    metadata.uid() == geteuid().as_raw() && metadata.mode() & OTHERS == 0
}

/// Removes old files, and the oldest of too many.
fn prune(folder: &Path) {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(SystemTime, PathBuf)> = files
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort_unstable_by(|a, b| b.cmp(a));
    for (at, (modified, path)) in files.iter().enumerate() {
        let age = modified.elapsed().unwrap_or_default();
        if age > MAX_AGE || at + 1 >= MAX_FILES {
            let _ = fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn at(time: &str) -> Timestamp {
        format!("2026-01-01T{time}Z").parse().unwrap()
    }

    #[test]
    fn answers_are_used_until_they_expire() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::find(|_| None, Some(folder.path().to_owned())).unwrap();
        let (expiry, written) = (at("12:00:00"), at("11:30:00"));
        // (expiry, time of the read, key of the read, expected)
        let cases = [
            (expiry, "11:30:00", "key", true),
            (expiry, "11:59:49", "key", true),
            (expiry, "11:59:50", "key", false),
            (expiry, "12:00:01", "key", false),
            (expiry, "11:29:59", "key", false),
            (expiry, "11:30:00", "other", false),
            (at("18:00:00"), "12:29:59", "key", true),
            (at("18:00:00"), "12:30:00", "key", false),
            (at("11:30:05"), "11:30:00", "key", false),
        ];
        for (expiry, time, key, expected) in cases {
            cache.remove("key");
            cache.write("key", "answer", expiry, written);
            let found = cache.read(key, at(time));
            assert_eq!(found.is_some(), expected, "{expiry} {time} {key}");
        }
        cache.write("key", &"x".repeat(MAX_ANSWER + 1), at("18:00:00"), at("12:30:00"));
        assert_eq!(cache.read("key", at("12:30:00")), None, "a large answer");
    }

    #[test]
    fn files_are_private_and_few() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::find(|_| None, Some(home.path().to_owned())).unwrap();
        let (expiry, now) = (at("12:00:00"), at("11:30:00"));
        for n in 0..2 * MAX_FILES {
            cache.write(&n.to_string(), "answer", expiry, now);
        }
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&cache.folder), 0o700);
        let files: Vec<_> = fs::read_dir(&cache.folder).unwrap().flatten().collect();
        assert!(files.len() <= MAX_FILES, "{}", files.len());
        assert!(files.iter().all(|file| mode(&file.path()) == 0o600));

        // Others may have changed the folder or the file.
        let last = (2 * MAX_FILES - 1).to_string();
        assert!(cache.read(&last, now).is_some());
        for path in [cache.folder.clone(), cache.path(&last)] {
            let before = fs::metadata(&path).unwrap().permissions();
            let open = fs::Permissions::from_mode(before.mode() | 0o044);
            fs::set_permissions(&path, open).unwrap();
            assert_eq!(cache.read(&last, now), None, "{}", path.display());
            fs::set_permissions(&path, before).unwrap();
        }
        assert!(cache.read(&last, now).is_some());
    }

    #[test]
    fn follows_the_cache_folder_of_kubectl() {
        let folder = |variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            Cache::find(variable, Some("/home/u".into())).map(|cache| cache.folder)
        };
        for (variables, expected) in [
            (&[][..], Some("/home/u/.kube/cache/mirrord-sessions/credentials")),
            (&[("KUBECACHEDIR", "/c")], Some("/c/mirrord-sessions/credentials")),
            (&[("KUBECACHEDIR", "")], Some("/home/u/.kube/cache/mirrord-sessions/credentials")),
            (&[(SWITCH, "off")], None),
        ] {
            assert_eq!(folder(variables), expected.map(PathBuf::from), "{variables:?}");
        }
    }
}
