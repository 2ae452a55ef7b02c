//! What the demo tells.

use mirrord_sessions_crds::CONTROLLER_USERNAME;

use super::{
    plain,
    stage::{Stage, Step},
};

const FIRST: &str = "487f4f2b6d2376ad";
const SECOND: &str = "c527fe7d9c30979e";

fn manifest(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: operator.metalbear.co/v1\nkind: Session\nmetadata: {{name: {name}}}\nspec:\n{spec}"
    )
}

fn first() -> String {
    manifest(
        FIRST,
        "  target: deployment/ip-visit-counter\n  client: {username: Aviram Hassan, hostname: avirams-macbook-pro-2.local, version: 3.250.0}",
    )
}

fn second() -> String {
    manifest(
        SECOND,
        "  target: deployment/payments/container/api\n  client: {username: Mallory, hostname: laptop, version: 3.250.0}\n  owner: {username: developer-1}\n  user: Aviram Hassan/developer-1@avirams-macbook-pro-2.local",
    )
}

/// Walks through the main job; ends at the first step that does not do what it should.
pub(super) async fn tell(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    two_developers(stage).await?;
    looking(stage).await?;
    narrowing(stage).await?;
    stopping(stage).await?;
    plain::mirrord(stage).await?;
    auditing(stage).await
}

async fn two_developers(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage
        .show(Step {
            input: Some(first()),
            shows: &["created"],
            ..Step::new(
                "A developer's session. The cluster itself will write who created it.",
                &["kubectl", "--context", "developer-1", "create", "-f", "-"],
            )
        })
        .await?;
    stage
        .show(Step {
            input: Some(second()),
            shows: &["created", "Warning: spec.owner and spec.user ignored"],
            ..Step::new(
                "A second developer claims to be the first.",
                &["kubectl", "--context", "developer-2", "create", "-f", "-"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["developer-2", "Mallory/developer-2@laptop"],
            hides: &["Aviram"],
            ..Step::new(
                "The forged identity came out true.",
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
    stage
        .show(Step {
            succeeds: false,
            shows: &["forbidden"],
            ..Step::new(
                "Nor can it be changed afterwards: developers hold no right to update.",
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
    stage
        .show(Step {
            shows: &["Warning: spec.owner restored"],
            ..Step::new(
                "And where somebody does hold it, an administrator here, the owner is put back.",
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
    stage
        .show(Step {
            shows: &["patched"],
            ..Step::new(
                "The controller alone writes what the cluster has seen of a run; here an administrator does it in its name.",
                &["kubectl", &controller, "--as-group=system:masters", "patch", "session", FIRST, "--subresource=status", "--type=merge", "-p", status],
            )
        })
        .await?;
    Ok(())
}

async fn looking(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    let both = &[
        "deployment/ip-visit-counter",
        "deployment/payments/container/api",
        "Mallory/developer-2@laptop",
    ];
    stage
        .show(Step {
            shows: both,
            ..Step::new(
                "Who is on the cluster, with plain kubectl.",
                &["kubectl", "get", "sessions"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["487F4F2B6D2376AD", "C527FE7D9C30979E", "SESSION ID", "SESSION DURATION"],
            ..Step::new(
                "The same with the plugin.",
                &["kubectl", "mirrord-sessions", "list", "--context", "developer-1"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["| Session ID", "Port: 80, Type: steal, Filter: "],
            ..Step::new(
                "And as the table that mirrord's users know.",
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
    stage
        .show(Step {
            shows: &["Aviram Hassan", "developer-1", "header=baggage: .*mirrord-session=Avi.+"],
            ..Step::new(
                "One session in full.",
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

async fn narrowing(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage
        .show(Step {
            input: Some(POLICY.to_owned()),
            shows: &["created"],
            ..Step::new(
                "A policy: of what RBAC lets developers see, join and stop, only their own.",
                &["kubectl", "create", "-f", "-"],
            )
        })
        .await?;
    let names = ["kubectl", "get", "sessiontrackers", "-o", "name", "--context", "developer-2"];
    stage.until(&names, |names| !names.contains(FIRST)).await?;
    stage
        .show(Step {
            shows: &["C527FE7D9C30979E"],
            hides: &["487F4F2B6D2376AD"],
            ..Step::new(
                "In force at once, for lists and for watches that are open.",
                &["kubectl", "get", "sessiontrackers", "--context", "developer-2"],
            )
        })
        .await?;
    stage
        .show(Step {
            succeeds: false,
            shows: &["not found"],
            ..Step::new(
                "What somebody can't see they can't stop either.",
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
    stage
        .show(Step {
            shows: &["deleted"],
            ..Step::new("The policy goes.", &["kubectl", "delete", "sessionpolicy", "own-only"])
        })
        .await?;
    let all = |names: &str| names.contains(FIRST);
    stage.until(&names, all).await?;
    Ok(())
}

async fn stopping(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage
        .show(Step {
            succeeds: false,
            shows: &["delete", "sessions", "mirrord-operator-user"],
            ..Step::new(
                "Who may see sessions may not stop them for that; the refusal says what is missing.",
                &["kubectl", "mirrord-sessions", "delete", "487F4F2B6D2376AD", "--context", "auditor"],
            )
        })
        .await?;
    stage
        .show(Step {
            succeeds: false,
            shows: &["list", "sessiontrackers"],
            hides: &["ip-visit-counter"],
            ..Step::new(
                "Who holds nothing sees nothing.",
                &["kubectl", "mirrord-sessions", "list", "--context", "nobody"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["deleted"],
            ..Step::new(
                "An administrator stops one with plain kubectl.",
                &["kubectl", "delete", "session", SECOND],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["487F4F2B6D2376AD", "deleted"],
            ..Step::new(
                "And all the others with the plugin.",
                &["kubectl", "mirrord-sessions", "kill-all", "-A", "--yes"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["No sessions found"],
            hides: &["487F4F2B6D2376AD"],
            ..Step::new("Nothing is left.", &["kubectl", "mirrord-sessions", "list", "-A"])
        })
        .await?;
    Ok(())
}

async fn auditing(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    stage
        .show(Step {
            shows: &["Version:      2, the latest", "Modified:     no"],
            ..Step::new(
                "The process made a role for auditors, who see every session and join none.",
                &["kubectl", "mirrord-sessions", "auditor", "status"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["patched"],
            ..Step::new(
                "An administrator makes it their own.",
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
    stage
        .show(Step {
            succeeds: false,
            shows: &["+sessionpolicies.operator.metalbear.co: get, list, watch"],
            ..Step::new(
                "From now on no release touches it; what it lacks is told.",
                &["kubectl", "mirrord-sessions", "auditor", "diff"],
            )
        })
        .await?;
    stage
        .show(Step {
            shows: &["developer-1", "ClusterRoleBinding/developers"],
            hides: &["ClusterRoleBinding/auditors"],
            ..Step::new(
                "Who may stop sessions, and which binding says so.",
                &["kubectl", "mirrord-sessions", "rbac", "who-can", "kill"],
            )
        })
        .await?;
    Ok(())
}

/// Sessions to play with, for who stays.
pub(super) async fn leave_something(stage: &mut Stage<'_>) -> anyhow::Result<()> {
    for (context, input) in [("developer-1", first()), ("developer-2", second())] {
        let command = ["kubectl", "--context", context, "create", "-f", "-"];
        let (succeeded, output) = stage.run(&command, Some(&input)).await?;
        anyhow::ensure!(succeeded, "a session to play with could not be created: {output}");
    }
    Ok(())
}
