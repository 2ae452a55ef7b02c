//! What can go wrong with the local control plane, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::assets::{ASSETS_VARIABLE, Program};

/// Why the local control plane, or something asked of it, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs are missing and nothing is there to build them with.
    #[error(
        "{} not found, and no Go to build with. Either install Go 1.26 or newer (https://go.dev/dl) \
         and run this again: it builds them once, in some minutes; or set {ASSETS_VARIABLE} to a \
         folder that holds {}",
        names(.missing), names(&Program::ALL)
    )]
    NoGo {
        /// What was found nowhere.
        missing: Vec<Program>,
    },

    /// `KUBEBUILDER_ASSETS` names something that is no folder.
    #[error(
        "{ASSETS_VARIABLE} is set to {}, which is not a folder: correct it, or unset it to use \
         the cache", .0.display()
    )]
    AssetsFolderMissing(PathBuf),

    /// `KUBEBUILDER_ASSETS` names a folder that holds none of the programs.
    #[error(
        "{ASSETS_VARIABLE} is set to {}, which holds none of {}: correct it, or unset it to use \
         the cache", .0.display(), names(&Program::ALL)
    )]
    AssetsFolderEmpty(PathBuf),

    /// Neither the environment nor the system names a home folder.
    #[error("no folder to cache programs in: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCacheFolder,

    /// A Go command failed.
    #[error("{step} failed ({status}); the last it said:\n{tail}")]
    Build {
        /// What was being done.
        step: String,
        /// How Go ended.
        status: ExitStatus,
        /// The last lines of its output.
        tail: String,
    },

    /// The Go module of Kubernetes isn't what the recipe expects.
    #[error("cannot read what Go says about the module {module}: {why}")]
    Module {
        /// The module asked for.
        module: String,
        /// What was unexpected.
        why: String,
    },

    /// The temporary folder's path is longer than a socket's may be.
    #[error(
        "the temporary folder {} is too deep for a socket in it: set TMPDIR to a shorter path",
        .0.display()
    )]
    FolderTooDeep(PathBuf),

    /// A server ended while it was waited for.
    #[error("{program} ended ({status}) instead of starting; the end of {}:\n{tail}", .log.display())]
    Exited {
        /// Which one.
        program: Program,
        /// How it ended.
        status: ExitStatus,
        /// Its log, gone together with the control plane.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },

    /// A server runs but did not become ready.
    #[error(
        "{program} was not ready after {} s (last: {last}); the end of {}:\n{tail}",
        .waited.as_secs(), .log.display()
    )]
    NotReady {
        /// Which one.
        program: Program,
        /// How long it was waited for.
        waited: Duration,
        /// What the last question was answered with.
        last: String,
        /// Its log, gone together with the control plane if this was the start.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },

    /// Making a key or a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),

    /// A kubeconfig could not be written or used.
    #[error("cannot make a kubeconfig: {0}")]
    Kubeconfig(String),

    /// The API server refused, or could not be reached.
    #[error("the local API server did not do as asked: {0}")]
    Api(#[from] Box<kube::Error>),

    /// Something about files or processes.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: String,
        /// Why it could not be.
        source: io::Error,
    },
}

impl Error {
    /// For `map_err`: names what an I/O error interrupted.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Whether another process took the port between our choosing and our using it.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("address already in use"))
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

fn names(programs: &[Program]) -> String {
    let names: Vec<_> = programs.iter().map(|p| p.file_name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_go_both_ways_out_are_named() {
        let missing = vec![Program::Etcd, Program::Kubectl];
        let text = Error::NoGo { missing }.to_string();
        assert!(text.starts_with("etcd, kubectl not found"), "{text}");
        assert!(text.contains("install Go 1.26"), "{text}");
        assert!(
            text.contains(
                "KUBEBUILDER_ASSETS to a folder that holds \
                 etcd, kube-apiserver, kube-controller-manager, kubectl"
            ),
            "{text}"
        );
    }
}
