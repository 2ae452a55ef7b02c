//! What a release is made of, installed by the real krew.

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

/// A machine of somebody's own: a home with krew in it, and a kubectl.
struct Machine {
    home: tempfile::TempDir,
    krew: PathBuf,
    path: OsString,
}

struct Ran {
    ok: bool,
    out: String,
    messages: String,
}

impl Machine {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let krew = Assets::locate_krew().unwrap();
        let kubectl = Assets::locate().unwrap();
        let bin = home.path().join("bin");
        fs::create_dir(&bin).unwrap();
        symlink(kubectl.path(Program::Kubectl), bin.join("kubectl")).unwrap();
        // krew looks whether its index was cloned, and no further.
        fs::create_dir_all(home.path().join("krew/index/default/.git")).unwrap();
        fs::create_dir(home.path().join("krew/index/default/plugins")).unwrap();
        let path = std::env::join_paths([bin, home.path().join("krew/bin")]).unwrap();
        let krew = krew.path(Program::Krew).to_owned();
        Self { home, krew, path }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.home.path().join(path)
    }

    fn run(&self, program: &Path, args: &[&str]) -> Ran {
        let output = Command::new(program)
            .args(args)
            .env_clear()
            .env("PATH", &self.path)
            .env("HOME", self.home.path())
            .env("KREW_ROOT", self.at("krew"))
            .env("KREW_NO_UPGRADE_CHECK", "1")
            .env("KUBECONFIG", self.at("kubeconfig"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran {
            ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            messages: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn krew(&self, args: &[&str]) -> String {
        let ran = self.run(&self.krew, args);
        assert!(ran.ok, "krew {args:?}: {}{}", ran.out, ran.messages);
        ran.messages
    }

    fn kubectl(&self, args: &[&str]) -> Ran {
        self.run(Path::new("kubectl"), args)
    }

    /// The plugin works, and completes, through kubectl.
    fn check(&self) {
        let version = self.kubectl(&["mirrord-sessions", "version", "--client"]);
        assert_eq!(
            version.out,
            concat!("Client Version: v", env!("CARGO_PKG_VERSION"), "\n"),
            "{}",
            version.messages
        );
        let list = self.kubectl(&["mirrord-sessions", "list", "-o", "name"]);
        assert_eq!(
            list.out, "session.operator.metalbear.co/487f4f2b6d2376ad\n",
            "{}",
            list.messages
        );
        let completed = self.kubectl(&["__complete", "mirrord-sessions", "delete", "487"]);
        assert_eq!(
            completed.out, "487F4F2B6D2376AD\tAvi/avi@x@host, deployment/counter\n:4\n",
            "{}",
            completed.messages
        );
    }

    /// Puts the link for completion beside krew's, or takes it away: a krew that didn't install
    /// itself takes it for a plugin of an old krew, once no other is left.
    fn complete(&self, flag: &str) {
        let told = self.kubectl(&["mirrord-sessions", "completion", flag]);
        let link = self.at("krew/bin/kubectl_complete-mirrord_sessions");
        let expected = match flag {
            "--install" => format!("created {}: where kubectl", link.display()),
            _ => format!("removed {}\n", link.display()),
        };
        assert!(told.ok && told.out.starts_with(&expected), "{}{}", told.out, told.messages);
    }

    /// Nothing of the plugin is left.
    fn check_gone(&self) {
        let gone = self.kubectl(&["mirrord-sessions", "version", "--client"]);
        assert!(!gone.ok, "{}", gone.out);
        assert!(!self.at("krew/store/mirrord-sessions").exists());
    }
}

#[test]
fn krew_installs_upgrades_and_uninstalls_what_a_release_is_made_of() {
    let server = Server::start();
    let release = Release::build(&server.address());
    let machine = Machine::new();
    fs::write(machine.at("kubeconfig"), server.kubeconfig()).unwrap();
    server.serve(release.folder());
    // The name counts: krew holds it against the plugin's.
    let manifest = machine.at("mirrord-sessions.yaml");
    fs::write(&manifest, release.manifest()).unwrap();
    let validator = Assets::locate_krew().unwrap();
    let valid = machine.run(
        validator.path(Program::ValidateKrewManifest),
        &["-manifest", manifest.to_str().unwrap(), "-skip-install"],
    );
    assert!(valid.ok, "{}{}", valid.out, valid.messages);

    // From the files, without an index.
    let archive = release.archive();
    machine.krew(&[
        "install",
        &format!("--manifest={}", manifest.display()),
        &format!("--archive={}", archive.display()),
    ]);
    machine.complete("--install");
    machine.check();
    machine.complete("--uninstall");
    machine.krew(&["uninstall", "mirrord-sessions"]);
    machine.check_gone();

    // From an index, which is where upgrades come from.
    let index = machine.at("krew/index/default/plugins/mirrord-sessions.yaml");
    fs::copy(&manifest, &index).unwrap();
    let told = machine.krew(&["install", "--no-update-index", "mirrord-sessions"]);
    assert!(told.contains("completion --install"), "{told}");
    machine.complete("--install");
    machine.check();
    let version = concat!("v", env!("CARGO_PKG_VERSION"));
    let store = |version: &str| machine.at("krew/store/mirrord-sessions").join(version);
    assert!(store(version).join("LICENSE").is_file());
    let higher = release.manifest().replace(&format!("version: {version}"), "version: v999.0.0");
    fs::write(&index, higher).unwrap();
    machine.krew(&["upgrade", "--no-update-index", "mirrord-sessions"]);
    let link = fs::read_link(machine.at("krew/bin/kubectl-mirrord_sessions")).unwrap();
    assert!(link.starts_with(store("v999.0.0")), "{}", link.display());
    // The link for completion was put there once, and goes on.
    machine.check();
    machine.complete("--uninstall");
    machine.krew(&["uninstall", "mirrord-sessions"]);
    machine.check_gone();
}

#[test]
fn the_committed_manifest_is_what_the_script_makes() {
    let made = release::run(&["manifest", "--draft"], None, None).expect("a draft");
    let committed = fs::read_to_string(workspace().join("krew/mirrord-sessions.yaml")).unwrap();
    assert_eq!(made, committed, "krew/release manifest --draft > krew/mirrord-sessions.yaml");
    let version = concat!("\n  version: v", env!("CARGO_PKG_VERSION"), "\n");
    assert!(made.contains(version), "{made}");
    for platform in release::targets() {
        let [os, arch, _] = &platform;
        assert!(made.contains(&format!("        os: {os}\n        arch: {arch}\n")), "{made}");
    }
}

#[test]
fn a_manifest_is_made_only_of_all_archives() {
    let folder = tempfile::tempdir().unwrap();
    let repository = Some("https://example.com/r");
    let missing = release::run(&["manifest"], Some(folder.path()), repository).unwrap_err();
    assert!(missing.contains("no archive yet for x86_64-unknown-linux-gnu"), "{missing}");
    let nowhere = release::run(&["manifest"], Some(folder.path()), None).unwrap_err();
    assert!(nowhere.contains("set REPOSITORY"), "{nowhere}");
    let unknown = release::run(&["archive", "m68k-unknown-linux-gnu", "/dev/null"], None, None);
    assert!(unknown.unwrap_err().contains("no platform for target m68k"));
}

#[test]
fn the_same_program_makes_the_same_archive() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    fs::write(&program, "no program").unwrap();
    let path = std::env::var_os("PATH").unwrap();
    let bsdtar = std::env::split_paths(&path)
        .map(|folder| folder.join("bsdtar"))
        .find(|bsdtar| bsdtar.exists());
    if bsdtar.is_none() {
        eprintln!("bsdtar is not here: what macOS makes was not tried");
    }
    for tar in [None].into_iter().chain(bsdtar.as_deref().map(Some)) {
        let one = release::archived(&program, "022", tar);
        let other = release::archived(&program, "077", tar);
        assert!(one == other, "{tar:?}");
    }
}

#[test]
fn the_workflow_builds_every_platform() {
    let text = fs::read_to_string(workspace().join(".github/workflows/release.yml")).unwrap();
    let workflow: serde_json::Value = serde_saphyr::from_str(&text).unwrap();
    let jobs = workflow["jobs"]["build"]["strategy"]["matrix"]["include"].as_array().unwrap();
    let mut built: Vec<&str> = jobs.iter().map(|job| job["target"].as_str().unwrap()).collect();
    built.sort_unstable();
    let targets = release::targets();
    let mut wanted: Vec<&str> = targets.iter().map(|platform| platform[2].as_str()).collect();
    wanted.sort_unstable();
    assert_eq!(built, wanted);
}
