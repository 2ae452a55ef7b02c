//! Requests that try to forge the owner of a Session, with their expected outcomes.

use serde_json::{Value, json};

use crate::support::session_manifest;

/// Availability of the webhook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    WithWebhook,
    WithoutWebhook,
    /// The configuration is deleted and the CRD has no immutability rule.
    GuardPolicyOnly,
}

/// Outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Outcome {
    Accepted,
    /// Denied by the guard policy, the immutability of spec, or the API server itself.
    Denied,
}

/// Request that writes a Session, with its outcomes with and without the webhook.
pub(super) struct ForgeryCase {
    pub(super) name: &'static str,
    pub(super) args: &'static [&'static str],
    pub(super) manifest: fn(&Identities) -> Value,
    pub(super) with_webhook: Outcome,
    pub(super) without_webhook: Outcome,
}

/// Authenticated identities of alice and mallory, in the form of `spec.owner`.
pub(super) struct Identities {
    pub(super) alice: Value,
    pub(super) mallory: Value,
}

impl Identities {
    /// Returns a spec that claims alice as the owner.
    pub(super) fn alices_spec(&self) -> Value {
        json!({ "target": "deployment/a", "owner": self.alice, "user": "alice" })
    }

    /// Returns a Session that states mallory as the owner.
    fn mallorys_session(&self) -> Value {
        let spec = json!({ "target": "deployment/a", "owner": self.mallory, "user": "mallory" });
        session_manifest("s", spec)
    }

    /// Returns a Session of mallory with a changed field of the owner.
    fn mallorys_session_with_owner(&self, field: &str, value: Value) -> Value {
        let mut session = self.mallorys_session();
        session["spec"]["owner"][field] = value;
        session
    }
}

/// Returns owner references to an object that does not exist, so that the garbage collector deletes
/// what has them.
fn owner_references() -> Value {
    json!([{ "apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "1" }])
}

use Outcome::{Accepted, Denied};

/// Creates by mallory that claim alice as the owner.
///
/// An accepted Session must be stored with mallory as the owner.
pub(super) const CREATES: &[ForgeryCase] = &[
    ForgeryCase {
        name: "agent annotation",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            let mut session = identities.mallorys_session();
            session["metadata"]["annotations"] =
                json!({ "operator.metalbear.co/agent": "Job/a/b/c" });
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "create",
        args: &["create", "-f", "-"],
        manifest: |identities| session_manifest("s", identities.alices_spec()),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "create with generateName",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            let mut session = session_manifest("s", identities.alices_spec());
            session["metadata"] = json!({ "generateName": "s-" });
            session
        },
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "client-side apply",
        args: &["apply", "-f", "-"],
        manifest: |identities| session_manifest("s", identities.alices_spec()),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "server-side apply",
        args: &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest: |identities| session_manifest("s", identities.alices_spec()),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "forged groups",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            identities.mallorys_session_with_owner("groups", json!(["system:masters"]))
        },
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "forged uid",
        args: &["create", "-f", "-"],
        manifest: |identities| identities.mallorys_session_with_owner("uid", json!("alices-uid")),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "own identity with the user line of alice",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": identities.mallory, "user": "alice" }),
            )
        },
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "no owner",
        args: &["create", "-f", "-"],
        manifest: |_| session_manifest("s", json!({ "target": "deployment/a" })),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "null owner",
        args: &["create", "--validate=false", "-f", "-"],
        manifest: |_| {
            session_manifest("s", json!({ "target": "deployment/a", "owner": null, "user": null }))
        },
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "own identity with an empty uid",
        args: &["create", "-f", "-"],
        manifest: |identities| identities.mallorys_session_with_owner("uid", json!("")),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "missing groups",
        args: &["create", "-f", "-"],
        manifest: |identities| identities.mallorys_session_with_owner("groups", json!([])),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "user line composed of name and hostname",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            session_manifest(
                "s",
                json!({
                    "target": "deployment/a",
                    "client": { "hostname": "corp" },
                    "owner": identities.mallory,
                    "user": "mallory@corp",
                }),
            )
        },
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "finalizer on create",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            let mut session = identities.mallorys_session();
            session["metadata"]["finalizers"] = json!(["example.com/hold"]);
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "owner reference on create",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            let mut session = identities.mallorys_session();
            session["metadata"]["ownerReferences"] = owner_references();
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "owner reference by server-side apply",
        args: &["apply", "--server-side", "-f", "-"],
        manifest: |identities| {
            let mut session = identities.mallorys_session();
            session["metadata"]["ownerReferences"] = owner_references();
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "own identity",
        args: &["create", "-f", "-"],
        manifest: Identities::mallorys_session,
        with_webhook: Accepted,
        without_webhook: Accepted,
    },
    ForgeryCase {
        name: "own identity with client information",
        args: &["create", "-f", "-"],
        manifest: |identities| {
            session_manifest(
                "s",
                json!({
                    "target": "deployment/a",
                    "client": { "username": "Mal", "hostname": "laptop", "version": "3.250.0" },
                    "owner": identities.mallory,
                    "user": "Mal/mallory@laptop",
                }),
            )
        },
        with_webhook: Accepted,
        without_webhook: Accepted,
    },
];

