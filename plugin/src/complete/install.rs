//! Installation of the completion link where kubectl looks for it.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use super::SHIM;
use crate::{error::Error, home};

const PLUGIN: &str = "kubectl-mirrord_sessions";

/// The locations, from the environment.
#[derive(Debug, Default)]
struct Environment {
    krew_root: Option<PathBuf>,
    home: Option<PathBuf>,
    path: Option<OsString>,
}

/// Creates the link, and returns the message about it.
pub(crate) fn install() -> Result<String, Error> {
    Environment::from_process().install()
}

/// Removes the link, and returns the message about it.
pub(crate) fn uninstall() -> Result<String, Error> {
    Environment::from_process().uninstall()
}

impl Environment {
    fn from_process() -> Self {
        Self {
            krew_root: std::env::var_os("KREW_ROOT")
                .filter(|root| !root.is_empty())
                .map(PathBuf::from),
            home: home::home_dir(),
            path: std::env::var_os("PATH"),
        }
    }

    fn install(&self) -> Result<String, Error> {
        let folder = self.folder()?;
        let shim = folder.join(file(SHIM));
        let outcome = match inspect(&shim)? {
            Found::Ours => format!("{} already exists", shim.display()),
            Found::Foreign => return Err(foreign_shim_error(&shim)),
            Found::Nothing => {
                create(&shim).map_err(|error| {
                    Error::setup(format!("cannot create {}: {error}", shim.display()))
                })?;
                format!("created {}", shim.display())
            }
        };
        let hint = if self.is_on_path(&folder) {
            "where kubectl's completion is set up (\"kubectl completion --help\"), \"kubectl mirrord-sessions\" is completed too".to_owned()
        } else {
            format!("add {} to PATH, so that kubectl finds it", folder.display())
        };
        Ok(format!("{outcome}: {hint}\n"))
    }

    fn uninstall(&self) -> Result<String, Error> {
        let shim = self.folder()?.join(file(SHIM));
        match inspect(&shim)? {
            Found::Nothing => Ok(format!("{} does not exist\n", shim.display())),
            Found::Foreign => Err(foreign_shim_error(&shim)),
            Found::Ours => match std::fs::remove_file(&shim) {
                Ok(()) => Ok(format!("removed {}\n", shim.display())),
                Err(error) => {
                    Err(Error::setup(format!("cannot remove {}: {error}", shim.display())))
                }
            },
        }
    }

    /// Returns the folder of the plugin: krew's, or the first on PATH.
    fn folder(&self) -> Result<PathBuf, Error> {
        let krew = self.krew_root.clone().or_else(|| Some(self.home.as_ref()?.join(".krew")));
        let krew = krew.map(|root| root.join("bin"));
        let listed = self.path.iter().flat_map(std::env::split_paths);
        krew.into_iter()
            .chain(listed)
            .filter(|folder| folder.is_absolute())
            .find(|folder| folder.join(program()).exists())
            .ok_or_else(|| {
                Error::setup(format!(
                    "{PLUGIN} is neither in a folder of PATH nor in krew's: move it to one of them, or install it with krew"
                ))
            })
    }

    fn is_on_path(&self, folder: &Path) -> bool {
        self.path.iter().flat_map(std::env::split_paths).any(|listed| listed == folder)
    }
}

fn program() -> String {
    format!("{PLUGIN}{}", std::env::consts::EXE_SUFFIX)
}

#[derive(Debug, Eq, PartialEq)]
enum Found {
    Nothing,
    Ours,
    Foreign,
}

fn foreign_shim_error(shim: &Path) -> Error {
    Error::setup(format!("{} was not created by this plugin: move it away first", shim.display()))
}

fn failed(shim: &Path, error: &io::Error) -> Error {
    Error::setup(format!("cannot read {}: {error}", shim.display()))
}

// A relative link points to krew's link beside it, and survives upgrades.
#[cfg(unix)]
fn create(shim: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(program(), shim)
}

#[cfg(unix)]
fn file(name: &str) -> String {
    name.to_owned()
}

#[cfg(unix)]
fn inspect(shim: &Path) -> Result<Found, Error> {
    match std::fs::symlink_metadata(shim) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(failed(shim, &error)),
        Ok(_) => {}
    }
    let is_ours = std::fs::read_link(shim).is_ok_and(|target| target == Path::new(&program()));
    Ok(if is_ours { Found::Ours } else { Found::Foreign })
}

