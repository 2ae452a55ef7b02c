//! Who is there, and how a command is shown, run and checked.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::say;
use crate::{
    cluster::Cluster,
    control_plane::{Identity, Program},
};

/// How long what a controller does may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// The contexts of the demo's kubeconfig. The first is the current one.
const CONTEXTS: [(&str, &[&str]); 5] = [
    ("admin", &["system:masters"]),
    ("developer-1", &["developers"]),
    ("developer-2", &["developers"]),
    ("auditor", &["auditors"]),
    ("nobody", &[]),
];

/// A command with what should come of it.
pub(super) struct Step<'a> {
    /// What it shows, in a sentence.
    pub(super) about: &'a str,
    /// The command line; its first word is `kubectl`.
    pub(super) command: &'a [&'a str],
    /// What goes to standard input, shown above the command.
    pub(super) input: Option<String>,
    /// Whether it should succeed.
    pub(super) succeeds: bool,
    /// Every one of these must be in the output.
    pub(super) shows: &'a [&'a str],
    /// None of these may be.
    pub(super) hides: &'a [&'a str],
}

impl<'a> Step<'a> {
    pub(super) fn new(about: &'a str, command: &'a [&'a str]) -> Self {
        Self { about, command, input: None, succeeds: true, shows: &[], hides: &[] }
    }
}

/// The cluster, its people, and a PATH where kubectl finds the plugin.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    kubeconfig: PathBuf,
    path: String,
    steps: usize,
}

impl<'a> Stage<'a> {
    pub(super) async fn set(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let people =
            CONTEXTS.map(|(name, groups)| (name, Identity::new(name, groups.iter().copied())));
        let kubeconfig = cluster.plane.kubeconfig_with_contexts(&people)?;
        let bin = cluster.plane.folder().join("bin");
        std::fs::create_dir(&bin).context("a folder for kubectl and the plugin")?;
        symlink(cluster.plane.assets().path(Program::Kubectl), bin.join("kubectl"))
            .and_then(|()| symlink(&cluster.programs.plugin, bin.join("kubectl-mirrord_sessions")))
            .context("links to kubectl and the plugin")?;
        let rest = std::env::var("PATH").unwrap_or_default();
        bind(cluster).await?;
        Ok(Self {
            cluster,
            kubeconfig: kubeconfig.path().to_owned(),
            path: format!("{}:{rest}", bin.display()),
            steps: 0,
        })
    }

    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Shows a command and its output, and fails if it did not do what it should.
    pub(super) async fn show(&mut self, step: Step<'_>) -> anyhow::Result<String> {
        self.steps += 1;
        say(&format!("\n# {}. {}", self.steps, step.about));
        let shown: Vec<String> = step.command.iter().map(|word| quoted(word)).collect();
        if let Some(input) = &step.input {
            say(&format!("$ {} <<EOF\n{}\nEOF", shown.join(" "), input.trim_end()));
        } else {
            say(&format!("$ {}", shown.join(" ")));
        }
        let (succeeded, output) = self.run(step.command, step.input.as_deref()).await?;
        say(output.trim_end());
        if succeeded != step.succeeds {
            bail!(
                "step {} should have {}, and did not",
                self.steps,
                if step.succeeds { "succeeded" } else { "failed" }
            );
        }
        for expected in step.shows {
            ensure!(
                output.contains(expected),
                "step {} should have shown {expected:?}",
                self.steps
            );
        }
        for unexpected in step.hides {
            ensure!(
                !output.contains(unexpected),
                "step {} should not have shown {unexpected:?}",
                self.steps
            );
        }
        Ok(output)
    }

    /// Runs a command; whether it succeeded, and what it printed on both streams.
    pub(super) async fn run(
        &self,
        command: &[&str],
        input: Option<&str>,
    ) -> anyhow::Result<(bool, String)> {
        let (_, args) = command.split_first().context("an empty command")?;
        let command = self.cluster.plane.kubectl_command(&self.kubeconfig);
        let mut child = tokio::process::Command::from(command)
            .args(args)
            .env("PATH", &self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("run kubectl")?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            stdin.write_all(input.as_bytes()).await.context("write to kubectl")?;
        }
        let output = child.wait_with_output().await.context("wait for kubectl")?;
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        Ok((output.status.success(), text.into_owned()))
    }

    /// Runs a command until its output is as it should be.
    pub(super) async fn until(
        &self,
        command: &[&str],
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let start = Instant::now();
        loop {
            let (_, output) = self.run(command, None).await?;
            let output = output.trim();
            if wanted(output) {
                return Ok(output.to_owned());
            }
            ensure!(
                start.elapsed() < PATIENCE,
                "waited in vain; {} last said {output:?}",
                command.join(" ")
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// How to go on by oneself.
    pub(super) fn invitation(&self) -> String {
        format!(
            "\nEverything goes on running until Ctrl-C. In another terminal:\n\n\
             export KUBECONFIG='{kubeconfig}'\n\
             export PATH='{bin}':\"$PATH\"\n\n\
             kubectl mirrord-sessions list --context developer-1\n\n\
             Contexts: {contexts}.\n\
             The webhook's log: {log}",
            kubeconfig = self.kubeconfig.display(),
            bin = self.cluster.plane.folder().join("bin").display(),
            contexts = CONTEXTS.map(|(name, _)| name).join(", "),
            log = self.cluster.webhook.log().display(),
        )
    }
}

/// Gives the developers their role. The auditor sees Sessions and may not touch them; nobody holds
/// nothing.
async fn bind(cluster: &Cluster) -> anyhow::Result<()> {
    let api_group = "rbac.authorization.k8s.io";
    let user = |name: &str| json!({ "apiGroup": api_group, "kind": "User", "name": name });
    let binding = |name: &str, role: &str, subjects: serde_json::Value| {
        json!({
            "apiVersion": format!("{api_group}/v1"),
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name },
            "roleRef": { "apiGroup": api_group, "kind": "ClusterRole", "name": role },
            "subjects": subjects,
        })
    };
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        binding("developers", "mirrord-operator-user", json!([user("developer-1"), user("developer-2")])),
        binding("auditors", "mirrord-operator-auditor", json!([user("auditor")])),
        {
            "apiVersion": format!("{api_group}/v1"),
            "kind": "ClusterRole",
            "metadata": { "name": "run-mirrord" },
            "rules": [
                { "apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"] },
                { "apiGroups": [""], "resources": ["pods/ephemeralcontainers"], "verbs": ["get", "update"] },
            ],
        },
        binding("run-mirrord", "run-mirrord", json!([user("developer-1"), user("developer-2")])),
    ]});
    cluster
        .admin(&["apply", "-f", "-"], &list.to_string())
        .await
        .context("bind the roles of the demo's people")?;
    Ok(())
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
