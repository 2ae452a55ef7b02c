//! With a shell script in place of Go.

use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use super::*;

const BUILDS: &str = r#"
case $1 in
version) ;;
mod) [ "$2" = tidy ] || { echo 'module k8s.io/kubernetes' >"$PWD/theirs"; echo "{\"GoMod\": \"$PWD/theirs\"}"; } ;;
build) echo "$*" >>"$0.log"; printf '#!/bin/sh\n' >"$6" && chmod +x "$6" ;;
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

    /// Everything beside the cache folder and in it, but the lock.
    fn left(&self) -> Vec<String> {
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

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("go.log")).unwrap_or_default()
    }
}

#[test]
fn programs_appear_and_nothing_else() {
    let fixture = Fixture::new(BUILDS);
    fs::create_dir_all(fixture.cache.with_file_name("this.building-dead")).unwrap();
    fs::create_dir_all(&fixture.cache).unwrap();
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(
        fixture.left(),
        ["etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "this"]
    );
    assert_eq!(fixture.log().lines().count(), 4);
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(fixture.log().lines().count(), 4, "built once");
}

#[test]
fn only_what_is_missing_is_built() {
    let fixture = Fixture::new(BUILDS);
    fixture.builder().build(&[Program::KubeControllerManager]).unwrap();
    assert_eq!(fixture.left(), ["kube-controller-manager", "this"]);
    fixture.builder().build(&Program::ALL).unwrap();
    assert_eq!(fixture.log().lines().count(), 4);
}

#[test]
fn a_failure_shows_what_go_said_and_leaves_nothing() {
    let fixture = Fixture::new("[ $1 = version ] || { echo 'go: no such host' >&2; exit 1; }");
    let error = fixture.builder().build(&[Program::Etcd]).unwrap_err().to_string();
    assert!(error.contains("fetching modules of etcd failed (exit status: 1)"), "{error}");
    assert!(error.ends_with("go: no such host"), "{error}");
    assert_eq!(fixture.left(), [""; 0]);
}

#[test]
fn without_go_the_error_says_so() {
    let fixture = Fixture::new("");
    let go = fixture.folder.path().join("nowhere/go");
    let error = Builder { cache: &fixture.cache, go }.build(&[Program::Etcd]).unwrap_err();
    assert!(matches!(error, Error::NoGo { missing } if missing == [Program::Etcd]));
}

#[test]
fn two_at_once_build_once() {
    let fixture = Fixture::new(BUILDS);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| fixture.builder().build(&Program::ALL).unwrap());
        }
    });
    assert_eq!(fixture.log().lines().count(), 4);
}

#[test]
fn the_one_who_waits_gets_the_lock_when_the_other_ends() {
    let fixture = Fixture::new(BUILDS);
    fs::create_dir_all(fixture.cache.parent().unwrap()).unwrap();
    let lock = fixture.builder().lock().unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let asked = Instant::now();
            let _lock = fixture.builder().lock().unwrap();
            asked.elapsed()
        });
        sleep(POLL * 2);
        assert!(!waiting.is_finished(), "the lock is ours");
        drop(lock);
        assert!(waiting.join().unwrap() >= POLL);
    });
}
