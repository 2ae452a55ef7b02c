//! From an agent to its Session, and back: what the controller that looks after them does next.
//!
//! Nothing here has an effect. The process in `webhook/` keeps what it sees of agents, Pods and
//! Sessions in a [`View`], asks [`next`] what to do about one agent, does it, and asks again.

mod adoption;
mod agent;
mod heartbeat;
mod identity;
mod plan;
mod pods;
mod prerequisites;
mod previous_session;
mod queue;
mod run_event;
mod seen_versions;
mod session_name;
mod session_plan;
mod target;
mod target_hint;
mod view;

#[cfg(test)]
mod fixtures;

use crate::sessions;

pub use adoption::{adoption, claim};
pub use agent::{Agent, AgentId, AgentKind, Words};
pub use heartbeat::{Reporting, Silence};
pub use identity::{Verdict, owner};
pub use plan::{Lost, Presence, Step, may_stop, next, when_lost};
pub use pods::{ContainerView, Found, PodParts, PodView, SpecParts, StatusParts};
pub use prerequisites::{Definition, Ground, policy_age};
pub use previous_session::Past;
pub use queue::Queue;
pub use run_event::{Ending, Told};
pub use session_name::{NAMES, session_name, session_names};
pub use session_plan::{Draft, deletion_warning};
pub use target::{Above, Target, Workload, above, workload};
pub use target_hint::Sought;
pub use view::{Place, Recorded, View, place};

/// The annotation of a Session that names the agent which it was recorded for. The guard keeps it
/// for the controller.
pub use crate::sessions::tracker::AGENT_ANNOTATION as AGENT;

/// What is known of how Sessions end, and told: the seam to whoever keeps that.
pub trait Endings: std::fmt::Debug + Send + Sync {
    /// This Session is about to be deleted, since its agent ended.
    fn over(&self, session: &Recorded);

    /// This Session is about to be deleted, since its agent has an older one.
    fn doubled(&self, session: &Recorded);

    /// This Session is about to be deleted, since it was not heard of.
    fn expired(&self, session: &Reporting);

    /// It was not deleted after all.
    fn spared(&self, session: &Reporting);

    /// How a Session of that place and identifier ended, if more is known than that it did.
    fn ending(&self, namespace: &str, name: &str, uid: &str) -> Option<sessions::Ending>;

    /// Whether what is known of it elsewhere comes to be known here, in a moment.
    fn are_shared(&self) -> bool;

    /// The Session that this agent had last, if it has ended and that is known.
    fn past(&self, agent: &Agent) -> Option<Past>;

    /// Whether others have sessions on what this Session, which was just recorded, targets.
    fn shares(&self, session: &Recorded, target: &Target) -> bool;

    /// Whether all is known that can be: before that, what isn't may be.
    fn are_read(&self) -> bool;
}
