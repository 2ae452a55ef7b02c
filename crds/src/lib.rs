//! API types of mirrord-sessions, one module per resource.
//!
//! `cargo crdgen` generates `crds/*.yaml` from these types. A test compares both, so that `kubectl
//! apply -f crds/` always installs the definitions that the code reads and writes.

pub mod annotations;
pub mod manifest;
pub mod session;
mod session_id;
pub mod session_join;
pub mod session_policy;
pub mod session_report;
pub mod session_tracker;

pub use session::{
    AgentReference, Client, Owner, Port, PortType, Session, SessionSpec, SessionState,
    SessionStatus,
};
pub use session_id::{InvalidSessionId, SessionId};
pub use session_join::{JoinHeader, SessionJoin, SessionJoinStatus};
pub use session_policy::{SessionPolicy, SessionPolicySpec};
pub use session_report::{SessionReport, SessionReportSpec, SessionReportStatus};
pub use session_tracker::{
    SessionTracker, SessionTrackerSpec, SessionTrackerStatus, TRACKER_API_SERVICE, TRACKER_GROUP,
    TRACKER_VERSION, TRACKERS, TrackedPort, TrackerKind, custom_resource_definition,
};

/// The API group of Sessions, which mirrord's own operator uses too.
pub const GROUP: &str = "operator.metalbear.co";

/// The qualified resource name of Sessions, as `kubectl` prints and accepts it.
pub const SESSIONS: &str = "sessions.operator.metalbear.co";

/// The namespace in which this project is installed.
pub const SYSTEM_NAMESPACE: &str = "mirrord-sessions";

/// The common name of the Deployment, Service, ServiceAccount and ClusterRole of the webhook
/// process.
pub const WEBHOOK_NAME: &str = "mirrord-sessions-webhook";

/// The user name of the webhook process's service account ("the controller"). Only the controller
/// may record a Session on behalf of another user, and only the controller writes the status of
/// Sessions.
pub const CONTROLLER_USERNAME: &str =
    "system:serviceaccount:mirrord-sessions:mirrord-sessions-webhook";

/// The owner of a Session that the controller recorded for an agent with an unknown requester. The
/// API server reserves the prefix `system:`, so that no user has this name.
pub const UNVERIFIED_USERNAME: &str = "system:mirrord-sessions:unverified";