#[cfg(not(unix))]
const SCRIPT: &str = "@\"%~dp0kubectl-mirrord_sessions.exe\" __complete %*\r\n";

#[cfg(not(unix))]
fn create(shim: &Path) -> io::Result<()> {
    use std::io::Write;
    std::fs::File::create_new(shim)?.write_all(SCRIPT.as_bytes())
}

#[cfg(not(unix))]
fn file(name: &str) -> String {
    format!("{name}.cmd")
}

#[cfg(not(unix))]
fn inspect(shim: &Path) -> Result<Found, Error> {
    match std::fs::read(shim) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) => Err(failed(shim, &error)),
        Ok(bytes) if bytes == SCRIPT.as_bytes() => Ok(Found::Ours),
        Ok(_) => Ok(Found::Foreign),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    use super::*;

    struct Home {
        folder: tempfile::TempDir,
        path: OsString,
    }

    impl Home {
        /// Creates a home with the plugin in these folders, all of them on PATH.
        fn new(folders: &[&str]) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let folders: Vec<PathBuf> = folders.iter().map(|f| folder.path().join(f)).collect();
            for folder in &folders {
                fs::create_dir_all(folder).unwrap();
                fs::write(folder.join(PLUGIN), "").unwrap();
            }
            let path = std::env::join_paths(folders).unwrap();
            Self { folder, path }
        }

        fn environment(&self, krew_root: Option<&str>) -> Environment {
            Environment {
                krew_root: krew_root.map(|root| self.folder.path().join(root)),
                home: Some(self.folder.path().to_owned()),
                path: Some(self.path.clone()),
            }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.folder.path().join(path)
        }
    }

    #[test]
    fn links_beside_krews_link_or_the_plugin() {
        let cases = [
            (&[".krew/bin", "bin"][..], None, ".krew/bin"),
            (&["bin", "other"], None, "bin"),
            (&["root/bin", ".krew/bin"], Some("root"), "root/bin"),
        ];
        for (folders, root, expected) in cases {
            let home = Home::new(folders);
            let output = home.environment(root).install().unwrap();
            let shim = home.at(expected).join(SHIM);
            assert!(
                output.starts_with(&format!("created {}: where kubectl", shim.display())),
                "{output}"
            );
            assert_eq!(fs::read_link(&shim).unwrap(), Path::new(PLUGIN));
            let again = home.environment(root).install().unwrap();
            assert!(again.contains("already exists"), "{again}");
            let removed = home.environment(root).uninstall().unwrap();
            assert!(removed.starts_with("removed "), "{removed}");
            assert!(fs::symlink_metadata(&shim).is_err());
            let removed = home.environment(root).uninstall().unwrap();
            assert!(removed.contains("does not exist"), "{removed}");
        }
    }

    #[test]
    fn keeps_files_of_others() {
        let home = Home::new(&["bin"]);
        let shim = home.at("bin").join(SHIM);
        let file = || fs::write(&shim, "mine").unwrap();
        let link = || symlink("/somewhere/else", &shim).unwrap();
        for make in [&file as &dyn Fn(), &link] {
            make();
            for result in [home.environment(None).install(), home.environment(None).uninstall()] {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("was not created by this plugin"), "{error}");
            }
            assert!(fs::symlink_metadata(&shim).is_ok());
            fs::remove_file(&shim).unwrap();
        }
    }

    #[test]
    fn reports_unwritable_folders() {
        let home = Home::new(&[]);
        let error = home.environment(None).install().unwrap_err().to_string();
        assert!(error.contains("is neither in a folder of PATH"), "{error}");

        let home = Home::new(&[".krew/bin"]);
        let elsewhere = Environment { path: None, ..home.environment(None) };
        let output = elsewhere.install().unwrap();
        assert!(output.contains("to PATH, so that kubectl finds it"), "{output}");
        elsewhere.uninstall().unwrap();

        let bin = home.at(".krew/bin");
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o500)).unwrap();
        // Root may write to every folder.
        if fs::write(bin.join("probe"), "").is_err() {
            let error = elsewhere.install().unwrap_err().to_string();
            assert!(error.starts_with("error: cannot create "), "{error}");
        }
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o700)).unwrap();
    }
}
