//! The API types of mirrord-sessions, one resource a file.
//!
//! `crds/*.yaml` is generated from these types by `cargo crdgen`; a test holds the two equal, so
//! `kubectl apply -f crds/` always installs what the code reads and writes.

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

/// The API group of Sessions, which mirrord's own operator uses for them too.
pub const GROUP: &str = "operator.metalbear.co";

/// The resource name of Sessions with its group, as `kubectl` prints and takes it.
pub const SESSIONS: &str = "sessions.operator.metalbear.co";

/// The namespace that everything of this project is installed in.
pub const SYSTEM_NAMESPACE: &str = "mirrord-sessions";

/// The webhook process: its Deployment, Service, ServiceAccount and ClusterRole share the name.
pub const WEBHOOK_NAME: &str = "mirrord-sessions-webhook";

/// User name of the webhook process' service account ("the controller"): the one identity that may
/// record a Session on behalf of somebody else, and the only writer of a Session's status.
pub const CONTROLLER_USERNAME: &str =
    "system:serviceaccount:mirrord-sessions:mirrord-sessions-webhook";

/// The owner of a Session that the controller recorded for an agent without knowing whose it is.
/// The API server keeps the prefix `system:` for itself, so nobody has this name.
pub const UNVERIFIED_USERNAME: &str = "system:mirrord-sessions:unverified";
