//! The auditor role, which can see every session and join none.
//!
//! 1. The leader reads the role and [`plan`] compares it with the [`History`] of the preset.
//! 2. A missing role is created, and a role that equals an earlier version gains the added rules.
//! 3. Any other role belongs to its administrator and is preserved.
//! 4. [`apply_patch`] builds the request, and [`Report`] describes the result.

mod apply_patch;
mod external_manager;
mod grants;
mod history;
mod plan;
mod report;
mod role_manifest;

pub use apply_patch::apply_patch;
pub use external_manager::{ExternalManager, external_manager};
pub use grants::{Difference, Grant, Grants};
pub use history::{History, NoSuchVersion};
pub use plan::{Mode, Plan, PreserveReason, plan};
pub use report::Report;
pub use role_manifest::role_manifest;

/// The name of the ClusterRole.
pub const ROLE: &str = "mirrord-operator-auditor";

/// The field manager with which this project writes the role.
pub const FIELD_MANAGER: &str = mirrord_sessions_crds::WEBHOOK_NAME;

/// The name of the ConfigMap in the system namespace that holds the leader's report.
pub const REPORT: &str = "mirrord-sessions-auditor";

/// Kubernetes' annotation that opts a default role out of updates.
pub const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";
