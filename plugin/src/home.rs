//! Home directory of the user, as kubectl and krew determine it.

#[cfg(any(windows, test))]
use std::path::{Path, PathBuf};

#[cfg(not(windows))]
pub(crate) use std::env::home_dir;

#[cfg(windows)]
pub(crate) fn home_dir() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let drive = variable("HOMEDRIVE").zip(variable("HOMEPATH"));
    let candidates = Candidates {
        home: variable("HOME").map(PathBuf::from),
        drive: drive.map(|(mut drive, path)| {
            drive.push(path);
            drive.into()
        }),
        profile: variable("USERPROFILE").map(PathBuf::from),
    };
    candidates.choose(Path::exists)
}

/// Home directories that the environment of Windows names: `HOME`, `HOMEDRIVE` with `HOMEPATH`, and
/// `USERPROFILE`.
#[cfg(any(windows, test))]
struct Candidates {
    home: Option<PathBuf>,
    drive: Option<PathBuf>,
    profile: Option<PathBuf>,
}

#[cfg(any(windows, test))]
impl Candidates {
    /// Returns the first candidate with a kubeconfig, else the first that exists, else the first.
    fn choose(self, exists: impl Fn(&Path) -> bool) -> Option<PathBuf> {
        let Self { home, drive, profile } = self;
        // client-go, which kubectl and krew use, tries the candidates in two different orders.
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
    fn selects_the_home_directory_of_windows_as_client_go() {
        for (name, set, existing, expected) in [
            ("no variable is set", "", "home/.kube/config", None),
            (
                "the first with a kubeconfig",
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
                "only the profile has a kubeconfig",
                "home drive profile",
                "home drive profile/.kube/config",
                Some("profile"),
            ),
            ("no kubeconfig", "home drive profile", "drive profile", Some("profile")),
            ("only the drive exists", "home drive profile", "drive", Some("drive")),
            ("no candidate exists", "drive profile", "", Some("profile")),
        ] {
            let candidate = |name: &str| set.split(' ').any(|set| set == name).then(|| name.into());
            let candidates = Candidates {
                home: candidate("home"),
                drive: candidate("drive"),
                profile: candidate("profile"),
            };
            let exists = |path: &Path| existing.split(' ').any(|known| path == Path::new(known));
            assert_eq!(candidates.choose(exists), expected.map(PathBuf::from), "{name}");
        }
    }
}
