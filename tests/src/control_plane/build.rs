//! Builds missing programs from Go modules into the cache.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::assets::{Program, is_program};
use super::error::Error;
use super::process::{GatedCommand, spawn_registered, tail};
use super::progress::Progress;
use super::reaper::Reaper;
use super::recipe::{self, Module};

const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Builds programs into one cache folder.
pub(crate) struct Builder<'a> {
    cache: &'a Path,
    go: PathBuf,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(cache: &'a Path) -> Self {
        Self { cache, go: PathBuf::from("go") }
    }

    /// Builds the wanted programs that are still missing once the cache is locked.
    ///
    /// All work happens in a temporary folder beside the cache, which the reaper removes however
    /// the build ends. Finished programs are renamed into the cache only when all of them are
    /// built.
    pub(crate) fn build(&self, wanted: &[Program]) -> Result<(), Error> {
        let parent = self.cache.parent().unwrap_or(self.cache);
        fs::create_dir_all(parent).map_err(Error::io(format!("create {}", parent.display())))?;
        let _lock = self.lock()?;
        let missing: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|program| !is_program(&self.cache.join(program.file_name())))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        self.check_go(&missing)?;
        self.remove_abandoned_builds(parent)?;

        let names: Vec<_> = missing.iter().map(|program| program.file_name()).collect();
        let mut progress = Progress::start(
            &format!("Building {} from Go modules", names.join(", ")),
            &format!("{} on two cores, once", recipe::estimate(&missing)),
        );
        progress.print_line(&format!("  into {}", self.cache.display()));
        let folder = tempfile::Builder::new()
            .prefix(&self.build_folder_prefix())
            .tempdir_in(parent)
            .map_err(Error::io(format!("create a folder in {}", parent.display())))?
            .keep();
        let reaper = Reaper::start(&folder)?;
        let mut build =
            Build { go: &self.go, reaper, folder, progress: &mut progress, steps: 0, step: 0 };
        let executables = build.run(&missing)?;
        fs::create_dir_all(self.cache)
            .map_err(Error::io(format!("create {}", self.cache.display())))?;
        for (program, path) in executables {
            let target = self.cache.join(program.file_name());
            fs::rename(&path, &target)
                .map_err(Error::io(format!("move {program} to {}", target.display())))?;
        }
        progress.finish();
        Ok(())
    }

    fn cache_name(&self) -> &OsStr {
        self.cache.file_name().unwrap_or_default()
    }

    fn build_folder_prefix(&self) -> OsString {
        let mut prefix = self.cache_name().to_owned();
        prefix.push(".building-");
        prefix
    }

    fn lock(&self) -> Result<File, Error> {
        let mut name = self.cache_name().to_owned();
        name.push(".lock");
        let path = self.cache.with_file_name(name);
        let doing = format!("lock {}", path.display());
        let file = File::create(&path).map_err(Error::io(&doing))?;
        let mut waiting: Option<Progress> = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(Error::Io { doing, source }),
                Err(TryLockError::WouldBlock) => waiting
                    .get_or_insert_with(|| {
                        Progress::start(
                            "Waiting for another process that builds the same programs",
                            "up to 10 minutes on two cores",
                        )
                    })
                    .update(&format!("waiting for {}", path.display())),
            }
            sleep(POLL_INTERVAL);
        }
    }

    /// Returns an error unless Go can be run.
    pub(crate) fn check_go(&self, missing: &[Program]) -> Result<(), Error> {
        let version = Command::new(&self.go).arg("version").stdin(Stdio::null()).output();
        match version {
            Ok(output) if output.status.success() => Ok(()),
            // A version manager without a toolchain explains the problem on stderr.
            Ok(output) => Err(Error::Io {
                doing: "run go version".to_owned(),
                source: io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::NoGo { missing: missing.to_vec() })
            }
            Err(source) => Err(Error::Io { doing: "run go".to_owned(), source }),
        }
    }

    /// Removes the folders of killed builds, which no live build can own while the lock is held.
    fn remove_abandoned_builds(&self, parent: &Path) -> Result<(), Error> {
        let doing = format!("clean up {}", parent.display());
        let prefix = self.build_folder_prefix();
        for entry in fs::read_dir(parent).map_err(Error::io(&doing))? {
            let entry = entry.map_err(Error::io(&doing))?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
                match fs::remove_dir_all(entry.path()) {
                    // The reaper of the killed build was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(Error::io(&doing))?,
                }
            }
        }
        Ok(())
    }
}

/// A running build in its temporary folder.
struct Build<'a> {
    go: &'a Path,
    reaper: Reaper,
    folder: PathBuf,
    progress: &'a mut Progress,
    steps: usize,
    step: usize,
}

