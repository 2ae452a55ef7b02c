//! Building the missing programs, once, into the cache.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use super::assets::{Program, is_program};
use super::error::Error;
use super::keeper::Keeper;
use super::process::{Held, spawn_kept, tail};
use super::progress::{Ticker, minutes, say};
use super::recipe::{self, Module};

const POLL: Duration = Duration::from_millis(200);

/// Builds programs into one cache folder.
pub(crate) struct Builder<'a> {
    cache: &'a Path,
    go: PathBuf,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(cache: &'a Path) -> Self {
        let go = PathBuf::from("go");
        Self { cache, go }
    }

    /// Builds what of `wanted` is not in the cache by the time the lock is ours.
    ///
    /// A program appears in the cache by a rename, when all are built; everything else happens in a
    /// folder beside it, which the keeper removes however this ends.
    pub(crate) fn build(&self, wanted: &[Program]) -> Result<(), Error> {
        let beside = self.cache.parent().unwrap_or(self.cache);
        fs::create_dir_all(beside).map_err(Error::io(format!("create {}", beside.display())))?;
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
        self.remove_leftovers(beside)?;

        let started = Ticker::new("");
        say(&format!(
            "Building {} from Go modules into {}.\n\
             This is done once; on two cores, a whole control plane takes 6 to 10 minutes, krew one.",
            missing.iter().map(|p| p.file_name()).collect::<Vec<_>>().join(", "),
            self.cache.display()
        ));
        let folder = tempfile::Builder::new()
            .prefix(&self.leftover_prefix())
            .tempdir_in(beside)
            .map_err(Error::io(format!("create a folder in {}", beside.display())))?
            .keep();
        let run = Run { go: &self.go, keeper: Keeper::start(&folder)?, folder };
        let built = run.build(&missing)?;
        fs::create_dir_all(self.cache)
            .map_err(Error::io(format!("create {}", self.cache.display())))?;
        for (program, path) in built {
            let target = self.cache.join(program.file_name());
            fs::rename(&path, &target)
                .map_err(Error::io(format!("move {program} to {}", target.display())))?;
        }
        say(&format!("Built in {}.", minutes(started.elapsed())));
        Ok(())
    }

    fn name(&self) -> &OsStr {
        self.cache.file_name().unwrap_or_default()
    }

    fn leftover_prefix(&self) -> OsString {
        let mut prefix = self.name().to_owned();
        prefix.push(".building-");
        prefix
    }

    fn lock(&self) -> Result<File, Error> {
        let mut name = self.name().to_owned();
        name.push(".lock");
        let path = self.cache.with_file_name(name);
        let doing = format!("lock {}", path.display());
        let file = File::create(&path).map_err(Error::io(&doing))?;
        let mut waiting: Option<Ticker> = None;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::Error(source)) => return Err(Error::Io { doing, source }),
                Err(TryLockError::WouldBlock) => waiting
                    .get_or_insert_with(|| {
                        say(&format!(
                            "Another process is building programs for {}; waiting for it.",
                            self.cache.display()
                        ));
                        Ticker::new("waiting for the other process")
                    })
                    .tick(),
            }
            sleep(POLL);
        }
    }

    fn check_go(&self, missing: &[Program]) -> Result<(), Error> {
        let asked = Command::new(&self.go).arg("version").stdin(Stdio::null()).output();
        match asked {
            Ok(output) if output.status.success() => Ok(()),
            // A wrapper that finds no toolchain, say; its own words are the best there are.
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

    /// With the lock held, a folder of a build is one of a dead build.
    fn remove_leftovers(&self, beside: &Path) -> Result<(), Error> {
        let doing = format!("clean up {}", beside.display());
        let prefix = self.leftover_prefix();
        for entry in fs::read_dir(beside).map_err(Error::io(&doing))? {
            let entry = entry.map_err(Error::io(&doing))?;
            let name = entry.file_name();
            let is_leftover = name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
            if is_leftover {
                match fs::remove_dir_all(entry.path()) {
                    // The dead build's keeper was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    other => other.map_err(Error::io(&doing))?,
                }
            }
        }
        Ok(())
    }
}

/// One build, in its folder.
struct Run<'a> {
    go: &'a Path,
    keeper: Keeper,
    folder: PathBuf,
}

