//! The controller of agents and Sessions, which runs on the leader.
//!
//! 1. [`watches`] feed changes of agent Jobs, Pods and Sessions into the cache and enqueue the
//!    affected agents.
//! 2. [`Controller::reconcile`] handles one agent: it takes the plan from the core,
//!    executes it through [`actions`], and plans again until nothing is left to do.
//! 3. A failed agent is requeued with backoff.
//! 4. [`heartbeat_expiry`] deletes Sessions whose owners stopped sending reports.
//! 5. [`events`] records Events and log messages about runs.
//!
//! All persistent state is in the cluster, so a new leader continues where this one stopped.

mod actions;
mod adoption;
mod events;
mod heartbeat_expiry;
mod prerequisites;
mod session_creation;
mod session_store;
mod stopping;
mod target_resolution;
mod unbound_agents;
mod watches;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    ops::ControlFlow,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::Client;
use mirrord_sessions_core::{
    agents::Binding,
    controller::{
        Agent, AgentId, AgentState, Cache, DeleteReasons, EventDetail, Plan, RunEvent, SessionPlan,
        SessionQueries, WorkQueue, plan,
    },
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::{list_watch, metrics::Metrics, redaction::summary};
use events::EventRecorder;
pub(crate) use prerequisites::PrerequisitesReader;
use stopping::StoppingAgent;
use watches::Watches;

/// The maximum number of agents that are reconciled concurrently.
const MAX_CONCURRENT: usize = 16;
/// The timeout of one reconciliation with all its requests.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);
/// The maximum delay of the start while the store loads the ended sessions.
const STORE_SYNC_TIMEOUT: Duration = Duration::from_secs(15);
/// The maximum number of Sessions remembered as already reported.
const MAX_REPORTED: usize = 10_000;
/// The maximum number of plans executed in one reconciliation, more than any agent needs.
const MAX_PLANS: usize = 12;

/// The dependencies and the state that all parts of the controller share.
struct Controller<'a> {
    client: Client,
    prerequisites: &'a PrerequisitesReader,
    recorder: EventRecorder<'a>,
    metrics: &'a Metrics,
    delete_reasons: &'a dyn DeleteReasons,
    session_queries: &'a dyn SessionQueries,
    /// The time without heartbeats after which a Session is deleted.
    heartbeat_expiry: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    cache: Cache,
    /// Set once all watches have listed their objects.
    synced: bool,
    /// Plans of created Sessions whose status is not written yet.
    session_plans: HashMap<AgentId, SessionPlan>,
    /// The latest Session that was created for or adopted by each agent.
    created: HashMap<AgentId, CreatedSession>,
    /// Agents whose deletion was accepted and whose Pods may still run.
    stopping: HashMap<AgentId, StoppingAgent>,
    /// Bindings that the API server denied to store on their agents.
    denied_bindings: HashMap<AgentId, Binding>,
    /// UIDs of Sessions whose end was reported, because two tasks can observe the same end.
    reported: HashSet<String>,
}

impl State {
    /// Marks the end of a Session as reported and returns whether it was not reported before.
    fn mark_reported(&mut self, uid: &str) -> bool {
        if self.reported.len() >= MAX_REPORTED {
            self.reported.clear();
        }
        self.reported.insert(uid.to_owned())
    }
}

/// A Session that was created for or adopted by an agent.
struct CreatedSession {
    at: Instant,
    /// The binding to write on the agent.
    binding: Binding,
}

/// The successful result of a reconciliation.
enum Action {
    /// Wait for the next change.
    AwaitChange,
    /// Reconcile again after this delay.
    RequeueAfter(Duration),
}