impl Build<'_> {
    /// Builds the programs and returns their paths in the temporary folder.
    fn run(&mut self, programs: &[Program]) -> Result<Vec<(Program, PathBuf)>, Error> {
        let modules = Module::for_programs(programs);
        // Kubernetes takes two downloads: its go.mod first, then its dependencies.
        let downloads = modules.len() + usize::from(modules.contains(&Module::Kubernetes));
        self.steps = downloads + programs.len();
        for module in modules {
            self.prepare(module, programs)?;
        }
        // `go build -o` treats an existing folder with the program's name as a destination folder.
        let programs_folder = self.folder.join("programs");
        fs::create_dir(&programs_folder)
            .map_err(Error::io(format!("create {}", programs_folder.display())))?;
        let mut built = Vec::new();
        for program in programs.iter().copied() {
            let path = programs_folder.join(program.file_name());
            self.go(
                &format!("building {program}"),
                &self.folder.join(Module::for_program(program).folder_name()),
                &[
                    "build".as_ref(),
                    // Prints each package as it is compiled, for the progress.
                    "-v".as_ref(),
                    "-trimpath".as_ref(),
                    "-ldflags".as_ref(),
                    recipe::linker_flags(program).as_ref(),
                    "-o".as_ref(),
                    path.as_os_str(),
                    recipe::package(program).as_ref(),
                ],
            )?;
            built.push((program, path));
        }
        Ok(built)
    }

    /// Writes the files of a module and downloads its dependencies.
    fn prepare(&mut self, module: Module, programs: &[Program]) -> Result<(), Error> {
        let folder = self.folder.join(module.folder_name());
        fs::create_dir(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let kubernetes_go_mod = match module {
            Module::Kubernetes => self.download_kubernetes_go_mod(&folder)?,
            Module::Etcd | Module::Krew => String::new(),
        };
        for (name, text) in
            [("go.mod", module.go_mod(&kubernetes_go_mod)), ("tools.go", module.tools_go(programs))]
        {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        }
        let step = format!("downloading the dependencies of {}", module.folder_name());
        self.go(&step, &folder, &["mod".as_ref(), "tidy".as_ref()])?;
        Ok(())
    }

    fn download_kubernetes_go_mod(&mut self, folder: &Path) -> Result<String, Error> {
        let module = recipe::kubernetes_module();
        let output = self.go(
            &format!("downloading {module}"),
            folder,
            &["mod".as_ref(), "download".as_ref(), "-json".as_ref(), module.as_ref()],
        )?;
        let unexpected = |why: String| Error::Module { module: module.clone(), why };
        let output: serde_json::Value =
            serde_json::from_str(&output).map_err(|error| unexpected(error.to_string()))?;
        let path =
            output["GoMod"].as_str().ok_or_else(|| unexpected(format!("no GoMod in {output}")))?;
        fs::read_to_string(path).map_err(Error::io(format!("read {path}")))
    }

    /// Runs Go as the next step and returns its standard output.
    fn go(&mut self, step: &str, folder: &Path, args: &[&OsStr]) -> Result<String, Error> {
        self.step += 1;
        self.progress.print_line(&format!("  [{}/{}] {step}", self.step, self.steps));
        let [out, err] = ["out", "err"].map(|name| self.folder.join(format!("go.{name}")));
        let create = |path: &Path| {
            File::create(path).map_err(Error::io(format!("write {}", path.display())))
        };
        let mut gated = GatedCommand::new(self.go, args);
        gated
            .shell
            .current_dir(folder)
            .stdout(create(&out)?)
            .stderr(create(&err)?)
            // The user's settings for their own modules must not affect this build.
            .env("GOFLAGS", "-mod=mod -buildvcs=false")
            .env("GO111MODULE", "on")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        let mut child = spawn_registered(&self.reaper, gated)?;
        let status = loop {
            match child.try_wait().map_err(Error::io(format!("wait for {step}")))? {
                Some(status) => break status,
                None => self.progress.update(&activity(step, &tail(&err))),
            }
            sleep(POLL_INTERVAL);
        };
        if !status.success() {
            // With `-json`, Go writes the error to stdout.
            let tail = [tail(&out), tail(&err)].join("\n");
            return Err(Error::Build {
                step: step.to_owned(),
                status,
                tail: tail.trim().to_owned(),
            });
        }
        fs::read_to_string(&out).map_err(Error::io(format!("read {}", out.display())))
    }
}

/// Returns a step together with the download or the package that Go logged last.
fn activity(step: &str, log: &str) -> String {
    match log.lines().last().map(|line| line.trim_start_matches("go: ")) {
        Some(latest) if !latest.is_empty() => format!("{step}: {latest}"),
        _ => step.to_owned(),
    }
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
