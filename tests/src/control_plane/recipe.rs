//! Versions of the Go modules that the programs are built from, and the files of those modules.

use std::time::Duration;

use super::assets::Program;

const KUBERNETES: &str = "v1.36.3";
const ETCD: &str = "v3.6.16";
const KREW: &str = "v0.5.0";
/// Version of the staging modules (`k8s.io/api` and so on), published as v0.MINOR.PATCH.
const STAGING: &str = "v0.36.3";
/// Revision of the build itself, raised when it changes so that old caches are not used.
const REVISION: u32 = 1;

/// Path of the Kubernetes module, whose `go.mod` names the staging modules.
pub(crate) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";

/// Returns a cache folder name that contains every version that a cached program depends on.
pub(crate) fn cache_folder_name() -> String {
    format!(
        "control-plane-kubernetes-{KUBERNETES}-etcd-{ETCD}-{}-{}-r{REVISION}",
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

/// Returns the name of the cache folder of krew's programs.
pub(crate) fn krew_cache_folder_name() -> String {
    format!("krew-{KREW}-{}-{}-r{REVISION}", std::env::consts::OS, std::env::consts::ARCH)
}

/// Returns the Kubernetes module as `path@version`.
pub(crate) fn kubernetes_module() -> String {
    format!("{KUBERNETES_MODULE}@{KUBERNETES}")
}

/// A Go module in which programs are built.
///
/// etcd has its own module, since its dependencies may conflict with those of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Kubernetes,
    Etcd,
    Krew,
}

impl Module {
    pub(crate) fn for_program(program: Program) -> Self {
        match program {
            Program::Etcd => Self::Etcd,
            Program::KubeApiserver | Program::KubeControllerManager | Program::Kubectl => {
                Self::Kubernetes
            }
            Program::Krew | Program::ValidateKrewManifest => Self::Krew,
        }
    }

    /// Returns the modules that the programs are built in.
    pub(crate) fn for_programs(programs: &[Program]) -> Vec<Self> {
        let mut modules = vec![Self::Kubernetes, Self::Etcd, Self::Krew];
        modules.retain(|module| programs.iter().any(|p| Self::for_program(*p) == *module));
        modules
    }

    /// Returns the time, on two cores, of the downloads and of packages that programs share.
    fn shared_build_time(self) -> Duration {
        Duration::from_secs(match self {
            Self::Kubernetes => 270,
            Self::Etcd | Self::Krew => 30,
        })
    }

    pub(crate) fn folder_name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::Krew => "krew",
        }
    }

    /// Returns the text of `go.mod`, given the `go.mod` of Kubernetes itself.
    pub(crate) fn go_mod(self, kubernetes: &str) -> String {
        match self {
            Self::Etcd => format!(
                "module control-plane-etcd\n\ngo 1.26.0\n\n\
                 require go.etcd.io/etcd/server/v3 {ETCD}\n"
            ),
            Self::Krew => {
                format!("module krew-tools\n\ngo 1.26.0\n\nrequire sigs.k8s.io/krew {KREW}\n")
            }
            Self::Kubernetes => {
                // Kubernetes replaces its staging modules by folders of its repository. `replace`
                // has no effect in a required module, so published versions take their place.
                let replacements: Vec<_> = staging_modules(kubernetes)
                    .map(|name| format!("replace {name} => {name} {STAGING}\n"))
                    .collect();
                format!(
                    "module control-plane-kubernetes\n\ngo 1.26.0\n\n\
                     require {KUBERNETES_MODULE} {KUBERNETES}\n\n{}",
                    replacements.concat()
                )
            }
        }
    }

    /// Returns the text of `tools.go`, which makes `go mod tidy` keep the programs' dependencies.
    pub(crate) fn tools_go(self, programs: &[Program]) -> String {
        let imports: Vec<_> = programs
            .iter()
            .filter(|program| Self::for_program(**program) == self)
            .map(|program| format!("import _ \"{}\"\n", package(*program)))
            .collect();
        format!("//go:build tools\n\npackage tools\n\n{}", imports.concat())
    }
}

