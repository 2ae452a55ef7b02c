//! Leader election through a Lease, with the decisions of the core.

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
use mirrord_sessions_core::leader_election::{Candidate, ElectionStep};
use mirrord_sessions_crds::WEBHOOK_NAME;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

use crate::{metrics::Metrics, redaction::summary};

/// The timeout of releasing the Lease on shutdown.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(3);

/// The delay after a write conflict, which limits the requests if a client keeps writing the Lease.
const CONFLICT_DELAY: Duration = Duration::from_millis(200);

/// The participation of this replica in an election.
pub(crate) struct LeaderElection<'a> {
    leases: Api<Lease>,
    name: &'a str,
    candidate: Candidate,
    start: Instant,
    metrics: &'a Metrics,
}

/// The error of an attempt to acquire or renew the Lease.
#[derive(Debug, thiserror::Error)]
enum ElectionError {
    #[error("failed to read the Lease: {}", summary(.0))]
    Read(#[source] kube::Error),
    #[error("failed to write the Lease: {}", summary(.0))]
    Write(#[source] kube::Error),
    #[error("no response from the API server within {0:?}")]
    Timeout(Duration),
}

impl<'a> LeaderElection<'a> {
    /// Creates an election for the Lease of this name, which is created if it is missing.
    pub(crate) fn new(
        leases: Api<Lease>,
        name: &'a str,
        candidate: Candidate,
        metrics: &'a Metrics,
    ) -> Self {
        Self { leases, name, candidate, start: Instant::now(), metrics }
    }

    /// Runs `tasks` whenever this replica leads, until `stop` completes.
    ///
    /// The future of `tasks` is dropped when leadership is lost. On `stop` the Lease is released,
    /// so that another replica can lead at once.
    pub(crate) async fn run<T: Future<Output = ()>>(
        mut self,
        tasks: impl Fn() -> T,
        stop: impl Future<Output = ()>,
    ) {
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return self.release().await,
                () = self.acquire() => {}
            }
            info!(lease = self.name, identity = self.candidate.identity(), "acquired leadership");
            self.metrics.leads(true);
            let lead = async {
                tasks().await;
                std::future::pending::<()>().await;
            };
            let stopped = tokio::select! {
                () = &mut stop => true,
                () = self.renew_until_lost() => false,
                () = lead => false,
            };
            self.metrics.leads(false);
            if stopped {
                return self.release().await;
            }
            warn!(
                lease = self.name,
                "lost leadership: another replica holds the Lease, or it was not renewed in time"
            );
        }
    }

    /// Waits until this replica holds the Lease.
    async fn acquire(&mut self) {
        let mut last_error = String::new();
        loop {
            let delay = match self.attempt().await {
                Ok(None) => return,
                Ok(Some(delay)) => {
                    last_error.clear();
                    delay
                }
                Err(error) => {
                    // Log each error once, because the attempt is repeated every two seconds.
                    let error = error.to_string();
                    if last_error != error {
                        warn!(lease = self.name, %error, "failed to acquire the Lease, retrying");
                        last_error = error;
                    }
                    self.candidate.timing().retry
                }
            };
            sleep(delay).await;
        }
    }

    /// Renews the Lease until another replica holds it or no renewal succeeds within the deadline.
    async fn renew_until_lost(&mut self) {
        let deadline = self.candidate.timing().renew_deadline;
        while matches!(timeout(deadline, self.renew()).await, Ok(true)) {}
    }

    /// Retries until the Lease is renewed, or returns false if another replica holds it.
    async fn renew(&mut self) -> bool {
        loop {
            sleep(self.candidate.timing().retry).await;
            match self.attempt().await {
                Ok(delay) => return delay.is_none(),
                Err(error) => debug!(lease = self.name, %error, "failed to renew the Lease"),
            }
        }
    }

    /// Attempts to acquire or renew the Lease within a timeout.
    ///
    /// Returns `None` if this replica holds the Lease, or else the delay before the next attempt.
    async fn attempt(&mut self) -> Result<Option<Duration>, ElectionError> {
        let limit = self.candidate.timing().renew_deadline / 2;
        timeout(limit, self.acquire_or_renew()).await.map_err(|_| ElectionError::Timeout(limit))?
    }

    async fn acquire_or_renew(&mut self) -> Result<Option<Duration>, ElectionError> {
        loop {
            let lease = self.read().await?;
            let spec = lease.spec.clone().unwrap_or_default();
            let step = self.candidate.next_step(&spec, self.start.elapsed());
            if let ElectionStep::Wait(delay) = step {
                return Ok(Some(delay));
            }
            let held = self.candidate.held_spec(&spec, now());
            match self.write(lease, held).await {
                Ok(()) => return Ok(None),
                // Another client wrote the Lease in between.
                Err(kube::Error::Api(status)) if status.is_conflict() => {
                    sleep(CONFLICT_DELAY).await;
                }
                Err(error) => return Err(ElectionError::Write(error)),
            }
        }
    }

    async fn read(&self) -> Result<Lease, ElectionError> {
        let lease = self.leases.get_opt(self.name).await.map_err(ElectionError::Read)?;
        match lease {
            Some(lease) => Ok(lease),
            None => self.create().await.map_err(ElectionError::Write),
        }
    }

    /// Creates a Lease without a holder.
    ///
    /// The manifests contain no Lease because GitOps tools ignore Leases. Server-side apply allows
    /// RBAC to restrict the creation to this name.
    async fn create(&self) -> Result<Lease, kube::Error> {
        let lease = json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": { "name": self.name },
        });
        let params = PatchParams::apply(WEBHOOK_NAME);
        self.leases.patch(self.name, &params, &Patch::Apply(lease)).await
    }

    /// Replaces the Lease with its resource version as a precondition.
    async fn write(&self, mut lease: Lease, spec: LeaseSpec) -> Result<(), kube::Error> {
        lease.spec = Some(spec);
        self.leases.replace(self.name, &PostParams::default(), &lease).await.map(|_| ())
    }

    /// Releases the Lease if this replica holds it.
    async fn release(&self) {
        let release = async {
            let lease = self.read().await?;
            let spec = lease.spec.clone().unwrap_or_default();
            if let Some(released) = self.candidate.released_spec(&spec, now()) {
                self.write(lease, released).await.map_err(ElectionError::Write)?;
                info!(lease = self.name, "released the Lease");
            }
            Ok::<_, ElectionError>(())
        };
        match timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(lease = self.name, %error, "failed to release the Lease"),
            Err(_) => debug!(lease = self.name, "timed out releasing the Lease"),
        }
    }
}

fn now() -> MicroTime {
    MicroTime(Timestamp::now())
}

/// Returns an identity for the Lease that no other process has.
pub(crate) fn unique_identity(pod_name: &str) -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = RandomState::new().hash_one(std::process::id());
    format!("{pod_name}_{random:016x}")
}
