//! Reconciliation of the auditor role by the leader, and the roles that the leader preserves.

mod api_proxy;
mod documented_examples;
mod gitops;
mod leader_election;
mod permissions;
mod plugin;
mod races;
mod reconcile;
mod role_recorder;

use std::process::Stdio;

use kube::Client;
use mirrord_sessions_tests::cluster::{Cluster, Webhook};
use serde_json::{Value, json};

use crate::support::{admin_json, eventually, is_leader, shared};

const ROLE: &str = "mirrord-operator-auditor";
const MANAGER: &str = "mirrord-sessions-webhook";

/// A dedicated cluster whose webhook replicas the test starts itself.
struct Fixture {
    cluster: Cluster,
}

impl Fixture {
    /// Starts a cluster, stops its webhook and deletes the role.
    async fn start() -> Self {
        let cluster = Cluster::start().await.unwrap();
        let fixture = Self { cluster };
        fixture.wait_for_outcome(&fixture.cluster.webhook).await;
        assert!(fixture.cluster.webhook.terminate().unwrap().success());
        fixture.delete_role().await;
        fixture
    }

    async fn admin(&self, args: &[&str], input: &str) -> String {
        self.cluster.admin(args, input).await.unwrap()
    }

    async fn delete_role(&self) {
        self.admin(&["delete", "clusterrole", ROLE, "--ignore-not-found"], "").await;
    }

    async fn role(&self) -> Option<Value> {
        role(&self.cluster).await
    }

    async fn resource_version(&self) -> String {
        let role = self.role().await.unwrap();
        role["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
    }

    /// Starts a replica with additional flags.
    async fn start_webhook(&self, args: &[&str]) -> Webhook {
        Webhook::start_with(&self.cluster.plane, &self.cluster.programs, args).await.unwrap()
    }

    /// Waits for a replica to log the outcome of its reconcile, and returns that log line.
    async fn wait_for_outcome(&self, webhook: &Webhook) -> String {
        eventually("the leader logs the outcome of its reconcile", || async {
            let log = webhook.log_text();
            log.lines()
                .find(|line| {
                    line.contains("outcome=")
                        || line.contains("failed to reconcile the auditor role")
                })
                .map(ToOwned::to_owned)
        })
        .await
    }

    /// Runs a replica until it has reconciled the role, and returns the log line of the outcome.
    async fn run_webhook_once(&self, args: &[&str]) -> String {
        let webhook = self.start_webhook(args).await;
        let outcome = self.wait_for_outcome(&webhook).await;
        eventually("the leader writes its report", || async {
            let report = report(&self.cluster).await;
            let log = webhook.log_text();
            log.contains(report["reportedBy"].as_str()?).then_some(())
        })
        .await;
        assert!(webhook.terminate().unwrap().success());
        assert!(webhook.log_text().contains("released the Lease"), "{}", webhook.log_text());
        outcome
    }

    /// Recreates the role as a release with this preset version creates it.
    async fn reset_role_to_version(&self, version: u32) {
        self.delete_role().await;
        let outcome =
            self.run_webhook_once(&[&format!("--auditor-preset-version={version}")]).await;
        assert!(outcome.contains("outcome=\"created\""), "{outcome}");
    }

    /// Asserts that a replica leaves the role unchanged and reports the reason.
    async fn assert_role_preserved(&self, args: &[&str], reason: &str) {
        let before = self.resource_version().await;
        let outcome = self.run_webhook_once(args).await;
        assert!(outcome.contains("outcome=\"preserved\"") && outcome.contains(reason), "{outcome}");
        assert_eq!(self.resource_version().await, before, "{reason}");
        let report = report(&self.cluster).await;
        assert_eq!(report["plan"], "preserve", "{report:#}");
        assert!(report["message"].as_str().unwrap().contains(reason), "{report:#}");
    }

    async fn patch_role(&self, kind: &str, patch: &Value) {
        let (kind, patch) = (format!("--type={kind}"), patch.to_string());
        self.admin(&["patch", "clusterrole", ROLE, &kind, "-p", &patch], "").await;
    }

    /// Writes the role as a client other than the webhook.
    async fn apply_role(&self, args: &[&str], metadata: Value, rules: &Value) {
        let role = cluster_role(ROLE, metadata, rules);
        let args = [args, &["-f", "-"]].concat();
        self.admin(&args, &role.to_string()).await;
    }

    async fn event_reasons(&self) -> Vec<String> {
        event_reasons(&self.cluster).await
    }

    /// Returns whether `--dry-run` succeeded, its standard output and its standard error.
    async fn dry_run(&self, args: &[&str]) -> (bool, String, String) {
        let plane = &self.cluster.plane;
        let kubeconfig =
            plane.service_account_kubeconfig("mirrord-sessions", MANAGER).await.unwrap();
        let output = std::process::Command::new(&self.cluster.programs.webhook)
            .arg("--dry-run")
            .args(args)
            .env("KUBECONFIG", kubeconfig.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }
}

async fn role(cluster: &Cluster) -> Option<Value> {
    let args =
        ["get", "clusterrole", ROLE, "-o", "json", "--ignore-not-found", "--show-managed-fields"];
    let role = cluster.admin(&args, "").await.unwrap();
    (!role.is_empty()).then(|| serde_json::from_str(&role).unwrap())
}

/// Returns the leader's report, or null while none exists.
async fn report(cluster: &Cluster) -> Value {
    let args = [
        "get",
        "configmap",
        "mirrord-sessions-auditor",
        "-n",
        "mirrord-sessions",
        "-o",
        r"jsonpath={.data.report\.json}",
    ];
    serde_json::from_str(&cluster.admin(&args, "").await.unwrap()).unwrap_or_default()
}

/// Returns the reasons of the Events about the role.
async fn event_reasons(cluster: &Cluster) -> Vec<String> {
    let about = format!("involvedObject.name={ROLE}");
    let args = ["get", "events", "-n", "default", "-o", "json", "--field-selector", &about];
    let events = admin_json(cluster, &args).await;
    let reasons = events["items"].as_array().unwrap().iter();
    reasons.map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
}

/// Returns the manifest of a ClusterRole.
fn cluster_role(name: &str, metadata: Value, rules: &Value) -> Value {
    let mut metadata = metadata;
    metadata["name"] = name.into();
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
        "metadata": metadata, "rules": rules,
    })
}

