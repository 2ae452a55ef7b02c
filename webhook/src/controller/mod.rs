//! Looks after agents while this replica leads: sees them start, records each as a Session, closes
//! it when its agent ends, and ends the agent when its Session is deleted.
//!
//! Three watches fill a view; what changes there is put into a queue; each agent in it is looked at
//! by itself, step by step as the core says. Nothing is remembered that the cluster doesn't know
//! too, so that a next leader goes on where this one was.

mod actions;
mod adoption;
mod events;
mod expiry;
mod prerequisites;
mod session_creation;
mod session_queries;
mod target;
mod watches;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use kube::Client;
use mirrord_sessions_core::{
    agents::Binding,
    apiserver::ReportPeriod,
    controller::{Agent, AgentId, Draft, Endings, Presence, Queue, Step, Told, View, next},
};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use crate::metrics::Metrics;
use events::Teller;
use prerequisites::Grounds;
use watches::Feeds;

/// Agents that are looked at at once.
const AT_ONCE: usize = 16;
/// How long a look may take, with everything that it does.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what is known of Sessions that have ended, where it can't be read.
const GRACE: Duration = Duration::from_secs(15);
/// How many Sessions are remembered of whose end was told.
const TOLD: usize = 10_000;
/// More steps than any agent needs.
const STEPS: usize = 12;

/// What the parts of this share.
struct Controller<'a> {
    client: Client,
    grounds: Grounds,
    teller: Teller<'a>,
    metrics: &'a Metrics,
    endings: &'a dyn Endings,
    pace: ReportPeriod,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    view: View,
    /// The view holds all there is: before that, what isn't seen may be there.
    synced: bool,
    /// Sessions whose status is still to be written.
    drafts: HashMap<AgentId, Draft>,
    /// The Sessions that agents got last.
    recorded: HashMap<AgentId, Made>,
    /// The Sessions of whose end was told, by their identifiers: for a while, since two may.
    told: HashSet<String>,
}

impl State {
    /// Whether the end of a Session is to be told now, since nobody has.
    fn tells(&mut self, uid: &str) -> bool {
        if self.told.len() >= TOLD {
            self.told.clear();
        }
        self.told.insert(uid.to_owned())
    }
}

/// A Session that was made for an agent.
struct Made {
    at: Instant,
    /// What is to tie the agent to it.
    binding: Binding,
}

/// What comes of a look.
enum Looked {
    /// Nothing is left to do.
    Done,
    /// To be looked at again after that time, though nothing failed.
    Again(Duration),
}

/// Why a look ended early.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{what}: {error}")]
    Kube { what: &'static str, error: kube::Error },
    /// The API server doesn't want the Session, which won't change soon.
    #[error("the Session is refused: {0}")]
    Refused(String),
    #[error("the definition of Sessions is not there")]
    NoDefinition,
    #[error(
        "every name that its Session could have in namespace {namespace} is taken by somebody else's"
    )]
    NoName { namespace: String, names: Vec<String> },
    #[error("it took more than {0:?}")]
    Slow(Duration),
}

impl Failed {
    fn of(what: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| Self::Kube { what, error }
    }

    /// How long the pause before the next try becomes at most.
    fn longest_pause(&self) -> Duration {
        match self {
            Self::Refused(_) | Self::NoName { .. } => Duration::from_mins(5),
            _ => Duration::from_secs(30),
        }
    }
}

/// Goes on for as long as it is polled.
pub(crate) async fn while_leading(
    client: &Client,
    pod: &str,
    pace: ReportPeriod,
    metrics: &Metrics,
    endings: &dyn Endings,
) {
    let controller = Controller {
        client: client.clone(),
        grounds: Grounds::new(client.clone()),
        teller: Teller::new(client.clone(), pod),
        metrics,
        endings,
        pace,
        state: Mutex::default(),
    };
    Box::pin(futures::future::join(controller.run(), controller.expire())).await;
}

