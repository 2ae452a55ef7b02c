//! Runs the plugin as a process with a temporary kubeconfig.

use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use tempfile::TempDir;

/// The plugin with a temporary kubeconfig.
pub(crate) struct Plugin {
    folder: TempDir,
}

/// The exit code and the output of one run of the plugin.
#[derive(Debug)]
pub(crate) struct CommandOutput {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) messages: String,
}

impl Plugin {
    pub(crate) fn for_server(server: &str) -> Self {
        Self::with_kubeconfig(&format!(
            r#"
current-context: here
contexts: [{{name: here, context: {{cluster: here, user: dev}}}}]
clusters: [{{name: here, cluster: {{server: "{server}"}}}}]
users: [{{name: dev, user: {{token: secret}}}}]
"#
        ))
    }

    pub(crate) fn with_kubeconfig(kubeconfig: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("kubeconfig"), kubeconfig).unwrap();
        Self { folder }
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-mirrord_sessions"));
        command
            .args(arguments.split_whitespace())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .env("KUBECONFIG", self.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> CommandOutput {
        CommandOutput::new(&self.command(arguments).output().unwrap())
    }
}

impl CommandOutput {
    pub(crate) fn new(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout.clone()).unwrap(),
            messages: String::from_utf8(output.stderr.clone()).unwrap(),
        }
    }

    /// Asserts success without messages. Returns the output.
    pub(crate) fn succeeds(self) -> String {
        assert_eq!((self.code, self.messages.as_str()), (Some(0), ""), "{}", self.out);
        self.out
    }

    /// Asserts failure with a single line. Returns the line.
    pub(crate) fn fails(self) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(1), ""), "{}", self.messages);
        assert_eq!(self.messages.lines().count(), 1, "{}", self.messages);
        assert!(self.messages.ends_with('\n') && !self.messages.contains('\u{1b}'), "{self:?}");
        self.messages.trim_end().to_owned()
    }
}
