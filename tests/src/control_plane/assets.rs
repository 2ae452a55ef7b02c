//! Where the programs of the control plane are, and which of them have to be built.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::build::Builder;
use super::error::Error;
use super::recipe;

/// The variable by which envtest's users say where such programs are.
pub const ASSETS_VARIABLE: &str = "KUBEBUILDER_ASSETS";

/// The programs that a control plane needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// The store.
    Etcd,
    /// The API server.
    KubeApiserver,
    /// The controllers: service accounts, namespaces, garbage collection, Jobs.
    KubeControllerManager,
    /// The client.
    Kubectl,
    /// The manager of kubectl's plugins: not of the control plane.
    Krew,
    /// The check of krew's index.
    ValidateKrewManifest,
}

impl Program {
    /// All of them, cheapest diagnosis first: etcd is what everything else waits for.
    pub const ALL: [Self; 4] =
        [Self::Etcd, Self::KubeApiserver, Self::KubeControllerManager, Self::Kubectl];

    /// What it takes to try an installation by krew.
    pub const KREW: [Self; 2] = [Self::Krew, Self::ValidateKrewManifest];

    /// The name of its file, wherever it comes from.
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

/// The path of each program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assets(BTreeMap<Program, PathBuf>);

impl Assets {
    /// Finds the control plane's programs, and builds what is missing: minutes, once, with progress
    /// on stderr.
    pub fn locate() -> Result<Self, Error> {
        Self::find(&Program::ALL, &recipe::cache_folder_name(), |name| std::env::var_os(name))
    }

    /// The same for krew's programs, which no assets of envtest hold.
    pub fn locate_krew() -> Result<Self, Error> {
        let variable = |name: &str| std::env::var_os(name).filter(|_| name != ASSETS_VARIABLE);
        Self::find(&Program::KREW, &recipe::krew_cache_folder_name(), variable)
    }

    fn find(
        wanted: &[Program],
        folder: &str,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, Error> {
        let places =
            Places::from_environment(folder, variable, std::env::home_dir(), std::env::consts::OS)?;
        let first = survey(wanted, &places, Path::is_dir, is_program)?;
        if !first.missing.is_empty() {
            Builder::new(&places.cache).build(&first.missing)?;
        }
        let now = survey(wanted, &places, Path::is_dir, is_program)?;
        if now.missing.is_empty() {
            Ok(Self(now.found))
        } else {
            // Somebody emptied the cache between the build and this look.
            Err(Error::Io {
                doing: format!("keep programs in {}", places.cache.display()),
                source: std::io::ErrorKind::NotFound.into(),
            })
        }
    }

    /// Where this program is.
    #[must_use]
    pub fn path(&self, program: Program) -> &Path {
        // `locate` is the only constructor, and lists every program; the bare name is what a
        // shell would look for.
        self.0.get(&program).map_or(Path::new(program.file_name()), PathBuf::as_path)
    }
}

/// The folders to look in, in this order.
#[derive(Debug, PartialEq, Eq)]
struct Places {
    given: Option<PathBuf>,
    cache: PathBuf,
}

impl Places {
    fn from_environment(
        folder: &str,
        variable: impl Fn(&str) -> Option<OsString>,
        home: Option<PathBuf>,
        os: &str,
    ) -> Result<Self, Error> {
        let path = |name| variable(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = home.filter(|h| !h.as_os_str().is_empty());
        // The XDG specification wants relative paths ignored.
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
            given: path(ASSETS_VARIABLE),
            cache: caches.join("mirrord-sessions").join(folder),
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Survey {
    found: BTreeMap<Program, PathBuf>,
    missing: Vec<Program>,
}

/// Looks for each program by itself: envtest's folder lacks kube-controller-manager, which then
/// comes from the cache while the others don't.
fn survey(
    wanted: &[Program],
    places: &Places,
    is_folder: impl Fn(&Path) -> bool,
    is_program: impl Fn(&Path) -> bool,
) -> Result<Survey, Error> {
    let within = |folder: &Path| -> BTreeMap<Program, PathBuf> {
        wanted
            .iter()
            .copied()
            .map(|program| (program, folder.join(program.file_name())))
            .filter(|(_, path)| is_program(path))
            .collect()
    };
    let mut found = within(&places.cache);
    if let Some(folder) = &places.given {
        if !is_folder(folder) {
            return Err(Error::AssetsFolderMissing(folder.clone()));
        }
        let given = within(folder);
        if given.is_empty() {
            return Err(Error::AssetsFolderEmpty(folder.clone()));
        }
        found.extend(given);
    }
    let missing = wanted.iter().copied().filter(|program| !found.contains_key(program)).collect();
    Ok(Survey { found, missing })
}

/// A file that may be run.
pub(crate) fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(variables: &[(&str, &str)], home: Option<&str>, os: &str) -> Result<Places, Error> {
        let variable = |name: &str| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        };
        Places::from_environment("this", variable, home.map(PathBuf::from), os)
    }

    #[test]
    fn the_cache_is_where_the_system_keeps_caches() {
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
            let cache = places(variables, home, os).ok().map(|p| p.cache);
            let expected = expected.map(|e| Path::new(e).join("mirrord-sessions").join("this"));
            assert_eq!(cache, expected, "{case}");
        }
    }

    #[test]
    fn an_empty_variable_is_no_folder() {
        let places = places(&[(ASSETS_VARIABLE, "")], Some("/h"), "linux").unwrap();
        assert_eq!(places.given, None);
    }

    #[test]
    fn each_program_is_looked_for_by_itself() {
        use Program::{Etcd, KubeApiserver, KubeControllerManager, Kubectl};
        let envtest = ["/given/etcd", "/given/kube-apiserver", "/given/kubectl"];
        for (case, given, there, from_given, missing) in [
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
            let places = Places { given: given.then(|| "/given".into()), cache: "/cache".into() };
            let usable = |p: &Path| there.iter().any(|t| p == Path::new(t));
            let survey = survey(&Program::ALL, &places, |_| true, usable).unwrap();
            let given: Vec<_> = survey
                .found
                .iter()
                .filter(|(_, path)| path.starts_with("/given"))
                .map(|(program, _)| *program)
                .collect();
            assert_eq!(given, from_given, "{case}");
            assert_eq!(survey.missing, missing, "{case}");
        }
    }

    #[test]
    fn a_wrong_folder_is_an_error_rather_than_a_build() {
        let places = Places { given: Some("/given".into()), cache: "/cache".into() };
        let missing = survey(&Program::ALL, &places, |_| false, |_| false).unwrap_err().to_string();
        assert!(
            missing.contains("KUBEBUILDER_ASSETS is set to /given, which is not a folder"),
            "{missing}"
        );
        let empty = survey(&Program::ALL, &places, |_| true, |_| false).unwrap_err().to_string();
        assert!(empty.contains("holds none of etcd"), "{empty}");
    }
}