/// The error of a reconciliation, after which the agent is requeued with backoff.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("failed to {operation}: {}", summary(.source))]
    Kube { operation: &'static str, source: kube::Error },
    #[error("failed to list Pods: {0}")]
    List(#[from] list_watch::Error),
    /// The reason is for Events only.
    #[error("the API server rejected the Session")]
    SessionRefused { reason: String, invalid: bool },
    #[error("the Session CRD does not exist or is being deleted")]
    CrdMissing,
    #[error("Sessions of other users have every candidate name in namespace {namespace}")]
    NamesTaken { namespace: String, names: Vec<String> },
    #[error("the API server denied the binding of the agent to its Session")]
    BindingDenied(String),
    #[error("timed out after {0:?}")]
    Timeout(Duration),
}

impl Error {
    /// Returns a function for `map_err` that adds the failed operation to an error.
    fn on(operation: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |source| Self::Kube { operation, source }
    }

    fn max_backoff(&self) -> Duration {
        match self {
            // These errors last until a user acts.
            Self::SessionRefused { .. } | Self::NamesTaken { .. } => Duration::from_mins(5),
            _ => Duration::from_secs(30),
        }
    }
}

/// Runs the controller until the future is dropped.
pub(crate) async fn run(
    client: &Client,
    (pod_name, event_detail): (&str, EventDetail),
    prerequisites: &PrerequisitesReader,
    heartbeat_expiry: Duration,
    metrics: &Metrics,
    delete_reasons: &dyn DeleteReasons,
    session_queries: &dyn SessionQueries,
) {
    let controller = Controller {
        client: client.clone(),
        prerequisites,
        recorder: EventRecorder::new(client.clone(), pod_name, event_detail),
        metrics,
        delete_reasons,
        session_queries,
        heartbeat_expiry,
        state: Mutex::default(),
    };
    let reconciler = controller.run_reconciler();
    Box::pin(futures::future::join(reconciler, controller.run_heartbeat_expiry())).await;
}

impl Controller<'_> {
    async fn run_reconciler(&self) {
        let start = Instant::now();
        while !self.session_queries.is_synced() && start.elapsed() < STORE_SYNC_TIMEOUT {
            sleep(Duration::from_millis(50)).await;
        }
        let mut queue: WorkQueue<AgentId> = WorkQueue::default();
        let mut watches = Watches::new(&self.client);
        let mut reconciles = FuturesUnordered::new();
        let mut deleted_sessions = VecDeque::new();
        let mut reports = FuturesUnordered::new();
        let mut synced = false;
        let mut overflowed = false;
        loop {
            let due = queue.next_due().filter(|_| synced && reconciles.len() < MAX_CONCURRENT);
            let wait_for_due = async {
                match due {
                    Some(due) => sleep_until(start + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait_for_due => {}
                affected = watches.next(&self.state) => {
                    let mut state = self.state();
                    self.metrics.pods(state.cache.pod_count());
                    if state.cache.take_overflowed() && !overflowed {
                        overflowed = true;
                        warn!("too many or too large agents, Pods or Sessions: some are ignored");
                    }
                    deleted_sessions.extend(state.cache.drain_deleted_heartbeat_sessions());
                    for id in affected {
                        queue.add_changed(id, start.elapsed());
                    }
                    if !synced && watches.synced() {
                        synced = true;
                        state.synced = true;
                        let agents = state.cache.agents();
                        info!(agents = agents.len(), "caches synced, starting to reconcile agents");
                        for id in agents {
                            queue.add_changed(id, start.elapsed());
                        }
                    }
                }
                Some(()) = reports.next() => {}
                Some((id, result)) = reconciles.next() => {
                    let now = start.elapsed();
                    match result {
                        Ok(Action::AwaitChange) => queue.finish(id, now, None),
                        Ok(Action::RequeueAfter(delay)) => queue.finish(id, now, Some(delay)),
                        Err(error) => queue.retry(id, now, Error::max_backoff(&error)),
                    }
                }
            }
            while reports.len() < MAX_CONCURRENT
                && let Some(session) = deleted_sessions.pop_front()
            {
                reports.push(self.report_deleted_session(session));
            }
            while synced && reconciles.len() < MAX_CONCURRENT {
                let Some(id) = queue.pop(start.elapsed()) else {
                    break;
                };
                reconciles.push(async {
                    let result = timeout(RECONCILE_TIMEOUT, self.reconcile(&id)).await;
                    let result = result.unwrap_or(Err(Error::Timeout(RECONCILE_TIMEOUT)));
                    // Report here, so that the loop does not wait for the Event.
                    if let Err(error) = &result {
                        self.report_error(&id, error).await;
                    }
                    (id, result)
                });
            }
        }
    }

    /// Executes plans for one agent until nothing is left to do.
    async fn reconcile(&self, id: &AgentId) -> Result<Action, Error> {
        if self.state().stopping.contains_key(id)
            && let ControlFlow::Break(action) = self.confirm_stopped(id).await?
        {
            return Ok(action);
        }
        for _ in 0..MAX_PLANS {
            let (agent_state, plan) = {
                let state = self.state();
                let agent = state.cache.agent(id).map(|agent| state.with_denied_binding(agent));
                let phase = agent.as_ref().and_then(|agent| state.cache.phase(agent));
                let agent_state = AgentState::from_observed(agent.as_ref(), phase);
                let plan = plan(&agent_state, &state.cache.sessions(id));
                (agent_state, plan)
            };
            let flow = match (&agent_state, plan) {
                (AgentState::Running(agent, _), Plan::CreateSession) => {
                    self.create_session(agent).await?
                }
                (AgentState::Running(agent, phase), Plan::WriteStatus(session)) => {
                    self.write_status(agent, phase, &session).await?
                }
                (AgentState::Running(agent, _), Plan::DeleteAgent(binding)) => {
                    self.delete_agent(agent, &binding).await?
                }
                (AgentState::Running(..), Plan::BindAgent(session)) => {
                    self.bind_agent(&session).await?
                }
                (AgentState::Running(agent, _), Plan::ResolveMissingSession(binding)) => {
                    self.resolve_missing_session(agent, &binding).await?
                }
                (_, Plan::VerifyAgentGone(session)) => self.verify_agent_gone(&session).await?,
                (_, Plan::UnbindAgent(session)) => self.unbind_agent(&session).await?,
                (_, Plan::DeleteSession(session)) => self.delete_session(&session).await?,
                (_, Plan::DeleteDuplicate(session)) => {
                    warn!(session = session.name, "deleting the second Session of an agent");
                    self.delete_duplicate(&session).await?
                }
                _ => {
                    self.forget_if_gone(id, &agent_state);
                    return Ok(Action::AwaitChange);
                }
            };
            if let ControlFlow::Break(action) = flow {
                return Ok(action);
            }
        }
        // The agent keeps changing. Give other agents their turn.
        Ok(Action::RequeueAfter(Duration::from_secs(1)))
    }

    fn forget_if_gone(&self, id: &AgentId, agent_state: &AgentState) {
        if *agent_state != AgentState::Unobserved {
            return;
        }
        let mut state = self.state();
        state.session_plans.remove(id);
        state.created.remove(id);
        state.denied_bindings.remove(id);
        self.recorder.forget(id);
    }

    async fn report_error(&self, id: &AgentId, error: &Error) {
        let text = error.to_string();
        let event = match error {
            Error::SessionRefused { reason, .. } => Some(RunEvent::session_refused(reason)),
            Error::NamesTaken { namespace, names } => {
                Some(RunEvent::session_names_taken(namespace, names))
            }
            Error::BindingDenied(reason) => Some(RunEvent::agent_not_bound(reason)),
            _ => None,
        };
        if let Some(event) = event {
            if !matches!(error, Error::BindingDenied(_)) {
                self.metrics.session("refused");
            }
            self.recorder.record_for_agent(id, &text, &event).await;
        }
        self.recorder.log_error(id, &text);
    }

    /// Locks the shared state. The guard must not be held across an await.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn agent(&self, id: &AgentId) -> Option<Agent> {
        self.state().cache.agent(id).cloned()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
