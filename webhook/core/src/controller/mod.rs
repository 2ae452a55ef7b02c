//! Decisions of the controller that keeps one Session per mirrord agent.
//!
//! This module performs no I/O. The process in `webhook/` runs the loop around it:
//!
//! 1. Watches of agent Jobs, Pods and Sessions fill a [`Cache`].
//! 2. Each change enqueues the identifiers of the affected agents in a [`WorkQueue`].
//! 3. Reconciling an agent calls [`plan`] with its [`AgentState`] and its [`AgentSession`]s.
//! 4. The process executes the returned [`Plan`], applies the result to the cache, and plans again
//!    until the plan is [`Plan::Nothing`].
//!
//! Sessions without an agent are kept alive by heartbeats instead, see [`HeartbeatTimer`].

mod adoption;
mod agent;
mod agent_pod;
mod bounded_map;
mod cache;
mod heartbeat;
mod namespaced_name;
mod owner_verification;
mod plan;
mod pods;
mod prerequisites;
mod previous_session;
mod run_event;
mod seen_versions;
mod session_name;
mod session_plan;
mod session_store;
mod target;
mod target_hint;
mod work_queue;
mod workload_owner;

#[cfg(test)]
mod fixtures;

pub use adoption::{check_adoption, claimed_session};
pub use agent::{Agent, AgentId, AgentKind, ClientInfo, Deletion};
pub use agent_pod::AgentPhase;
pub use cache::{AgentSession, CACHE_BUDGET, Cache};
pub use heartbeat::{HeartbeatSession, HeartbeatTimer};
pub use namespaced_name::NamespacedName;
pub use owner_verification::{OwnerVerdict, verify_owner};
pub use plan::{
    AgentState, MissingReason, Plan, may_delete_agent, may_delete_unbound_agent, missing_reason,
    plan,
};
pub use pods::{
    CachedContainer, CachedPod, ContainerMatch, PartialPod, PartialPodSpec, PartialPodStatus,
};
pub use prerequisites::{Prerequisites, SessionCrd};
pub use previous_session::PreviousSession;
pub use run_event::{EventDetail, RunEvent};
pub use session_name::{NAME_CANDIDATES, session_name, session_names};
pub use session_plan::{SessionPlan, deletion_warning, set_phase};
pub use session_store::{DeleteReasons, SessionQueries};
pub use target::{OwnerToResolve, Target, Workload, workload_of_owner, workload_of_pod};
pub use target_hint::TargetHint;
pub use work_queue::WorkQueue;
