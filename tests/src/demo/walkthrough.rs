//! The steps of the demo, in their order.

use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::{
    agents,
    output::print_heading,
    runner::{Runner, Step},
};

const FIRST: &str = "487f4f2b6d2376ad";
const SECOND: &str = "c527fe7d9c30979e";

fn session_manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: operator.metalbear.co/v1\nkind: Session\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    )
}

fn first_session() -> String {
    session_manifest(
        FIRST,
        "  target: deployment/ip-visit-counter\n  client: {username: Aviram Hassan, hostname: avirams-macbook-pro-2.local, version: 3.250.0}",
    )
}

fn second_session() -> String {
    session_manifest(
        SECOND,
        "  target: deployment/payments/container/api\n  client: {username: Mallory, hostname: laptop, version: 3.250.0}\n  owner: {username: developer-1}\n  user: Aviram Hassan/developer-1@avirams-macbook-pro-2.local",
    )
}

/// Runs all steps and returns an error at the first that fails.
pub(super) async fn run(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    print_heading("Sessions with an owner that no client can forge");
    create_sessions(runner).await?;
    print_heading("Who is on the cluster");
    list_sessions(runner).await?;
    print_heading("Policies: who sees which session");
    apply_policy(runner).await?;
    print_heading("RBAC: who may stop sessions");
    delete_sessions(runner).await?;
    print_heading("Developers who run unmodified mirrord");
    agents::run(runner).await?;
    print_heading("A role for auditors, safe from upgrades");
    audit(runner).await
}

