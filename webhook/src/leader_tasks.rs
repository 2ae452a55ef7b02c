//! What the leader of the replicas does. One Lease for all of it: each part is idle most of the
//! time, and none is better done by another replica than the rest.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use mirrord_sessions_core::{
    controller::Endings,
    leader_election::{Candidate, Timing},
};
use mirrord_sessions_crds::WEBHOOK_NAME;

use crate::{
    args::Args,
    auditor, controller,
    leader_election::{Election, identity},
    metrics::Metrics,
};

/// Takes part in the election; while this replica leads, sees to the auditor role and to agents.
/// Nothing that fails here keeps the process from serving admission.
pub(crate) async fn lead(
    client: Client,
    args: &Args,
    metrics: &Metrics,
    endings: &dyn Endings,
    stop: impl Future<Output = ()>,
) {
    let candidate = Candidate::new(identity(&args.pod_name), Timing::default());
    let leader = candidate.identity().to_owned();
    let leases: Api<Lease> = Api::namespaced(client.clone(), &args.namespace);
    let work = || async {
        futures::future::join(
            auditor::while_leading(&client, args, &leader, metrics),
            controller::while_leading(
                &client,
                &args.pod_name,
                args.report_period,
                metrics,
                endings,
            ),
        )
        .await;
    };
    Election::new(leases, WEBHOOK_NAME, candidate, metrics).run(work, stop).await;
}
