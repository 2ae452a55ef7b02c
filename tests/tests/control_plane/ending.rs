//! How it ends, and how a build does.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mirrord_sessions_tests::control_plane::ControlPlane;

use crate::shared;

#[track_caller]
fn eventually<T: PartialEq + Debug>(what: &str, expected: &T, mut now: impl FnMut() -> T) {
    let since = Instant::now();
    loop {
        let is = now();
        if is == *expected {
            return;
        }
        assert!(since.elapsed() < Duration::from_secs(30), "{what}: {is:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes that live and name the folder in their arguments.
fn processes_of(folder: &Path) -> BTreeSet<String> {
    let folder = folder.to_str().unwrap();
    let is_ours = |line: &&str| line.contains(folder);
    let Ok(entries) = std::fs::read_dir("/proc") else {
        let all = Command::new("ps").args(["-A", "-o", "args="]).output().unwrap();
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        return all.lines().filter(is_ours).map(str::to_owned).collect();
    };
    // The arguments of one that has ended, and waits to be reaped, are empty.
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| is_ours(&line.as_str()))
        .collect()
}

#[track_caller]
fn assert_gone(folder: &Path) {
    eventually("processes left", &BTreeSet::new(), || processes_of(folder));
    eventually("folder left", &false, || folder.exists());
}

/// The program `control-plane`, once it has printed where its kubeconfig is.
struct Running {
    child: Child,
    folder: PathBuf,
}

impl Running {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_control-plane"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let kubeconfig = line.trim().strip_prefix("export KUBECONFIG='").unwrap();
        let kubeconfig = Path::new(kubeconfig.strip_suffix('\'').unwrap());
        assert!(kubeconfig.exists(), "{line}");
        let folder = kubeconfig.parent().unwrap().to_owned();
        Self { child, folder }
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent =
            Command::new("/bin/sh").args(["-c", r#"kill -s "$0" "$1""#, signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
}

#[test]
fn what_was_adopted_ends_too() {
    let plane = ControlPlane::start_with(shared().assets()).unwrap();
    let mut adopted = Command::new("sleep").arg("600").spawn().unwrap();
    plane.adopt(&adopted).unwrap();
    let folder = plane.folder().to_owned();
    assert_eq!(processes_of(&folder).len(), 4, "three servers and the keeper");
    drop(plane);
    assert_eq!(processes_of(&folder), BTreeSet::new(), "ended when drop returns");
    assert!(!folder.exists());
    assert!(!adopted.wait().unwrap().success());
}

#[test]
fn a_panic_ends_it() {
    let assets = shared().assets();
    let folder = std::sync::Mutex::new(PathBuf::new());
    let panicked = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let plane = ControlPlane::start_with(assets).unwrap();
            plane.folder().clone_into(&mut folder.lock().unwrap());
            panic!("on purpose");
        });
        thread.join().is_err()
    });
    assert!(panicked);
    assert_gone(&folder.into_inner().unwrap());
}

#[test]
fn it_ends_with_its_owner_however_that_ends() {
    shared();
    let mut side_by_side = ["KILL", "INT", "TERM"].map(|signal| (signal, Running::start()));
    for (_, running) in &side_by_side {
        assert_eq!(processes_of(&running.folder).len(), 4);
    }
    for (signal, running) in &mut side_by_side {
        running.signal(signal);
        let status = running.child.wait().unwrap();
        assert_eq!(status.success(), *signal != "KILL", "{signal}: {status}");
        assert_gone(&running.folder);
        let mut rest = String::new();
        running.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "nobody holds its output open");
    }
}

/// `control-plane --prefetch` with nothing cached, and this script as `go` if there is one.
fn prefetch(folder: &Path, go: Option<&str>) -> Command {
    let path = folder.join("bin");
    std::fs::create_dir(&path).unwrap();
    if let Some(script) = go {
        let go = path.join("go");
        std::fs::write(&go, format!("#!/bin/sh\n{script}")).unwrap();
        std::fs::set_permissions(&go, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_control-plane"));
    command
        .arg("--prefetch")
        .env_remove("KUBEBUILDER_ASSETS")
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("PATH", path);
    command
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Stays, with its own folder among its arguments.
    let go = r#"[ "$1" = version ] || exec /bin/sh -c '/bin/sleep 600; :' "$PWD""#;
    let mut building = prefetch(folder.path(), Some(go)).stderr(Stdio::null()).spawn().unwrap();
    let cache = folder.path().join("cache");
    eventually("keeper, shell", &2, || processes_of(&cache).len());
    building.kill().unwrap();
    building.wait().unwrap();

    eventually("processes left", &BTreeSet::new(), || processes_of(&cache));
    let left = || {
        let entries = std::fs::read_dir(cache.join("mirrord-sessions")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.contains(".lock")).collect()
    };
    eventually("files left", &Vec::<String>::new(), left);
}

#[test]
fn without_programs_one_is_told_what_to_do() {
    for (assets, expected) in [
        (None, "install Go 1.26 or newer"),
        (Some("/nowhere"), "KUBEBUILDER_ASSETS is set to /nowhere, which is not a folder"),
        (Some("/"), "KUBEBUILDER_ASSETS is set to /, which contains none of etcd"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = prefetch(folder.path(), None);
        if let Some(assets) = assets {
            command.env("KUBEBUILDER_ASSETS", assets);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