impl Controller<'_> {
    async fn run(&self) {
        let start = Instant::now();
        while !self.endings.are_read() && start.elapsed() < GRACE {
            sleep(Duration::from_millis(50)).await;
        }
        let mut queue: Queue<AgentId> = Queue::default();
        let mut feeds = Feeds::new(&self.client);
        let mut looks = FuturesUnordered::new();
        let mut gone = VecDeque::new();
        let mut tells = FuturesUnordered::new();
        let mut synced = false;
        loop {
            let due = queue.next_due().filter(|_| synced && looks.len() < AT_ONCE);
            let wake = async {
                match due {
                    Some(due) => sleep_until(start + due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wake => {}
                about = feeds.next(&self.state) => {
                    self.metrics.pods(self.state().view.pods());
                    gone.extend(self.state().view.take_gone());
                    for id in about {
                        queue.touch(id, start.elapsed());
                    }
                    if !synced && feeds.synced() {
                        synced = true;
                        self.state().synced = true;
                        let agents = self.state().view.agents();
                        info!(agents = agents.len(), "looking after agents");
                        for id in agents {
                            queue.touch(id, start.elapsed());
                        }
                    }
                }
                Some(()) = tells.next() => {}
                Some((id, looked)) = looks.next() => {
                    let now = start.elapsed();
                    match looked {
                        Ok(Looked::Done) => queue.done(id, now, None),
                        Ok(Looked::Again(pause)) => queue.done(id, now, Some(pause)),
                        Err(failed) => {
                            queue.failed(id, now, Failed::longest_pause(&failed));
                        }
                    }
                }
            }
            while tells.len() < AT_ONCE
                && let Some(session) = gone.pop_front()
            {
                tells.push(self.tell_gone(session));
            }
            while synced && looks.len() < AT_ONCE {
                let Some(id) = queue.take(start.elapsed()) else {
                    break;
                };
                looks.push(async {
                    let looked = timeout(PATIENCE, self.look(&id)).await;
                    let looked = looked.unwrap_or(Err(Failed::Slow(PATIENCE)));
                    // Here, not in the loop: the other agents don't wait for an Event about this
                    // one.
                    if let Err(failed) = &looked {
                        self.failed(&id, failed).await;
                    }
                    (id, looked)
                });
            }
        }
    }

    /// Does for one agent all that there is to do now.
    async fn look(&self, id: &AgentId) -> Result<Looked, Failed> {
        for _ in 0..STEPS {
            let (presence, step) = {
                let state = self.state();
                let presence = Presence::of(state.view.agent(id));
                let step = next(&presence, &state.view.sessions(id));
                (presence, step)
            };
            let looked = match (&presence, step) {
                (Presence::Running(agent), Step::Record) => self.record(agent).await?,
                (Presence::Running(agent), Step::Report(session)) => {
                    self.report(agent, &session).await?
                }
                (Presence::Running(_), Step::Bind(session)) => self.bind(&session).await?,
                (Presence::Running(agent), Step::Missed(binding)) => {
                    self.missed(agent, &binding).await?
                }
                (_, Step::Confirm(session)) => self.confirm(&session).await?,
                (_, Step::Release(session)) => self.release(&session).await?,
                (_, Step::Close(session)) => self.close(&session, true).await?,
                (_, Step::Drop(session)) => {
                    warn!(session = session.name, "an agent had two Sessions");
                    self.close(&session, false).await?
                }
                _ => {
                    self.rest(id, &presence);
                    return Ok(Looked::Done);
                }
            };
            if let Some(looked) = looked {
                return Ok(looked);
            }
        }
        // It changes all the time: others come first.
        Ok(Looked::Again(Duration::from_secs(1)))
    }

    /// Forgets what was only known of an agent that is gone.
    fn rest(&self, id: &AgentId, presence: &Presence) {
        if *presence != Presence::Unseen {
            return;
        }
        let mut state = self.state();
        state.drafts.remove(id);
        state.recorded.remove(id);
        self.teller.forget(id);
    }

    async fn failed(&self, id: &AgentId, failed: &Failed) {
        let text = failed.to_string();
        let told = match failed {
            Failed::Refused(why) => Some(Told::refused(why)),
            Failed::NoName { namespace, names } => Some(Told::names_taken(namespace, names)),
            _ => None,
        };
        if let Some(told) = told {
            self.metrics.session("refused");
            self.teller.refused(id, &text, &told).await;
        }
        self.teller.log_failure(id, &text);
    }

    /// Never held while something is waited for.
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    fn agent(&self, id: &AgentId) -> Option<Agent> {
        self.state().view.agent(id).cloned()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
