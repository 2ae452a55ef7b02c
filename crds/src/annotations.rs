//! The annotations by which a user says more of a run: on its agent by their mirrord configuration
//! (`agent.annotations`), on a Session when they create it. All of them are the user's word: whose
//! the run is, the cluster stamps itself.

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

/// On a Session: whoever created it said that they will report about it. So it expires when they
/// don't, though nobody ever did: the answer to its creation may have been lost on the way. The
/// value is of no matter. Users may create and delete Sessions, and not change them: so nobody puts
/// it on another's, and on one's own it ends nothing that its owner couldn't.
pub const REPORTS: &str = "operator.metalbear.co/reports";
