//! The auditor role: see every session, join none. It is shipped once and then belongs to the
//! administrator; a later release only appends what it adds, and only to a role that is still what
//! an earlier release shipped.

mod grants;
mod history;
mod manager;
mod plan;
mod report;
mod take_over;
mod write;

pub use grants::{Difference, Grant, Grants};
pub use history::{History, NoSuchVersion};
pub use manager::{Manager, manager};
pub use plan::{Mode, Plan, Why, plan};
pub use report::Report;
pub use take_over::take_over;
pub use write::apply;

/// The name of the ClusterRole.
pub const ROLE: &str = "mirrord-operator-auditor";

/// The field manager that this project writes the role with.
pub const FIELD_MANAGER: &str = mirrord_sessions_crds::WEBHOOK_NAME;

/// The ConfigMap, in the system namespace, that the leader reports in.
pub const REPORT: &str = "mirrord-sessions-auditor";

/// Kubernetes' own way to say that a shipped role is no longer to be changed by who shipped it.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
