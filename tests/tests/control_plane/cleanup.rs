//! Tests of the cleanup after a control plane or a build ends or is killed.

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
fn eventually<T: PartialEq + Debug>(what: &str, expected: &T, mut observe: impl FnMut() -> T) {
    let started = Instant::now();
    loop {
        let actual = observe();
        if actual == *expected {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{what}: {actual:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns the command lines of running processes that name the folder in their arguments.
fn processes_using(folder: &Path) -> BTreeSet<String> {
    let folder = folder.to_str().unwrap();
    let names_folder = |line: &&str| line.contains(folder);
    let Ok(entries) = std::fs::read_dir("/proc") else {
        let all = Command::new("ps").args(["-A", "-o", "args="]).output().unwrap();
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        return all.lines().filter(names_folder).map(str::to_owned).collect();
    };
    // A zombie process has no arguments.
    entries
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|line| names_folder(&line.as_str()))
        .collect()
}

#[track_caller]
fn assert_cleaned_up(folder: &Path) {
    eventually("remaining processes", &BTreeSet::new(), || processes_using(folder));
    eventually("folder exists", &false, || folder.exists());
}

/// A running `control-plane` program that has printed the path of its kubeconfig.
struct ControlPlaneProcess {
    child: Child,
    folder: PathBuf,
}

impl ControlPlaneProcess {
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
fn drop_kills_servers_and_adopted_processes() {
    let plane = ControlPlane::start_with(shared().assets()).unwrap();
    let mut adopted = Command::new("sleep").arg("600").spawn().unwrap();
    plane.adopt(&adopted).unwrap();
    let folder = plane.folder().to_owned();
    assert_eq!(processes_using(&folder).len(), 4, "expected three servers and the reaper");
    drop(plane);
    assert_eq!(processes_using(&folder), BTreeSet::new(), "processes remain after drop");
    assert!(!folder.exists());
    assert!(!adopted.wait().unwrap().success());
}

#[test]
fn panic_stops_the_control_plane() {
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
    assert_cleaned_up(&folder.into_inner().unwrap());
}

#[test]
fn signals_to_the_owner_stop_the_control_plane() {
    shared();
    let mut processes =
        ["KILL", "INT", "TERM"].map(|signal| (signal, ControlPlaneProcess::start()));
    for (_, process) in &processes {
        assert_eq!(processes_using(&process.folder).len(), 4);
    }
    for (signal, process) in &mut processes {
        process.signal(signal);
        let status = process.child.wait().unwrap();
        assert_eq!(status.success(), *signal != "KILL", "{signal}: {status}");
        assert_cleaned_up(&process.folder);
        let mut rest = String::new();
        process.child.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "unexpected output after the kubeconfig");
    }
}

/// Returns `control-plane --prefetch` with an empty cache and, if given, a script in place of Go.
fn prefetch_command(folder: &Path, go: Option<&str>) -> Command {
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
fn killed_build_leaves_no_processes_or_files() {
    let folder = tempfile::tempdir().unwrap();
    // Sleeps, with its working directory among its arguments.
    let go = r#"[ "$1" = version ] || exec /bin/sh -c '/bin/sleep 600; :' "$PWD""#;
    let mut building =
        prefetch_command(folder.path(), Some(go)).stderr(Stdio::null()).spawn().unwrap();
    let cache = folder.path().join("cache");
    eventually("reaper and shell", &2, || processes_using(&cache).len());
    building.kill().unwrap();
    building.wait().unwrap();

    eventually("remaining processes", &BTreeSet::new(), || processes_using(&cache));
    let remaining_files = || {
        let entries = std::fs::read_dir(cache.join("mirrord-sessions")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.contains(".lock")).collect()
    };
    eventually("remaining files", &Vec::<String>::new(), remaining_files);
}

#[test]
fn missing_programs_are_reported_with_a_remedy() {
    for (assets, expected) in [
        (None, "install Go 1.26 or newer"),
        (Some("/nowhere"), "KUBEBUILDER_ASSETS is set to /nowhere, which is not a folder"),
        (Some("/"), "KUBEBUILDER_ASSETS is set to /, which contains none of etcd"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = prefetch_command(folder.path(), None);
        if let Some(assets) = assets {
            command.env("KUBEBUILDER_ASSETS", assets);
        }
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}
