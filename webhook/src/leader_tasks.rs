//! The tasks of the elected leader: the auditor role and the controller.
//!
//! Both tasks share one Lease. They are idle most of the time, so spreading them over replicas
//! would gain nothing.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use mirrord_sessions_core::{
    controller::{DeleteReasons, SessionQueries},
    leader_election::{Candidate, Timing},
};
use mirrord_sessions_crds::WEBHOOK_NAME;

use crate::{
    args::Args,
    auditor,
    controller::{self, PrerequisitesReader},
    leader_election::{LeaderElection, unique_identity},
    metrics::Metrics,
};

/// Takes part in the leader election until `stop` completes, and runs the tasks while leading.
///
/// A failure of these tasks does not affect admission.
pub(crate) async fn run<S: DeleteReasons + SessionQueries>(
    client: Client,
    args: &Args,
    metrics: &Metrics,
    store: &S,
    stop: impl Future<Output = ()>,
) {
    let candidate = Candidate::new(unique_identity(&args.pod_name), Timing::default());
    let identity = candidate.identity().to_owned();
    let prerequisites = PrerequisitesReader::new(client.clone());
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    let tasks = || async {
        futures::future::join(
            auditor::reconcile(&client, args, &identity, metrics),
            controller::run(
                &client,
                (&args.pod_name, args.events.detail()),
                &prerequisites,
                args.report_period.expiry(),
                metrics,
                store,
                store,
            ),
        )
        .await;
    };
    let election = LeaderElection::new(leases, WEBHOOK_NAME, candidate, metrics);
    tokio::select! {
        () = election.run(tasks, stop) => {}
        () = prerequisites.observe() => {}
    }
}
