//! Locates the programs of the control plane and builds the missing ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::error::Error;
use super::recipe;

/// Environment variable that names the folder of the programs, by envtest's convention.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// A program that the control plane or the tests of krew run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// etcd, the store of the API server.
    Etcd,
    /// kube-apiserver, the API server.
    KubeApiserver,
    /// kube-controller-manager: service accounts, namespaces, garbage collection, Jobs.
    KubeControllerManager,
    /// kubectl, the command-line client.
    Kubectl,
    /// krew, the plugin manager of kubectl, which the control plane does not need.
    Krew,
    /// validate-krew-manifest, the validator of krew's index.
    ValidateKrewManifest,
}

impl Program {
    /// Programs of the control plane, in the order in which they are built and started.
    pub const ALL: [Self; 4] =
        [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl];

    /// Programs of a test installation by krew.
    pub const KREW: [Self; 2] = [Self::Krew, Self::ValidateKrewManifest];

    /// Returns the name of the executable file.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::KubeControllerManager => "kube-controller-manager",
            Self::Kubectl => "kubectl",
            Self::Krew => "krew",
            Self::ValidateKrewManifest => "validate-krew-manifest",
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file_name())
    }
}

/// Paths of the located programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets(BTreeMap<Program, PathBuf>);

impl Assets {
    /// Locates the programs of the control plane and builds the missing ones.
    ///
    /// A build takes minutes, happens once, and reports progress on stderr.
    pub fn locate() -> Result<Self, Error> {
        Self::locate_in(&SearchPath::control_plane()?, &Program::ALL)
    }

    /// Locates krew's programs, which envtest's assets never contain, and builds the missing ones.
    pub fn locate_krew() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name).filter(|_| name != ASSETS_VARIABLE);
        let search_path = SearchPath::from_process(&recipe::krew_cache_folder_name(), variable)?;
        Self::locate_in(&search_path, &Program::KREW)
    }

    /// Returns the estimated time that [`Assets::locate`] would spend on a build, if it needs one.
    ///
    /// Fails if a build is needed and Go is not installed.
    pub fn build_estimate() -> Result<Option<String>, Error> {
        let search_path = SearchPath::control_plane()?;
        let missing = search(&Program::ALL, &search_path, Path::is_dir, is_program)?.missing;
        if missing.is_empty() {
            return Ok(None);
        }
        Builder::new(&search_path.cache).check_go(&missing)?;
        Ok(Some(recipe::estimate(&missing)))
    }

    fn locate_in(search_path: &SearchPath, wanted: &[Program]) -> Result<Self, Error> {
        let before = search(wanted, search_path, Path::is_dir, is_program)?;
        if !before.missing.is_empty() {
            Builder::new(&search_path.cache).build(&before.missing)?;
        }
        let after = search(wanted, search_path, Path::is_dir, is_program)?;
        if after.missing.is_empty() {
            Ok(Self(after.found))
        } else {
            // Another process emptied the cache after the build.
            Err(Error::Io {
                doing: format!("keep programs in {}", search_path.cache.display()),
                source: std::io::ErrorKind::NotFound.into(),
            })
        }
    }

    /// Returns the path of a program.
    #[must_use]
    pub fn path(&self, program: Program) -> &Path {
        // Control plane and krew have separate assets. For a program of the other set, the bare
        // name makes the system search PATH.
        self.0.get(&program).map_or(Path::new(program.file_name()), PathBuf::as_path)
    }
}

/// Folders to search for programs: the assets folder first, then the cache.
#[derive(Debug, PartialEq, Eq)]
struct SearchPath {
    assets: Option<PathBuf>,
    cache: PathBuf,
}

impl SearchPath {
    fn control_plane() -> Result<Self, Error> {
        Self::from_process(&recipe::cache_folder_name(), |name| std::env::var_os(name))
    }

    fn from_process(
        folder: &str,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        Self::from_environment(folder, variable, std::env::home_dir(), std::env::consts::OS)
    }

    fn from_environment(
        folder: &str,
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        os: &str,
    ) -> Result<Self, Error> {
        let path = |name| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = home.filter(|h| !h.as_os_str().is_empty());
        // The XDG specification requires that relative paths are ignored.
        let caches = path("XDG_CACHE_HOME")
            .filter(|p| p.is_absolute())
            .or_else(|| {
                home.map(|home| match os {
                    "macos" => home.join("Library/Caches"),
                    _ => home.join(".cache"),
                })
            })
            .ok_or(Error::NoCacheFolder)?;
        Ok(Self {
            assets: path(ASSETS_VARIABLE),
            cache: caches.join("mirrord-sessions").join(folder),
        })
    }
}

/// Result of a search: the paths of found programs, and the programs found nowhere.
#[derive(Debug, PartialEq, Eq)]
struct SearchResult {
    found: BTreeMap<Program, PathBuf>,
    missing: Vec<Program>,
}

