//! Creates a release with the script `krew/release`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Returns the folder of the workspace.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Runs the script and returns its standard output, or its standard error if it fails.
pub(crate) fn run(
    args: &[&str],
    dist: Option<&Path>,
    repository: Option<&str>,
) -> Result<String, String> {
    let mut command = Command::new(workspace().join("krew/release"));
    command.args(args).env_remove("REPOSITORY").env_remove("DIST");
    command.envs(dist.map(|dist| ("DIST", dist)));
    command.envs(repository.map(|repository| ("REPOSITORY", repository)));
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Archives a program under a umask, with another `tar` if given, and returns the archive.
pub(crate) fn archive(program: &Path, umask: &str, tar: Option<&Path>) -> Vec<u8> {
    let dist = tempfile::tempdir().unwrap();
    let [_, _, target] = &targets()[0];
    let mut path = std::env::var_os("PATH").unwrap();
    if let Some(tar) = tar {
        std::os::unix::fs::symlink(tar, dist.path().join("tar")).unwrap();
        let folders = std::env::split_paths(&path);
        path = std::env::join_paths([dist.path().to_owned()].into_iter().chain(folders)).unwrap();
    }
    let output = Command::new("sh")
        .args(["-c", "umask $0; exec \"$@\"", umask])
        .arg(workspace().join("krew/release"))
        .args(["archive", target])
        .arg(program)
        .env("DIST", dist.path())
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let archive = String::from_utf8(output.stdout).unwrap();
    fs::read(archive.trim()).unwrap()
}

/// Returns OS, architecture and target of each platform.
pub(crate) fn targets() -> Vec<[String; 3]> {
    let targets = run(&["targets"], None, None).unwrap();
    let platform = |line: &str| {
        let words: Vec<String> = line.split(' ').map(ToOwned::to_owned).collect();
        words.try_into().unwrap()
    };
    targets.lines().map(platform).collect()
}

/// The archives and the manifest of a release.
pub(crate) struct Release {
    dist: tempfile::TempDir,
    archive: PathBuf,
    manifest: String,
}

impl Release {
    /// Builds the archive of this platform, and archives with placeholders of the other platforms.
    pub(crate) fn build(repository: &str) -> Self {
        let dist = tempfile::tempdir().unwrap();
        let built = run(&["build"], Some(dist.path()), None).unwrap();
        let archive = PathBuf::from(built.trim());
        let placeholder = dist.path().join("placeholder");
        fs::write(&placeholder, "no program").unwrap();
        for [os, arch, target] in targets() {
            let name = format!("_{os}_{arch}.tar.gz");
            if !archive.to_str().unwrap().ends_with(&name) {
                let args = ["archive", &target, placeholder.to_str().unwrap()];
                run(&args, Some(dist.path()), None).unwrap();
            }
        }
        let manifest = run(&["manifest"], Some(dist.path()), Some(repository)).unwrap();
        Self { dist, archive, manifest }
    }

    pub(crate) fn archive(&self) -> &Path {
        &self.archive
    }

    pub(crate) fn manifest(&self) -> &str {
        &self.manifest
    }

    /// Returns the folder of the archives.
    pub(crate) fn folder(&self) -> &Path {
        self.dist.path()
    }
}
