//! Errors of the local control plane, each with a remedy where one is known.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use super::assets::{ASSETS_VARIABLE, Program};

/// An error of the local control plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Programs are missing, and Go is not installed to build them.
    #[error(
        "{} not found, and Go is not installed to build them. Either install Go 1.26 or newer \
         (https://go.dev/dl) and run this again, which builds them once within minutes, or set \
         {ASSETS_VARIABLE} to a folder that contains {}",
        join_names(.missing), join_names(&Program::ALL)
    )]
    NoGo {
        /// Programs that were not found.
        missing: Vec<Program>,
    },

    /// `KUBEBUILDER_ASSETS` does not name a folder.
    #[error(
        "{ASSETS_VARIABLE} is set to {}, which is not a folder: correct it, or unset it to use \
         the cache", .0.display()
    )]
    AssetsFolderMissing(PathBuf),

    /// `KUBEBUILDER_ASSETS` names a folder without any of the programs.
    #[error(
        "{ASSETS_VARIABLE} is set to {}, which contains none of {}: correct it, or unset it to use \
         the cache", .0.display(), join_names(&Program::ALL)
    )]
    AssetsFolderEmpty(PathBuf),

    /// Neither the environment nor the system provides a home folder.
    #[error("no folder to cache programs in: set HOME, or XDG_CACHE_HOME to an absolute path")]
    NoCacheFolder,

    /// A Go command failed.
    #[error("{step} failed ({status}); last lines of its output:\n{tail}")]
    Build {
        /// The step that failed.
        step: String,
        /// The exit status of Go.
        status: ExitStatus,
        /// The last lines of the output.
        tail: String,
    },

    /// Go reported the module of Kubernetes in an unexpected form.
    #[error("unexpected output of Go for the module {module}: {why}")]
    Module {
        /// The module as `path@version`.
        module: String,
        /// The part that was unexpected.
        why: String,
    },

    /// The path of the temporary folder is too long for a Unix socket.
    #[error(
        "the path of the temporary folder {} is too long for a socket: set TMPDIR to a shorter path",
        .0.display()
    )]
    FolderTooDeep(PathBuf),

    /// A server exited before it was ready.
    #[error("{program} exited ({status}) before it was ready; last lines of {}:\n{tail}", .log.display())]
    Exited {
        /// The server that failed.
        program: Program,
        /// The server's exit status.
        status: ExitStatus,
        /// The log, removed together with the control plane.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A server is running but did not become ready in time.
    #[error(
        "{program} was not ready after {} s (last error: {last}); last lines of {}:\n{tail}",
        .waited.as_secs(), .log.display()
    )]
    NotReady {
        /// The server that failed.
        program: Program,
        /// The time until the timeout.
        waited: Duration,
        /// The error of the last check.
        last: String,
        /// The log, removed together with the control plane if its start failed.
        log: PathBuf,
        /// The last lines of the log.
        tail: String,
    },

    /// A key or a certificate could not be generated.
    #[error("cannot generate a certificate: {0}")]
    Certificate(#[from] rcgen::Error),

    /// A kubeconfig could not be written or used.
    #[error("cannot use or write a kubeconfig: {0}")]
    Kubeconfig(String),

    /// A request to the local API server failed.
    #[error("request to the local API server failed: {0}")]
    Api(#[from] Box<kube::Error>),

    /// An operation on files or processes failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// The operation that failed.
        doing: String,
        /// The cause of the failure.
        source: io::Error,
    },
}

impl Error {
    /// Returns a closure for `map_err` that names the failed operation.
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Io { doing, source }
    }

    /// Returns whether another process took the port after it was chosen.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Exited { tail, .. } if tail.contains("address already in use"))
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Api(Box::new(error))
    }
}

fn join_names(programs: &[Program]) -> String {
    let names: Vec<_> = programs.iter().map(|p| p.file_name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_go_error_names_both_remedies() {
        let missing = vec![Program::Etcd, Program::Kubectl];
        let text = Error::NoGo { missing }.to_string();
        assert!(text.starts_with("etcd, kubectl not found"), "{text}");
        assert!(text.contains("install Go 1.26"), "{text}");
        assert!(
            text.contains(
                "KUBEBUILDER_ASSETS to a folder that contains \
                 etcd, kube-apiserver, kube-controller-manager, kubectl"
            ),
            "{text}"
        );
    }
}
