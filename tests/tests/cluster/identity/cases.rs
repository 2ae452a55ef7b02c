//! The ways to write a Session.

use serde_json::{Value, json};

use crate::support::session_manifest;

/// Whether the webhook is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Webhook {
    Up,
    Deleted,
    /// Deleted, and the definition says nothing of immutability: the guard policy is on its own.
    GuardAlone,
}

/// What should come of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expect {
    Accepted,
    /// By the guard policy, the immutability of spec, or the API server itself.
    Refused,
}

/// A way to write a Session, with the outcome when the webhook is up and when it isn't.
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) args: &'static [&'static str],
    pub(super) manifest: fn(&Forgery) -> Value,
    pub(super) up: Expect,
    pub(super) deleted: Expect,
}

/// What a forger knows.
pub(super) struct Forgery {
    pub(super) alice: Value,
    pub(super) mallory: Value,
}

impl Forgery {
    /// A spec that says it is alice's.
    pub(super) fn spec(&self) -> Value {
        json!({ "target": "deployment/a", "owner": self.alice, "user": "alice" })
    }
}

use Expect::{Accepted, Refused};

/// Creates by mallory that say they are alice's. Accepted means: as mallory's.
pub(super) const CREATES: &[Way] = &[
    Way {
        name: "as if recorded for an agent",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let spec =
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" });
            let mut session = session_manifest("s", spec);
            session["metadata"]["annotations"] =
                json!({ "operator.metalbear.co/agent": "Job/a/b/c" });
            session
        },
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "create",
        args: &["create", "-f", "-"],
        manifest: |forgery| session_manifest("s", forgery.spec()),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "create with generateName",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut session = session_manifest("s", forgery.spec());
            session["metadata"] = json!({ "generateName": "s-" });
            session
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "client-side apply",
        args: &["apply", "-f", "-"],
        manifest: |forgery| session_manifest("s", forgery.spec()),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "server-side apply",
        args: &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest: |forgery| session_manifest("s", forgery.spec()),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the right name with forged groups",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut owner = forgery.mallory.clone();
            owner["groups"] = json!(["system:masters"]);
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": owner, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the right name with a forged uid",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut owner = forgery.mallory.clone();
            owner["uid"] = json!("alices-uid");
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": owner, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the true owner under alice's line",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "alice" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "no owner at all",
        args: &["create", "-f", "-"],
        manifest: |_| session_manifest("s", json!({ "target": "deployment/a" })),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "an owner of nulls",
        args: &["create", "--validate=false", "-f", "-"],
        manifest: |_| {
            session_manifest("s", json!({ "target": "deployment/a", "owner": null, "user": null }))
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the truth with an empty uid",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut owner = forgery.mallory.clone();
            owner["uid"] = json!("");
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": owner, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the right name without groups",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut owner = forgery.mallory.clone();
            owner["groups"] = json!([]);
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": owner, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "alice's name put together from name and hostname",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({
                    "target": "deployment/a",
                    "client": { "hostname": "corp" },
                    "owner": forgery.mallory,
                    "user": "mallory@corp",
                }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "with a finalizer",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            let mut session = session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" }),
            );
            session["metadata"]["finalizers"] = json!(["example.com/hold"]);
            session
        },
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "the truth, told by the client itself",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Accepted,
    },
    Way {
        name: "the truth with the client's words",
        args: &["create", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({
                    "target": "deployment/a",
                    "client": { "username": "Mal", "hostname": "laptop", "version": "3.250.0" },
                    "owner": forgery.mallory,
                    "user": "Mal/mallory@laptop",
                }),
            )
        },
        up: Accepted,
        deleted: Accepted,
    },
];

/// Writes by mallory to a Session of alice's. Accepted means: and it stays alice's.
pub(super) const UPDATES: &[Way] = &[
    Way {
        name: "as if recorded for an agent",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "annotations": { "operator.metalbear.co/agent": "Job/a/b/c" } } }),
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "replace",
        args: &["replace", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "replace without owner",
        args: &["replace", "-f", "-"],
        manifest: |_| session_manifest("s", json!({ "target": "deployment/a" })),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "merge patch",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |forgery| json!({ "spec": { "owner": forgery.mallory, "user": "mallory" } }),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "merge patch of the groups",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "owner": { "groups": ["system:masters"] } } }),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "merge patch to null",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "owner": null, "user": null } }),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "JSON patch that replaces",
        args: &["patch", "session", "s", "--type=json", "--patch-file=/dev/stdin"],
        manifest: |forgery| json!([{ "op": "replace", "path": "/spec/owner", "value": forgery.mallory }]),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "JSON patch that removes",
        args: &["patch", "session", "s", "--type=json", "--patch-file=/dev/stdin"],
        manifest: |_| json!([{ "op": "remove", "path": "/spec/owner" }]),
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "client-side apply",
        args: &["apply", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "server-side apply",
        args: &["apply", "--server-side", "--force-conflicts", "-f", "-"],
        manifest: |forgery| {
            session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory, "user": "mallory" }),
            )
        },
        up: Accepted,
        deleted: Refused,
    },
    Way {
        name: "the status subresource, patched",
        args: &[
            "patch",
            "session",
            "s",
            "--subresource=status",
            "--type=merge",
            "--patch-file=/dev/stdin",
        ],
        manifest: |forgery| json!({ "spec": { "owner": forgery.mallory }, "status": { "participants": ["mallory"] } }),
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "the status subresource, replaced",
        args: &["replace", "--subresource=status", "-f", "-"],
        manifest: |forgery| {
            let mut session = session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory }),
            );
            session["status"] = json!({ "state": "terminated" });
            session
        },
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "the status subresource, applied",
        args: &["apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-"],
        manifest: |forgery| {
            let mut session = session_manifest(
                "s",
                json!({ "target": "deployment/a", "owner": forgery.mallory }),
            );
            session["status"] = json!({ "state": "terminated" });
            session
        },
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "another target",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "spec": { "target": "deployment/b" } }),
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "a finalizer",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "finalizers": ["foregroundDeletion"] } }),
        up: Refused,
        deleted: Refused,
    },
    Way {
        name: "a label, which is nobody's identity",
        args: &["patch", "session", "s", "--type=merge", "--patch-file=/dev/stdin"],
        manifest: |_| json!({ "metadata": { "labels": { "team": "payments" } } }),
        up: Accepted,
        deleted: Accepted,
    },
];