impl Run<'_> {
    fn build(&self, programs: &[Program]) -> Result<Vec<(Program, PathBuf)>, Error> {
        for module in [Module::Kubernetes, Module::Etcd, Module::Krew] {
            if programs.iter().any(|p| Module::of(*p) == module) {
                self.prepare(module, programs)?;
            }
        }
        // A folder of their own: Go takes a folder of a program's name for the place to put it in.
        let programs_folder = self.folder.join("programs");
        fs::create_dir(&programs_folder)
            .map_err(Error::io(format!("create {}", programs_folder.display())))?;
        let mut built = Vec::new();
        for (index, program) in programs.iter().copied().enumerate() {
            let path = programs_folder.join(program.file_name());
            let count = format!("({} of {})", index + 1, programs.len());
            self.go(
                &format!("building {program} {count}"),
                &self.folder.join(Module::of(program).folder_name()),
                &[
                    "build".as_ref(),
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

    /// Writes the module's files, and has Go fetch what they name.
    fn prepare(&self, module: Module, programs: &[Program]) -> Result<(), Error> {
        let folder = self.folder.join(module.folder_name());
        fs::create_dir(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let of_kubernetes = match module {
            Module::Kubernetes => self.kubernetes_go_mod(&folder)?,
            Module::Etcd | Module::Krew => String::new(),
        };
        for (name, text) in
            [("go.mod", module.go_mod(&of_kubernetes)), ("tools.go", module.tools_go(programs))]
        {
            let path = folder.join(name);
            fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
        }
        let step = format!("fetching modules of {}", module.folder_name());
        self.go(&step, &folder, &["mod".as_ref(), "tidy".as_ref()])?;
        Ok(())
    }

    fn kubernetes_go_mod(&self, folder: &Path) -> Result<String, Error> {
        let module = recipe::kubernetes_module();
        let answer = self.go(
            &format!("fetching {module}"),
            folder,
            &["mod".as_ref(), "download".as_ref(), "-json".as_ref(), module.as_ref()],
        )?;
        let unexpected = |why: String| Error::Module { module: module.clone(), why };
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| unexpected(error.to_string()))?;
        let path =
            answer["GoMod"].as_str().ok_or_else(|| unexpected(format!("no GoMod in {answer}")))?;
        fs::read_to_string(path).map_err(Error::io(format!("read {path}")))
    }

    /// Runs Go and returns its standard output.
    fn go(&self, step: &str, folder: &Path, args: &[&OsStr]) -> Result<String, Error> {
        say(&format!("  {step}"));
        let [out, err] = ["out", "err"].map(|name| self.folder.join(format!("go.{name}")));
        let create = |path: &Path| {
            File::create(path).map_err(Error::io(format!("write {}", path.display())))
        };
        let mut held = Held::new(self.go, args);
        held.shell
            .current_dir(folder)
            .stdout(create(&out)?)
            .stderr(create(&err)?)
            // Whatever the user has set for their own modules must not reach these.
            .env("GOFLAGS", "-mod=mod -buildvcs=false")
            .env("GO111MODULE", "on")
            .env("GOWORK", "off")
            .env("CGO_ENABLED", "0")
            .env_remove("GOOS")
            .env_remove("GOARCH");
        let mut child = spawn_kept(&self.keeper, held)?;
        let mut ticker = Ticker::new(step);
        let status = loop {
            match child.try_wait().map_err(Error::io(format!("wait for {step}")))? {
                Some(status) => break status,
                None => ticker.tick(),
            }
            sleep(POLL);
        };
        if !status.success() {
            // `-json` puts the error on stdout.
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

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