fn rule(group: &str, resource: &str) -> Value {
    json!({ "apiGroups": [group], "resources": [resource], "verbs": ["get", "list", "watch"] })
}

/// Returns the rules of a preset version.
fn rules(version: usize) -> Value {
    let mut rules = vec![
        rule("operator.metalbear.co", "sessionpolicies"),
        rule("visibility.operator.metalbear.co", "sessiontrackers"),
    ];
    rules.truncate(version);
    rules.into()
}

/// Sends a GET request directly to a webhook process.
async fn get_from_webhook(webhook: &Webhook, path: &str) -> Result<String, kube::Error> {
    let url = format!("https://127.0.0.1:{}", webhook.port());
    let mut config = kube::Config::new(url.parse().unwrap());
    config.accept_invalid_certs = true;
    let request = http::Request::get(path).body(Vec::new()).unwrap();
    Client::try_from(config).unwrap().request_text(request).await
}

#[tokio::test]
async fn fresh_installation_creates_and_reports_role() {
    let cluster = shared();
    let role = eventually("the role exists", || role(cluster)).await;
    assert_eq!(role["rules"], rules(2));
    assert_eq!(role["metadata"]["labels"]["app.kubernetes.io/part-of"], "mirrord-sessions");
    let managers = role["metadata"]["managedFields"].as_array().unwrap();
    assert_eq!((managers.len(), &managers[0]["manager"]), (1, &json!(MANAGER)), "{managers:?}");
    assert_eq!(managers[0]["operation"], "Apply");

    let metrics = eventually("the metrics report the created role", || async {
        let metrics = get_from_webhook(&cluster.webhook, "/metrics").await.unwrap();
        metrics.contains("mirrord_sessions_auditor_role{outcome=\"created\"} 1").then_some(metrics)
    })
    .await;
    assert!(metrics.contains("mirrord_sessions_leader 1"), "{metrics}");
    let report = eventually("the leader has written a report", || async {
        let report = report(cluster).await;
        report.is_object().then_some(report)
    })
    .await;
    assert_eq!((&report["version"], &report["modified"]), (&json!(2), &json!(false)), "{report:#}");
    assert_eq!(report["difference"], json!([]));
    assert!(event_reasons(cluster).await.contains(&"AuditorRoleCreated".to_owned()));

    // An auditor may list trackers but neither join nor delete sessions.
    let namespace = crate::support::create_namespace(cluster, "auditors").await;
    let auditor = namespace.user("an-auditor", &[]);
    namespace.bind_role(ROLE, &auditor.name).await;
    for (verb, group, resource, subresource, allowed) in [
        ("list", "visibility.operator.metalbear.co", "sessiontrackers", "", true),
        ("create", "visibility.operator.metalbear.co", "sessiontrackers", "join", false),
        ("delete", "operator.metalbear.co", "sessions", "", false),
    ] {
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "verb": verb, "group": group, "resource": resource, "subresource": subresource,
                "namespace": namespace.name,
            } },
        });
        let args = ["create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.allowed}"];
        let output = auditor.kubectl(&args, &review.to_string()).await;
        assert_eq!(
            output.stdout,
            allowed.to_string(),
            "{verb} {resource}/{subresource}: {output:?}"
        );
    }
}
