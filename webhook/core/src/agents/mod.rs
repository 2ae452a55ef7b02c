//! Agents that the open-source mirrord CLI starts: recognition, stamps and bindings.
//!
//! A run has exactly one agent, either a Job or an ephemeral container of the target's Pod.
//! Admission stamps the requester on the agent. The controller writes the binding to its Session on
//! an agent Job. The policies in `manifests/base/guard-agents.yaml` protect both.

mod args;
mod binding;
mod shape;
mod stamp;
mod submitted;

#[cfg(test)]
pub(crate) mod fixtures;

pub use args::{ContainerId, TargetKind};
pub use binding::Binding;
pub use shape::{
    AGENT_CONTAINER, JobClass, agent_containers, classify_job, is_agent_name, may_become_agent,
};
pub use stamp::{Stamp, environment_stamp, job_stamp};
pub use submitted::{parse_submitted_job, parse_submitted_pod};

/// Annotation of an agent Job that holds the stamp of its requester.
pub const REQUESTER_ANNOTATION: &str = "operator.metalbear.co/requester";

/// Environment variable of an ephemeral agent container that holds the stamp of its requester.
///
/// The API server accepts no annotation in the request that adds an ephemeral container.
pub const REQUESTER_ENV: &str = "MIRRORD_SESSIONS_REQUESTER";

/// Annotation of an agent Job that holds the binding to its Session.
pub const SESSION_ANNOTATION: &str = "operator.metalbear.co/session";

/// The name and value of the label that mirrord sets on every agent Job.
pub const LABEL: (&str, &str) = ("app", "mirrord");

/// The prefix of agent names, which ten letters and digits follow.
pub const NAME_PREFIX: &str = "mirrord-agent-";