/// Returns the estimated time of a build on two cores, as `about 8 minutes`.
pub(crate) fn estimate(programs: &[Program]) -> String {
    let modules = Module::for_programs(programs);
    let shared: Duration = modules.into_iter().map(Module::shared_build_time).sum();
    let own: Duration = programs.iter().copied().map(build_time).sum();
    match (shared + own).as_secs().div_ceil(60) {
        0 | 1 => "about a minute".to_owned(),
        minutes => format!("about {minutes} minutes"),
    }
}

/// Returns the time, on two cores, of the packages that no other program needs, and of linking.
fn build_time(program: Program) -> Duration {
    Duration::from_secs(match program {
        Program::KubeApiserver | Program::KubeControllerManager => 60,
        Program::Etcd | Program::Kubectl => 30,
        Program::Krew | Program::ValidateKrewManifest => 15,
    })
}

pub(crate) fn package(program: Program) -> &'static str {
    match program {
        Program::Etcd => "go.etcd.io/etcd/server/v3",
        Program::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
        Program::KubeControllerManager => "k8s.io/kubernetes/cmd/kube-controller-manager",
        Program::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
        Program::Krew => "sigs.k8s.io/krew/cmd/krew",
        Program::ValidateKrewManifest => "sigs.k8s.io/krew/cmd/validate-krew-manifest",
    }
}

/// Returns linker flags that set the version of a release, which kubectl and other clients compare.
pub(crate) fn linker_flags(program: Program) -> String {
    match Module::for_program(program) {
        Module::Etcd => "-s -w".to_owned(),
        Module::Krew => format!("-s -w -X sigs.k8s.io/krew/internal/version.gitTag={KREW}"),
        Module::Kubernetes => {
            format!("-s -w -X k8s.io/component-base/version.gitVersion={KUBERNETES}")
        }
    }
}

fn staging_modules(kubernetes: &str) -> impl Iterator<Item = &str> {
    kubernetes.lines().filter_map(|line| {
        let line = line.trim();
        let (name, target) = line.strip_prefix("replace ").unwrap_or(line).split_once("=>")?;
        target.trim_start().starts_with("./staging/").then_some(name.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBERNETES_GO_MOD: &str = "module k8s.io/kubernetes\n\ngo 1.26.0\n\nrequire (\n\
        \tk8s.io/api v0.0.0\n)\n\nreplace k8s.io/kms => ./staging/src/k8s.io/kms\n\n\
        replace (\n\tk8s.io/api => ./staging/src/k8s.io/api\n\
        \tk8s.io/client-go => ./staging/src/k8s.io/client-go\n\
        \texample.com/fork => example.com/other v1.0.0\n)\n";

    #[test]
    fn replaces_staging_modules_by_published_ones() {
        assert_eq!(
            Module::Kubernetes.go_mod(KUBERNETES_GO_MOD),
            "module control-plane-kubernetes\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.36.3\n\n\
             replace k8s.io/kms => k8s.io/kms v0.36.3\n\
             replace k8s.io/api => k8s.io/api v0.36.3\n\
             replace k8s.io/client-go => k8s.io/client-go v0.36.3\n"
        );
    }

    #[test]
    fn imports_only_the_programs_of_the_module() {
        let programs = [Program::Etcd, Program::Kubectl];
        assert_eq!(
            Module::Kubernetes.tools_go(&programs),
            "//go:build tools\n\npackage tools\n\nimport _ \"k8s.io/kubernetes/cmd/kubectl\"\n"
        );
        assert_eq!(
            Module::Etcd.tools_go(&programs),
            "//go:build tools\n\npackage tools\n\nimport _ \"go.etcd.io/etcd/server/v3\"\n"
        );
    }

    #[test]
    fn estimates_grow_with_the_programs() {
        for (programs, expected) in [
            (&Program::ALL[..], "about 8 minutes"),
            (&[Program::KubeControllerManager], "about 6 minutes"),
            (&[Program::Etcd], "about a minute"),
            (&Program::KREW, "about a minute"),
        ] {
            assert_eq!(estimate(programs), expected, "{programs:?}");
        }
    }

    #[test]
    fn staging_version_matches_kubernetes() {
        assert_eq!(
            KUBERNETES.strip_prefix("v1."),
            STAGING.strip_prefix("v0."),
            "staging modules share the minor and patch version of Kubernetes"
        );
        for part in [KUBERNETES, ETCD, "-r"] {
            assert!(cache_folder_name().contains(part), "{part}");
        }
    }
}