/// Updates by mallory of a Session of alice.
///
/// An accepted update must leave alice as the owner.
pub(super) const UPDATES: &[ForgeryCase] = &[
    ForgeryCase {
        name: "agent annotation",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "annotations": { "operator.metalbear.co/agent": "Job/a/b/c" } } }),
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "replace",
        args: &["replace", "-f", "-"],
        manifest: Identities::mallorys_session,
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "replace without owner",
        args: &["replace", "-f", "-"],
        manifest: |_| session_manifest("s", json!({ "target": "deployment/a" })),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "merge patch",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |identities| json!({ "spec": { "owner": identities.mallory, "user": "mallory" } }),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "merge patch of the groups",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "owner": { "groups": ["system:masters"] } } }),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "merge patch to null",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "owner": null, "user": null } }),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "JSON patch that replaces",
        args: &["patch", "session", "s", "--type=json", "--patch-file=/dev/stdin"],
        manifest: |identities| json!([{ "op": "replace", "path": "/spec/owner", "value": identities.mallory }]),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "JSON patch that removes",
        args: &["patch", "session", "s", "--type=json", "--patch-file=/dev/stdin"],
        manifest: |_| json!([{ "op": "remove", "path": "/spec/owner" }]),
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "client-side apply",
        args: &["apply", "-f", "-"],
        manifest: Identities::mallorys_session,
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "server-side apply",
        args: &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest: Identities::mallorys_session,
        with_webhook: Accepted,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "patch of the status subresource",
        args: &[
            "patch",
            "session",
            "s",
            "--subresource=status",
            "--type=merge",
            "--patch-file=/dev/stdin",
        ],
        manifest: |identities| json!({ "spec": { "owner": identities.mallory }, "status": { "participants": ["mallory"] } }),
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "replace of the status subresource",
        args: &["replace", "--subresource=status", "-f", "-"],
        manifest: |identities| {
            let mut session = session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": identities.mallory }),
            );
            session["status"] = json!({ "state": "terminated" });
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "apply of the status subresource",
        args: &["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"],
        manifest: |identities| {
            let mut session = session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": identities.mallory }),
            );
            session["status"] = json!({ "state": "terminated" });
            session
        },
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "another target",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "target": "deployment/b" } }),
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "finalizer on update",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "finalizers": ["foregroundDeletion"] } }),
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "owner reference on update",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "ownerReferences": owner_references() } }),
        with_webhook: Denied,
        without_webhook: Denied,
    },
    ForgeryCase {
        name: "a label",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "labels": { "team": "payments" } } }),
        with_webhook: Accepted,
        without_webhook: Accepted,
    },
];
