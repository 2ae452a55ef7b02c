//! How the programs are built from Go modules: versions, and the module files to build from.

use super::assets::Program;

const KUBERNETES: &str = "v1.36.3";
const ETCD: &str = "v3.6.16";
const KREW: &str = "v0.5.0";
/// Kubernetes publishes its staging modules (`k8s.io/api` and so on) as v0.MINOR.PATCH.
const STAGING: &str = "v0.36.3";
/// To be raised whenever the way of building changes: caches of the old recipe are then left alone.
const REVISION: u32 = 1;

/// The module whose own `go.mod` names the staging modules.
pub(crate) const KUBERNETES_MODULE: &str = "k8s.io/kubernetes";

/// Names everything that a cached program depends on, so that no stale one is ever taken.
pub(crate) fn cache_folder_name() -> String {
    format!(
        "control-plane-kubernetes-{KUBERNETES}-etcd-{ETCD}-{}-{}-r{REVISION}",
        std::env::consts::OS,
        std::env::consts::ARCH,
    )
}

/// The same for krew's programs.
pub(crate) fn krew_cache_folder_name() -> String {
    format!("krew-{KREW}-{}-{}-r{REVISION}", std::env::consts::OS, std::env::consts::ARCH,)
}

/// The module to ask Go about, as `path@version`.
pub(crate) fn kubernetes_module() -> String {
    format!("{KUBERNETES_MODULE}@{KUBERNETES}")
}

/// Programs that are built in one Go module. etcd wants one of its own: its dependencies and those
/// of Kubernetes need not agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Module {
    Kubernetes,
    Etcd,
    Krew,
}

impl Module {
    pub(crate) fn of(program: Program) -> Self {
        match program {
            Program::Etcd => Self::Etcd,
            Program::KubeApiserver | Program::KubeControllerManager | Program::Kubectl => {
                Self::Kubernetes
            }
            Program::Krew | Program::ValidateKrewManifest => Self::Krew,
        }
    }

    pub(crate) fn folder_name(self) -> &'static str {
        match self {
            Self::Kubernetes => "kubernetes",
            Self::Etcd => "etcd",
            Self::Krew => "krew",
        }
    }

    /// The text of `go.mod`. `kubernetes` is the `go.mod` of Kubernetes itself.
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
                // Kubernetes takes these from folders of its own repository, which a module that
                // is merely required cannot.
                let replaced: Vec<_> = staging_modules(kubernetes)
                    .map(|name| format!("replace {name} => {name} {STAGING}\n"))
                    .collect();
                format!(
                    "module control-plane-kubernetes\n\ngo 1.26.0\n\n\
                     require {KUBERNETES_MODULE} {KUBERNETES}\n\n{}",
                    replaced.concat()
                )
            }
        }
    }

    /// The text of `tools.go`, which makes `go mod tidy` keep what the programs need.
    pub(crate) fn tools_go(self, programs: &[Program]) -> String {
        let imports: Vec<_> = programs
            .iter()
            .filter(|program| Self::of(**program) == self)
            .map(|program| format!("import _ \"{}\"\n", package(*program)))
            .collect();
        format!("//go:build tools\n\npackage tools\n\n{}", imports.concat())
    }
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

/// The linker sets the versions that a release would report: kubectl and clients compare them.
pub(crate) fn linker_flags(program: Program) -> String {
    match Module::of(program) {
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
    fn staging_modules_are_replaced_by_published_ones() {
        assert_eq!(
            Module::Kubernetes.go_mod(KUBERNETES_GO_MOD),
            "module control-plane-kubernetes\n\ngo 1.26.0\n\nrequire k8s.io/kubernetes v1.36.3\n\n\
             replace k8s.io/kms => k8s.io/kms v0.36.3\n\
             replace k8s.io/api => k8s.io/api v0.36.3\n\
             replace k8s.io/client-go => k8s.io/client-go v0.36.3\n"
        );
    }

    #[test]
    fn only_what_is_built_is_imported() {
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
    fn versions_agree() {
        assert_eq!(
            KUBERNETES.strip_prefix("v1."),
            STAGING.strip_prefix("v0."),
            "staging modules are published with Kubernetes"
        );
        for part in [KUBERNETES, ETCD, "-r"] {
            assert!(cache_folder_name().contains(part), "{part}");
        }
    }
}
