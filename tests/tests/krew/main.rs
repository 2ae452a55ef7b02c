//! Tests of a release's archives and manifest, with the released krew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod release;
mod server;

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use mirrord_sessions_tests::control_plane::{Assets, Program};

use crate::{
    release::{Release, workspace},
    server::Server,
};

/// A user's machine with kubectl and a home folder that contains krew.
struct UserMachine {
    home: tempfile::TempDir,
    krew: PathBuf,
    path: OsString,
}

/// Success and output of a command.
struct CommandOutput {
    succeeded: bool,
    stdout: String,
    stderr: String,
}

impl UserMachine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let krew = Assets::locate_krew().unwrap();
        let kubectl = Assets::locate().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(kubectl.path(Program::Kubectl), bin.join("kubectl")).unwrap();
        // krew only checks that its index looks like a clone.
        fs::create_dir_all(home.path().join("krew/index/default/.git")).unwrap();
        fs::create_dir(home.path().join("krew/index/default/plugins")).unwrap();
        let path = std::env::join_paths([bin, home.path().join("krew/bin")]).unwrap();
        let krew = krew.path(Program::Krew).to_owned();
        Self { home, krew, path }
    }

    fn path_of(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn run(&self, program: &Path, args: &[&str]) -> CommandOutput {
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.home.path())
            .env("KREW_ROOT", self.path_of("krew"))
            .env("KREW_NO_UPGRADE_CHECK", "1")
            .env("KUBECONFIG", self.path_of("kubeconfig"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        CommandOutput {
            succeeded: output.status.success(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn krew(&self, args: &[&str]) -> String {
        let output = self.run(&self.krew, args);
        assert!(output.succeeded, "krew {args:?}: {}{}", output.stdout, output.stderr);
        output.stderr
    }

    fn kubectl(&self, args: &[&str]) -> CommandOutput {
        self.run(Path::new("kubectl"), args)
    }

    /// Asserts that kubectl finds, runs and completes the plugin.
    fn assert_installed(&self) {
        let version = self.kubectl(&["mirrord-sessions", "version", "--client"]);
        assert_eq!(
            version.stdout,
            concat!("Client Version: v", env!("CARGO_PKG_VERSION"), "\n"),
            "{}",
            version.stderr
        );
        let list = self.kubectl(&["mirrord-sessions", "list", "-o", "name"]);
        assert_eq!(
            list.stdout, "session.operator.metalbear.co/487f4f2b6d2376ad\n",
            "{}",
            list.stderr
        );
        let completed = self.kubectl(&["__complete", "mirrord-sessions", "delete", "487"]);
        assert_eq!(
            completed.stdout, "487F4F2B6D2376AD\tAvi/avi@x@host, deployment/counter\n:4\n",
            "{}",
            completed.stderr
        );
    }

    /// Adds or removes the completion link in krew's `bin` folder.
    ///
    /// Once it is the only remaining link, krew mistakes it for a plugin of an old krew. That holds
    /// for a krew that did not install itself.
    fn run_completion(&self, flag: &str) {
        let output = self.kubectl(&["mirrord-sessions", "completion", flag]);
        let link = self.path_of("krew/bin/kubectl_complete-mirrord_sessions");
        let expected = match flag {
            "--install" => format!("created {}: where kubectl", link.display()),
            _ => format!("removed {}\n", link.display()),
        };
        assert!(
            output.succeeded && output.stdout.starts_with(&expected),
            "{}{}",
            output.stdout,
            output.stderr
        );
    }

    /// Asserts that the plugin is uninstalled completely.
    fn assert_uninstalled(&self) {
        let version = self.kubectl(&["mirrord-sessions", "version", "--client"]);
        assert!(!version.succeeded, "{}", version.stdout);
        assert!(!self.path_of("krew/store/mirrord-sessions").exists());
    }
}

#[test]
fn krew_installs_upgrades_and_uninstalls_a_release() {
    let server = Server::start();
    let release = Release::build(&server.address());
    let machine = UserMachine::new();
    fs::write(machine.path_of("kubeconfig"), server.kubeconfig()).unwrap();
    server.serve(release.folder());
    // krew compares the name of the file with the name of the plugin.
    let manifest = machine.path_of("mirrord-sessions.yaml");
    fs::write(&manifest, release.manifest()).unwrap();
    let validator = Assets::locate_krew().unwrap();
    let validation = machine.run(
        validator.path(Program::ValidateKrewManifest),
        &["-manifest", manifest.to_str().unwrap(), "-skip-install"],
    );
    assert!(validation.succeeded, "{}{}", validation.stdout, validation.stderr);

    // Install from local files, without an index.
    let archive = release.archive();
    machine.krew(&[
        "install",
        &format!("--manifest={}", manifest.display()),
        &format!("--archive={}", archive.display()),
    ]);
    machine.run_completion("--install");
    machine.assert_installed();
    machine.run_completion("--uninstall");
    machine.krew(&["uninstall", "mirrord-sessions"]);
    machine.assert_uninstalled();

    // Install and upgrade from an index.
    let index = machine.path_of("krew/index/default/plugins/mirrord-sessions.yaml");
    fs::copy(&manifest, &index).unwrap();
    let output = machine.krew(&["install", "--no-update-index", "mirrord-sessions"]);
    assert!(output.contains("completion --install"), "{output}");
    machine.run_completion("--install");
    machine.assert_installed();
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let store = |version: &str| machine.path_of("krew/store/mirrord-sessions").join(version);
    assert!(store(version).join("LICENSE").is_file());
    let upgraded = release.manifest().replace(&format!("version: {version}"), "version: v999.0.0");
    fs::write(&index, upgraded).unwrap();
    machine.krew(&["upgrade", "--no-update-index", "mirrord-sessions"]);
    let link = fs::read_link(machine.path_of("krew/bin/kubectl-mirrord_sessions")).unwrap();
    assert!(link.starts_with(store("v999.0.0")), "{}", link.display());
    // The completion link survives the upgrade.
    machine.assert_installed();
    machine.run_completion("--uninstall");
    machine.krew(&["uninstall", "mirrord-sessions"]);
    machine.assert_uninstalled();
}

#[test]
fn committed_manifest_matches_generated_manifest() {
    let generated = release::run(&["manifest", "--draft"], None, None).expect("draft manifest");
    let committed = fs::read_to_string(workspace().join("krew/mirrord-sessions.yaml")).unwrap();
    assert_eq!(generated, committed, "krew/release manifest --draft > krew/mirrord-sessions.yaml");
    let version = concat!("\n  version: v", env!("CARGO_PKG_VERSION"), "\n");
    assert!(generated.contains(version), "{generated}");
    for platform in release::targets() {
        let [os, arch, _] = &platform;
        let platform = format!("        os: {os}\n        arch: {arch}\n");
        assert!(generated.contains(&platform), "{generated}");
    }
}

#[test]
fn manifest_requires_archives_of_all_platforms() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Some("https://example.com/r");
    let missing = release::run(&["manifest"], Some(folder.path()), repository).unwrap_err();
    assert!(missing.contains("no archive yet for x86_64-unknown-linux-gnu"), "{missing}");
    let no_repository = release::run(&["manifest"], Some(folder.path()), None).unwrap_err();
    assert!(no_repository.contains("set REPOSITORY"), "{no_repository}");
    let unknown_target =
        release::run(&["archive", "m68k-unknown-linux-gnu", "/dev/null"], None, None);
    assert!(unknown_target.unwrap_err().contains("no platform for target m68k"));
}

#[test]
fn archives_are_reproducible() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "no program").unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let bsdtar = std::env::split_paths(&path)
        .map(|folder| folder.join("bsdtar"))
        .find(|bsdtar| bsdtar.exists());
    if bsdtar.is_none() {
        eprintln!("skipped the tar of macOS: bsdtar not found");
    }
    for tar in [None].into_iter().chain(bsdtar.as_deref().map(Some)) {
        let first = release::archive(&program, "022", tar);
        let second = release::archive(&program, "077", tar);
        assert!(first == second, "archives of {tar:?} differ");
    }
}

#[test]
fn release_workflow_builds_every_platform() {
    let text = fs::read_to_string(workspace().join(".github/workflows/release.yml")).unwrap();
    let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let jobs = workflow["jobs"]["build"]["strategy"]["matrix"]["include"].as_array().unwrap();
    let mut built: Vec<&str> = jobs.iter().map(|job| job["target"].as_str().unwrap()).collect();
    built.sort_unstable();
    let targets = release::targets();
    let mut expected: Vec<&str> = targets.iter().map(|platform| platform[2].as_str()).collect();
    expected.sort_unstable();
    assert_eq!(built, expected);
}
