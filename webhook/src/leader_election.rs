//! Leading: reads and writes the Lease as the core's election says.

use std::{pin::pin, time::Duration};

use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
    jiff::Timestamp,
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use mirrord_sessions_core::leader_election::{Candidate, Step};
use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::metrics::Metrics;

/// How long giving the Lease up may take at the end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// Before the Lease is read again that somebody else wrote in between: one who writes it all the
/// time must not make this replica ask all the time.
const CONFLICT_PAUSE: Duration = Duration::from_millis(200);

/// One replica's part in an election.
pub(crate) struct Election<'a> {
    leases: Api<Lease>,
    name: &'a str,
    candidate: Candidate,
    start: Instant,
    metrics: &'a Metrics,
}

/// Why a try ended early.
#[derive(Debug, thiserror::Error)]
enum TryError {
    #[error("it can't be read: {0}")]
    Read(#[source] kube::Error),
    #[error("it can't be written: {0}")]
    Write(#[source] kube::Error),
    #[error("the API server did not answer within {0:?}")]
    Timeout(Duration),
}

impl<'a> Election<'a> {
    /// An election by the Lease of that name, which is made if it is missing.
    pub(crate) fn new(
        leases: Api<Lease>,
        name: &'a str,
        candidate: Candidate,
        metrics: &'a Metrics,
    ) -> Self {
        Self { leases, name, candidate, start: Instant::now(), metrics }
    }

    /// Begins `work` each time this replica is elected, and drops it when it leads no more. Goes on
    /// until `stop` is done; then the Lease is free for the next at once.
    pub(crate) async fn run<W: Future<Output = ()>>(
        mut self,
        work: impl Fn() -> W,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return self.release().await,
                () = self.win() => {}
            }
            info!(lease = self.name, identity = self.candidate.identity(), "leading");
            self.metrics.leads(true);
            let worked = async {
                work().await;
                std::future::pending::<()>().await;
            };
            let stopped = tokio::select! {
                () = &mut stop => true,
                () = self.hold() => false,
                () = worked => false,
            };
            self.metrics.leads(false);
            if stopped {
                return self.release().await;
            }
            warn!(
                lease = self.name,
                "leading no more: the Lease is another's, or could not be renewed in time"
            );
        }
    }

    /// Ends when this replica leads.
    async fn win(&mut self) {
        let mut told = String::new();
        loop {
            let pause = match self.attempt().await {
                Ok(None) => return,
                Ok(Some(pause)) => {
                    told.clear();
                    pause
                }
                Err(error) => {
                    // Once for each reason: this goes on every two seconds.
                    let text = error.to_string();
                    if told != text {
                        warn!(lease = self.name, error = %text, "no part in the election of a leader");
                        told = text;
                    }
                    self.candidate.timing().retry
                }
            };
            sleep(pause).await;
        }
    }

    /// Ends when this replica leads no more, or can't know that it does.
    async fn hold(&mut self) {
        let deadline = self.candidate.timing().renew_deadline;
        while matches!(timeout(deadline, self.renewed()).await, Ok(true)) {}
    }

    /// Tries until the Lease is renewed, or somebody else's.
    async fn renewed(&mut self) -> bool {
        loop {
            sleep(self.candidate.timing().retry).await;
            match self.attempt().await {
                Ok(next) => return next.is_none(),
                Err(error) => debug!(lease = self.name, %error, "the Lease is not renewed yet"),
            }
        }
    }

    /// Looks at the Lease once; `None` if this replica leads, or after how long to look again.
    async fn attempt(&mut self) -> Result<Option<Duration>, TryError> {
        let limit = self.candidate.timing().renew_deadline / 2;
        timeout(limit, self.look()).await.map_err(|_| TryError::Timeout(limit))?
    }

    async fn look(&mut self) -> Result<Option<Duration>, TryError> {
        loop {
            let lease = self.read().await?;
            let spec = lease.spec.clone().unwrap_or_default();
            if let Step::Wait(pause) = self.candidate.step(&spec, self.start.elapsed()) {
                return Ok(Some(pause));
            }
            let held = self.candidate.held(&spec, now());
            match self.write(lease, held).await {
                Ok(()) => return Ok(None),
                // Somebody was quicker.
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    sleep(CONFLICT_PAUSE).await;
                }
                Err(error) => return Err(TryError::Write(error)),
            }
        }
    }

    async fn read(&self) -> Result<Lease, TryError> {
        let lease = self.leases.get_opt(self.name).await.map_err(TryError::Read)?;
        match lease {
            Some(lease) => Ok(lease),
            None => self.create().await.map_err(TryError::Write),
        }
    }

    /// An empty Lease, for anybody to take. It isn't in the manifests, since GitOps tools leave
    /// Leases out; server-side apply lets RBAC hold its creation to this one name.
    async fn create(&self) -> Result<Lease, kube::Error> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.name },
        });
        let params = PatchParams::apply(WEBHOOK_NAME);
        self.leases.patch(self.name, &params, &Patch::Apply(lease)).await
    }

    /// With the version that was read: of two replicas, one wins.
    async fn write(&self, mut lease: Lease, spec: LeaseSpec) -> Result<(), kube::Error> {
        lease.spec = Some(spec);
        self.leases.replace(self.name, &PostParams::default(), &lease).await.map(|_| ())
    }

    /// Leaves the Lease to the next, if it is this one's.
    async fn release(&self) {
        let released = async {
            let lease = self.read().await?;
            let spec = lease.spec.clone().unwrap_or_default();
            if let Some(released) = self.candidate.released(&spec, now()) {
                self.write(lease, released).await.map_err(TryError::Write)?;
                info!(lease = self.name, "left the Lease to the next leader");
            }
            Ok::<_, TryError>(())
        };
        match timeout(RELEASE_TIMEOUT, released).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(lease = self.name, %error, "the Lease is left to run out"),
            Err(_) => debug!(lease = self.name, "the Lease is left to run out"),
        }
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// A name that no other process has or had.
pub(crate) fn identity(name: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    format!("{name}_{random:016x}")
}
