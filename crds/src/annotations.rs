//! The annotations of an agent by which its user's mirrord configuration (`agent.annotations`) says
//! more of the run. All of them are the user's word: whose the run is, the cluster stamps itself.

/// Name of the user on their machine.
pub const USERNAME: &str = "operator.metalbear.co/username";

/// Name of their machine.
pub const HOSTNAME: &str = "operator.metalbear.co/hostname";

/// The session key.
pub const KEY: &str = "operator.metalbear.co/key";

/// The target, as the user wrote it.
pub const TARGET: &str = "operator.metalbear.co/target";

/// Name of a Session, in the target's namespace, that was created for the run before its agent: the
/// agent belongs to it if both are of one owner and target and no other agent is of that Session.
pub const SESSION_NAME: &str = "operator.metalbear.co/session-name";