/// Searches for each program separately.
///
/// envtest's folder lacks kube-controller-manager, which then comes from the cache while the other
/// programs come from the folder.
fn search(
    wanted: &[Program],
    search_path: &SearchPath,
    is_folder: impl Fn(&Path) -> bool,
    is_program: impl Fn(&Path) -> bool,
) -> Result<SearchResult, Error> {
    let programs_in = |folder: &Path| -> BTreeMap<Program, PathBuf> {
        wanted
            .iter()
            .copied()
            .map(|program| (program, folder.join(program.file_name())))
            .filter(|(_, path)| is_program(path))
            .collect()
    };
    let mut found = programs_in(&search_path.cache);
    if let Some(folder) = &search_path.assets {
        if !is_folder(folder) {
            return Err(Error::AssetsFolderMissing(folder.clone()));
        }
        let assets = programs_in(folder);
        if assets.is_empty() {
            return Err(Error::AssetsFolderEmpty(folder.clone()));
        }
        found.extend(assets);
    }
    let missing = wanted.iter().copied().filter(|program| !found.contains_key(program)).collect();
    Ok(SearchResult { found, missing })
}

/// Returns whether the path is an executable file.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search_path(
        variables: &[(&str, &str)],
        home: Option<&str>,
        os: &str,
    ) -> Result<SearchPath, Error> {
        let variable = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        SearchPath::from_environment("this", variable, home.map(PathBuf::from), os)
    }

    #[test]
    fn cache_follows_the_convention_of_the_system() {
        for (case, variables, home, os, expected) in [
            ("linux", &[][..], Some("/h"), "linux", Some("/h/.cache")),
            ("mac", &[], Some("/h"), "macos", Some("/h/Library/Caches")),
            ("xdg", &[("XDG_CACHE_HOME", "/x")], Some("/h"), "linux", Some("/x")),
            ("xdg, no home", &[("XDG_CACHE_HOME", "/x")], None, "linux", Some("/x")),
            ("xdg relative", &[("XDG_CACHE_HOME", "x")], Some("/h"), "linux", Some("/h/.cache")),
            ("xdg empty", &[("XDG_CACHE_HOME", "")], Some("/h"), "linux", Some("/h/.cache")),
            ("nothing", &[], None, "linux", None),
            ("empty home", &[], Some(""), "linux", None),
        ] {
            let cache = search_path(variables, home, os).ok().map(|p| p.cache);
            let expected = expected.map(|e| Path::new(e).join("mirrord-sessions").join("this"));
            assert_eq!(cache, expected, "{case}");
        }
    }

    #[test]
    fn empty_assets_variable_is_ignored() {
        let search_path = search_path(&[(ASSETS_VARIABLE, "")], Some("/h"), "linux").unwrap();
        assert_eq!(search_path.assets, None);
    }

    #[test]
    fn searches_for_each_program_separately() {
        use Program::{Etcd, KubeApiserver, KubeControllerManager, Kubectl};
        let envtest = ["/given/etcd", "/given/kube-apiserver", "/given/kubectl"];
        for (case, has_assets, executables, from_assets, missing) in [
            ("fresh machine", false, vec![], vec![], Program::ALL.to_vec()),
            (
                "envtest",
                true,
                envtest.to_vec(),
                vec![Etcd, KubeApiserver, Kubectl],
                vec![KubeControllerManager],
            ),
            (
                "envtest and a cache",
                true,
                [&envtest[..], &["/cache/kube-controller-manager", "/cache/etcd"]].concat(),
                vec![Etcd, KubeApiserver, Kubectl],
                vec![],
            ),
            (
                "half a cache",
                false,
                vec!["/cache/etcd"],
                vec![],
                vec![KubeApiserver, KubeControllerManager, Kubectl],
            ),
        ] {
            let search_path =
                SearchPath { assets: has_assets.then(|| "/given".into()), cache: "/cache".into() };
            let is_executable = |p: &Path| executables.iter().any(|t| p == Path::new(t));
            let result = search(&Program::ALL, &search_path, |_| true, is_executable).unwrap();
            let found_in_assets: Vec<_> = result
                .found
                .iter()
                .filter(|(_, path)| path.starts_with("/given"))
                .map(|(program, _)| *program)
                .collect();
            assert_eq!(found_in_assets, from_assets, "{case}");
            assert_eq!(result.missing, missing, "{case}");
        }
    }

    #[test]
    fn wrong_assets_folder_is_an_error_and_starts_no_build() {
        let search_path = SearchPath { assets: Some("/given".into()), cache: "/cache".into() };
        let missing =
            search(&Program::ALL, &search_path, |_| false, |_| false).unwrap_err().to_string();
        assert!(
            missing.contains("KUBEBUILDER_ASSETS is set to /given, which is not a folder"),
            "{missing}"
        );
        let empty =
            search(&Program::ALL, &search_path, |_| true, |_| false).unwrap_err().to_string();
        assert!(empty.contains("contains none of etcd"), "{empty}");
    }
}
