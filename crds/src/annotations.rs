//! Annotations by which a user describes a run.
//!
//! A user sets them on the agent through mirrord's configuration (`agent.annotations`), or on a
//! Session at its creation. All values are claims of the user. The cluster stamps the owner of a
//! run itself.

/// The user's name on their machine.
pub const USERNAME: &str = "operator.metalbear.co/username";

/// The name of the user's machine.
pub const HOSTNAME: &str = "operator.metalbear.co/hostname";

/// The session key of the run.
pub const KEY: &str = "operator.metalbear.co/key";

/// The target as the user wrote it.
pub const TARGET: &str = "operator.metalbear.co/target";

/// The name of a Session in the target's namespace that was created for the run before its agent.
/// The agent is bound to that Session if both have the same owner and target, and if no other agent
/// is bound to it.
pub const SESSION_NAME: &str = "operator.metalbear.co/session-name";

/// Declares, on a Session, that its creator will send reports.
///
/// The Session then expires without reports, even if none ever arrived: the response to its
/// creation may have been lost. The value is ignored. Users may create and delete Sessions but not
/// update them, so no user can set the annotation on another user's Session.
pub const REPORTS: &str = "operator.metalbear.co/reports";
