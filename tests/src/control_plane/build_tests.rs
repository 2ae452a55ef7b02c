//! Unit tests of the builder, with a shell script in place of Go.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

const SUCCESSFUL_GO: &str = r#"
case $1 in
version) ;;
mod) [ "$2" = tidy ] || { echo 'module k8s.io/kubernetes' >"$PWD/theirs"; echo "{\"GoMod\": \"$PWD/theirs\"}"; } ;;
build) echo "$*" >>"$0.log"; printf '#!/bin/sh\n' >"$7" && chmod +x "$7" ;;
esac
"#;

struct Fixture {
    folder: tempfile::TempDir,
    cache: PathBuf,
}

impl Fixture {
    fn new(go: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("go");
        fs::write(&path, format!("#!/bin/sh\n{go}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let cache = folder.path().join("caches/this");
        Self { folder, cache }
    }

    fn builder(&self) -> Builder<'_> {
        let go = self.folder.path().join("go");
        Builder { cache: &self.cache, go }
    }

    /// Lists the entries of the cache folder and of its parent, except for the lock.
    fn list_entries(&self) -> Vec<String> {
        let mut names: Vec<_> = [self.cache.parent().unwrap(), &self.cache]
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "this.lock")
            .collect();
        names.sort();
        names
    }

    fn build_log(&self) -> String {
        fs::read_to_string(self.folder.path().join("go.log")).unwrap_or_default()
    }
}

#[test]
fn caches_programs_and_removes_everything_else() {
    let fixture = Fixture::new(SUCCESSFUL_GO);
    fs::create_dir_all(fixture.cache.with_file_name("this.building-dead")).unwrap();
    fs::create_dir_all(&fixture.cache).unwrap();
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(
        fixture.list_entries(),
        ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "this"]
    );
    assert_eq!(fixture.build_log().lines().count(), 4);
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(fixture.build_log().lines().count(), 4, "a cached program was built again");
}

#[test]
fn builds_only_missing_programs() {
    let fixture = Fixture::new(SUCCESSFUL_GO);
    fixture.builder().build(&[Program::KubeControllerManager]).unwrap();
    assert_eq!(fixture.list_entries(), ["kube-controller-manager", "this"]);
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(fixture.build_log().lines().count(), 4);
}

#[test]
fn failure_quotes_go_and_removes_the_build_folder() {
    let fixture = Fixture::new("[ $1 = version ] || { echo 'go: no such host' >&2; exit 1; }");
    let error = fixture.builder().build(&[Program::Etcd]).unwrap_err().to_string();
    assert!(
        error.contains("downloading the dependencies of etcd failed (exit status: 1)"),
        "{error}"
    );
    assert!(error.ends_with("go: no such host"), "{error}");
    assert_eq!(fixture.list_entries(), [""; 0]);
}

#[test]
fn missing_go_is_reported_with_the_missing_programs() {
    let fixture = Fixture::new("");
    let go = fixture.folder.path().join("nowhere/go");
    let error = Builder { cache: &fixture.cache, go }.build(&[Program::Etcd]).unwrap_err();
    assert!(matches!(error, Error::NoGo { missing } if missing == [Program::Etcd]));
}

#[test]
fn concurrent_builds_build_once() {
    let fixture = Fixture::new(SUCCESSFUL_GO);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.builder().build(&Program::ALL).unwrap());
        }
    });
    assert_eq!(fixture.build_log().lines().count(), 4);
}

#[test]
fn waits_for_the_lock_until_its_holder_releases_it() {
    let fixture = Fixture::new(SUCCESSFUL_GO);
    fs::create_dir_all(fixture.cache.parent().unwrap()).unwrap();
    let lock = fixture.builder().lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let started = Instant::now();
            let _lock = fixture.builder().lock().unwrap();
            started.elapsed()
        });
        sleep(POLL_INTERVAL * 2);
        assert!(!waiting.is_finished(), "two builders held the lock");
        drop(lock);
        assert!(waiting.join().unwrap() >= POLL_INTERVAL);
    });
}

#[test]
fn activity_names_the_latest_line_of_the_log() {
    for (log, expected) in [
        ("", "building etcd"),
        ("go: downloading a v1\ngo: downloading b v2", "building etcd: downloading b v2"),
        ("k8s.io/api/core/v1", "building etcd: k8s.io/api/core/v1"),
    ] {
        assert_eq!(activity("building etcd", log), expected);
    }
}