async fn create_sessions(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    runner
        .run_step(Step {
            input: Some(first_session()),
            expects: &["created"],
            ..Step::new(
                "A developer creates a session. The cluster records its owner.",
                &["kubectl", "--context", "developer-1", "create", "-f", "-"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            input: Some(second_session()),
            expects: &["created", "Warning: spec.owner and spec.user ignored"],
            ..Step::new(
                "A second developer claims to be the first. The cluster ignores the claim.",
                &["kubectl", "--context", "developer-2", "create", "-f", "-"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["developer-2", "Mallory/developer-2@laptop"],
            forbids: &["Aviram"],
            ..Step::new(
                "The recorded owner is the true one.",
                &[
                    "kubectl",
                    "get",
                    "session",
                    SECOND,
                    "-o",
                    "jsonpath={.spec.owner}{\"\\n\"}{.spec.user}{\"\\n\"}",
                ],
            )
        })
        .await?;
    runner
        .run_step(Step {
            succeeds: false,
            expects: &["forbidden"],
            ..Step::new(
                "Developers cannot change the owner later: they may not update sessions.",
                &[
                    "kubectl",
                    "--context",
                    "developer-2",
                    "patch",
                    "session",
                    FIRST,
                    "--type=merge",
                    "-p",
                    r#"{"spec":{"owner":{"username":"developer-2"}}}"#,
                ],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["Warning: spec.owner restored"],
            ..Step::new(
                "Even an administrator's update leaves the owner unchanged.",
                &[
                    "kubectl",
                    "patch",
                    "session",
                    FIRST,
                    "--type=merge",
                    "-p",
                    r#"{"spec":{"owner":{"username":"developer-2"}}}"#,
                ],
            )
        })
        .await?;
    let status = r#"{"status":{"state":"running","ports":[{"port":80,"type":"steal","filter":"header=baggage: .*mirrord-session=Avi.+"}],"portSummary":"Port: 80, Type: steal, Filter: header=baggage: .*mirrord-session=Avi.+"}}"#;
    let controller = format!("--as={CONTROLLER_USERNAME}");
    runner
        .run_step(Step {
            expects: &["patched"],
            ..Step::new(
                "Only the controller may report a status. Here, an administrator impersonates it.",
                &[
                    "kubectl",
                    &controller,
                    "--as-group=system:masters",
                    "patch",
                    "session",
                    FIRST,
                    "--subresource=status",
                    "--type=merge",
                    "-p",
                    status,
                ],
            )
        })
        .await?;
    Ok(())
}

async fn list_sessions(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    let both = &[
        "deployment/ip-visit-counter",
        "deployment/payments/container/api",
        "Mallory/developer-2@laptop",
    ];
    runner
        .run_step(Step {
            expects: both,
            ..Step::new("Plain kubectl lists the sessions.", &["kubectl", "get", "sessions"])
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["487F4F2B6D2376AD", "C527FE7D9C30979E", "SESSION ID", "SESSION DURATION"],
            ..Step::new(
                "The plugin lists them for developers, with durations.",
                &["kubectl", "mirrord-sessions", "list", "--context", "developer-1"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["| Session ID", "Port: 80, Type: steal, Filter: "],
            ..Step::new(
                "It also prints the table that users of mirrord know.",
                &[
                    "kubectl",
                    "mirrord-sessions",
                    "list",
                    "-A",
                    "-o",
                    "table",
                    "--context",
                    "developer-2",
                ],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["Aviram Hassan", "developer-1", "header=baggage: .*mirrord-session=Avi.+"],
            ..Step::new(
                "It describes a session in detail.",
                &[
                    "kubectl",
                    "mirrord-sessions",
                    "describe",
                    "487F4F2B6D2376AD",
                    "--context",
                    "developer-1",
                ],
            )
        })
        .await?;
    Ok(())
}

const POLICY: &str = "apiVersion: operator.metalbear.co/v1alpha1
kind: SessionPolicy
metadata: {name: own-only}
spec:
  subjects: [{kind: User, name: developer-1}, {kind: User, name: developer-2}]
  allow:
    rules:
    - {resources: [session_tracker], verbs: ['*'], where: 'contains(tracker.participants, user.metadata.name)'}
";

async fn apply_policy(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    runner
        .run_step(Step {
            input: Some(POLICY.to_owned()),
            expects: &["created"],
            ..Step::new(
                "A policy narrows RBAC: developers see, join and stop only their own sessions.",
                &["kubectl", "create", "-f", "-"],
            )
        })
        .await?;
    let names = ["kubectl", "get", "sessiontrackers", "-o", "name", "--context", "developer-2"];
    runner.wait_for_output(&names, |names| !names.contains(FIRST)).await?;
    runner
        .run_step(Step {
            expects: &["C527FE7D9C30979E"],
            forbids: &["487F4F2B6D2376AD"],
            ..Step::new(
                "The policy takes effect immediately, for lists and for open watches.",
                &["kubectl", "get", "sessiontrackers", "--context", "developer-2"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            succeeds: false,
            expects: &["not found"],
            ..Step::new(
                "A developer cannot stop a session that the policy hides.",
                &[
                    "kubectl",
                    "mirrord-sessions",
                    "delete",
                    "487F4F2B6D2376AD",
                    "--context",
                    "developer-2",
                ],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["deleted"],
            ..Step::new(
                "An administrator removes the policy.",
                &["kubectl", "delete", "sessionpolicy", "own-only"],
            )
        })
        .await?;
    runner.wait_for_output(&names, |names| names.contains(FIRST)).await?;
    Ok(())
}

async fn delete_sessions(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    runner
        .run_step(Step {
            succeeds: false,
            expects: &["delete", "sessions", "mirrord-operator-user"],
            ..Step::new(
                "An auditor may see sessions, not stop them. The error names the missing permission.",
                &["kubectl", "mirrord-sessions", "delete", "487F4F2B6D2376AD", "--context", "auditor"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            succeeds: false,
            expects: &["list", "sessiontrackers"],
            forbids: &["ip-visit-counter"],
            ..Step::new(
                "A user without permissions sees nothing.",
                &["kubectl", "mirrord-sessions", "list", "--context", "nobody"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["deleted"],
            ..Step::new(
                "An administrator stops a session with plain kubectl.",
                &["kubectl", "delete", "session", SECOND],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["487F4F2B6D2376AD", "deleted"],
            ..Step::new(
                "The plugin stops all remaining sessions at once.",
                &["kubectl", "mirrord-sessions", "kill-all", "-A", "--yes"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["No sessions found"],
            forbids: &["487F4F2B6D2376AD"],
            ..Step::new("No session is left.", &["kubectl", "mirrord-sessions", "list", "-A"])
        })
        .await?;
    Ok(())
}

async fn audit(runner: &mut Runner<'_>) -> anyhow::Result<()> {
    runner
        .run_step(Step {
            expects: &["Version:      2, the latest", "Modified:     no"],
            ..Step::new(
                "The webhook maintains a role for auditors, who see every session and join none.",
                &["kubectl", "mirrord-sessions", "auditor", "status"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["patched"],
            ..Step::new(
                "An administrator customizes the role.",
                &[
                    "kubectl",
                    "patch",
                    "clusterrole",
                    "mirrord-operator-auditor",
                    "--type=json",
                    "-p",
                    r#"[{"op":"remove","path":"/rules/0"}]"#,
                ],
            )
        })
        .await?;
    runner
        .run_step(Step {
            succeeds: false,
            expects: &["+sessionpolicies.operator.metalbear.co: get, list, watch"],
            ..Step::new(
                "No upgrade overwrites the role from now on. The plugin shows how it differs.",
                &["kubectl", "mirrord-sessions", "auditor", "diff"],
            )
        })
        .await?;
    runner
        .run_step(Step {
            expects: &["developer-1", "ClusterRoleBinding/developers"],
            forbids: &["ClusterRoleBinding/auditors"],
            ..Step::new(
                "The plugin shows who may stop sessions, and which binding grants it.",
                &["kubectl", "mirrord-sessions", "rbac", "who-can", "kill"],
            )
        })
        .await?;
    Ok(())
}

/// Creates two sessions for a user who keeps the cluster.
pub(super) async fn create_example_sessions(runner: &Runner<'_>) -> anyhow::Result<()> {
    for (context, input) in [("developer-1", first_session()), ("developer-2", second_session())] {
        let command = ["kubectl", "--context", context, "create", "-f", "-"];
        let (succeeded, output) = runner.run(&command, Some(&input)).await?;
        anyhow::ensure!(succeeded, "cannot create an example session: {output}");
    }
    Ok(())
}
