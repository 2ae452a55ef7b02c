//! Runs the demo's commands under the identities of its users, and checks their output.

use std::{
    os::unix::fs::symlink,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use super::output::{print_command, print_line, print_step};
use crate::{
    cluster::Cluster,
    control_plane::{Identity, Program},
};

/// Deadline of a change that a controller makes.
const TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Contexts of the demo's kubeconfig with the groups of their users. The first is the current one.
const CONTEXTS: [(&str, &[&str]); 5] = [
    ("admin", &["system:masters"]),
    ("developer-1", &["developers"]),
    ("developer-2", &["developers"]),
    ("auditor", &["auditors"]),
    ("nobody", &[]),
];

/// A command with its description and its expected result.
pub(super) struct Step<'a> {
    /// Description of the result, printed above the command.
    pub(super) description: &'a str,
    /// Command line, whose first word is `kubectl`.
    pub(super) command: &'a [&'a str],
    /// Standard input, printed with the command.
    pub(super) input: Option<String>,
    /// Expected success of the command.
    pub(super) succeeds: bool,
    /// Texts that the output must contain.
    pub(super) expects: &'a [&'a str],
    /// Texts that the output must not contain.
    pub(super) forbids: &'a [&'a str],
}

impl<'a> Step<'a> {
    pub(super) fn new(description: &'a str, command: &'a [&'a str]) -> Self {
        Self { description, command, input: None, succeeds: true, expects: &[], forbids: &[] }
    }

    /// Returns an error if the result differs from the expected one.
    fn check(&self, succeeded: bool, output: &str) -> anyhow::Result<()> {
        match (self.succeeds, succeeded) {
            (true, false) => bail!("the command failed, but should have succeeded"),
            (false, true) => bail!("the command succeeded, but should have failed"),
            _ => {}
        }
        for text in self.expects {
            ensure!(output.contains(text), "the output should contain {text:?}");
        }
        for text in self.forbids {
            ensure!(!output.contains(text), "the output should not contain {text:?}");
        }
        Ok(())
    }
}

/// Runs steps on a cluster, with a PATH on which kubectl finds the plugin.
pub(super) struct Runner<'a> {
    pub(super) cluster: &'a Cluster,
    kubeconfig: PathBuf,
    path: String,
    steps: usize,
}

impl<'a> Runner<'a> {
    /// Creates the users, their roles and a folder with kubectl and the plugin.
    pub(super) async fn new(cluster: &'a Cluster) -> anyhow::Result<Self> {
        let users =
            CONTEXTS.map(|(name, groups)| (name, Identity::new(name, groups.iter().copied())));
        let kubeconfig = cluster.plane.kubeconfig_with_contexts(&users)?;
        let bin = cluster.plane.folder().join("bin");
        std::fs::create_dir(&bin).context("create a folder for kubectl and the plugin")?;
        symlink(cluster.plane.assets().path(Program::Kubectl), bin.join("kubectl"))
            .and_then(|()| symlink(&cluster.programs.plugin, bin.join("kubectl-mirrord_sessions")))
            .context("link kubectl and the plugin")?;
        let path = std::env::var("PATH").unwrap_or_default();
        bind_roles(cluster).await?;
        Ok(Self {
            cluster,
            kubeconfig: kubeconfig.path().to_owned(),
            path: format!("{}:{path}", bin.display()),
            steps: 0,
        })
    }

    /// Returns the number of steps run so far.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Runs a step, prints it with its output, and fails if the result is not the expected one.
    pub(super) async fn run_step(&mut self, step: Step<'_>) -> anyhow::Result<()> {
        self.steps += 1;
        print_step(self.steps, step.description);
        print_command(step.command, step.input.as_deref());
        let (succeeded, output) = self.run(step.command, step.input.as_deref()).await?;
        print_line(output.trim_end());
        step.check(succeeded, &output).with_context(|| format!("step {} failed", self.steps))
    }

    /// Runs a command and returns its success, and its output on stdout and stderr.
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

    /// Repeats a command until a condition on its output holds, and returns that output.
    pub(super) async fn wait_for_output(
        &self,
        command: &[&str],
        condition: impl Fn(&str) -> bool,
    ) -> anyhow::Result<String> {
        let started = Instant::now();
        loop {
            let (_, output) = self.run(command, None).await?;
            let output = output.trim();
            if condition(output) {
                return Ok(output.to_owned());
            }
            ensure!(
                started.elapsed() < TIMEOUT,
                "timed out after {} s; last output of {}: {output:?}",
                TIMEOUT.as_secs(),
                command.join(" ")
            );
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Returns instructions for using the cluster from another terminal.
    pub(super) fn instructions(&self) -> String {
        format!(
            "The cluster keeps running until you press Ctrl-C. In another terminal, run:\n\n\
             export KUBECONFIG='{kubeconfig}'\n\
             export PATH='{bin}':\"$PATH\"\n\n\
             kubectl mirrord-sessions list --context developer-1\n\n\
             Contexts: {contexts}\n\
             Webhook log: {log}",
            kubeconfig = self.kubeconfig.display(),
            bin = self.cluster.plane.folder().join("bin").display(),
            contexts = CONTEXTS.map(|(name, _)| name).join(", "),
            log = self.cluster.webhook.log().display(),
        )
    }
}

/// Binds the roles of the demo's users. The last context remains without permissions.
async fn bind_roles(cluster: &Cluster) -> anyhow::Result<()> {
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
    let developers = json!([user("developer-1"), user("developer-2")]);
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [
        binding("developers", "mirrord-operator-user", developers.clone()),
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
        binding("run-mirrord", "run-mirrord", developers),
    ]});
    cluster
        .admin(&["apply", "-f", "-"], &list.to_string())
        .await
        .context("bind the roles of the demo's users")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_success_and_output_of_a_step() {
        let step = |succeeds| Step {
            succeeds,
            expects: &["created"],
            forbids: &["Warning"],
            ..Step::new("", &["kubectl"])
        };
        for (succeeds, succeeded, output, expected) in [
            (true, true, "created", None),
            (false, false, "created", None),
            (true, false, "created", Some("the command failed, but should have succeeded")),
            (false, true, "created", Some("the command succeeded, but should have failed")),
            (true, true, "", Some("the output should contain \"created\"")),
            (true, true, "created\nWarning: x", Some("the output should not contain \"Warning\"")),
        ] {
            let error = step(succeeds).check(succeeded, output).err().map(|e| e.to_string());
            assert_eq!(error.as_deref(), expected, "{output}");
        }
    }
}
