//! The home folder of the user, as kubectl and krew find it.

#[cfg(any(windows, test))]
use std::path::{Path, PathBuf};

#[cfg(not(windows))]
pub(crate) use std::env::home_dir as of_process;

#[cfg(windows)]
pub(crate) fn of_process() -> Option<PathBuf> {
    let of = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let drive = of("HOMEDRIVE").zip(of("HOMEPATH"));
    let candidates = Candidates {
        home: of("HOME").map(PathBuf::from),
        drive: drive.map(|(mut drive, path)| {
            drive.push(path);
            drive.into()
        }),
        profile: of("USERPROFILE").map(PathBuf::from),
    };
    candidates.choose(Path::exists)
}

/// The candidates on Windows: `HOME`, `HOMEDRIVE` with `HOMEPATH`, and `USERPROFILE`.
#[cfg(any(windows, test))]
struct Candidates {
    home: Option<PathBuf>,
    drive: Option<PathBuf>,
    profile: Option<PathBuf>,
}

#[cfg(any(windows, test))]
impl Candidates {
    /// Returns the first folder with a kubeconfig, else the first that exists, else the first.
    fn choose(self, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let Self { home, drive, profile } = self;
        // The two orders differ in client-go, which kubectl and krew use.
        let with_config = [&home, &drive, &profile]
            .into_iter()
            .flatten()
            .find(|folder| exists(&folder.join(".kube").join("config")));
        let all = || [&home, &profile, &drive].into_iter().flatten();
        with_config
            .or_else(|| all().find(|folder| exists(folder)))
            .or_else(|| all().next())
            .cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_home_of_kubectl_on_windows() {
        for (name, set, there, expected) in [
            ("nothing is set", "", "home/.kube/config", None),
            (
                "the first that has one",
                "home drive profile",
                "home/.kube/config drive/.kube/config",
                Some("home"),
            ),
            (
                "a network drive before the profile",
                "home drive profile",
                "home drive/.kube/config profile/.kube/config",
                Some("drive"),
            ),
            (
                "only the profile has one",
                "home drive profile",
                "home drive profile/.kube/config",
                Some("profile"),
            ),
            ("none has one", "home drive profile", "drive profile", Some("profile")),
            ("only the drive is there", "home drive profile", "drive", Some("drive")),
            ("none is there", "drive profile", "", Some("profile")),
        ] {
            let of = |name: &str| set.split(' ').any(|set| set == name).then(|| name.into());
            let candidates =
                Candidates { home: of("home"), drive: of("drive"), profile: of("profile") };
            let exists = |path: &Path| there.split(' ').any(|there| path == Path::new(there));
            assert_eq!(candidates.choose(exists), expected.map(PathBuf::from), "{name}");
        }
    }
}
