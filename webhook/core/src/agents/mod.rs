//! mirrord's agents, as the open-source CLI starts them: what one looks like, and what is written
//! on it.
//!
//! A run has exactly one: a Job, or an ephemeral container of the target's Pod. Who asked for it is
//! stamped on it by admission; which Session it belongs to is written on a Job by the controller.
//! Both are guarded by `manifests/base/guard-agents.yaml`.

mod args;
mod binding;
mod shape;
mod stamp;

#[cfg(test)]
pub(crate) mod fixtures;

pub use args::{ContainerId, Reach};
pub use binding::Binding;
pub use shape::{Agent, Look, agent_containers, is_agent_name, job_agent};
pub use stamp::{Stamp, environment_stamp, job_stamp};

/// The annotation of an agent Job that holds who asked for it.
pub const REQUESTER: &str = "operator.metalbear.co/requester";

/// The environment variable of an agent's ephemeral container that holds who asked for it: the API
/// server takes no annotation along with an ephemeral container.
pub const REQUESTER_VARIABLE: &str = "MIRRORD_SESSIONS_REQUESTER";

/// The annotation of an agent Job that ties it to its Session.
pub const SESSION: &str = "operator.metalbear.co/session";

/// The label that mirrord forces on every agent Job, and its value.
pub const LABEL: (&str, &str) = ("app", "mirrord");

/// What agents are named, before ten letters and digits.
pub const NAME_PREFIX: &str = "mirrord-agent-";

pub use mirrord_sessions_crds::annotations as words;
