//! Finds out what an agent targets.

use k8s_openapi::{
    api::{apps::v1::ReplicaSet, batch::v1::Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::ListParams};
use mirrord_sessions_core::{
    agents::{ContainerId, Reach},
    lifecycle::{Above, Agent, ContainerView, Found, PodView, Target, Workload, above, workload},
};
use tracing::debug;

use super::{Controller, Failed, feeds::PodObject};

/// A Pod of the view, to go on with after it was unlocked.
type Matched = Result<Option<(PodView, Option<ContainerView>)>, String>;

impl Controller<'_> {
    /// What the agent targets. That it can't be told is an answer too.
    pub(super) async fn target(&self, agent: &Agent) -> Result<Target, Failed> {
        let home = &agent.id.namespace;
        let matched = match &agent.reach {
            Reach::Targetless => return Ok(Target::targetless(home)),
            Reach::Unreadable(why) => return Ok(Target::unresolved(home, why.clone())),
            Reach::Pod => Ok(self
                .state()
                .view
                .pod(&agent.id)
                .map(|pod| (pod.clone(), None))),
            Reach::Container(id) => self.pod_of(id, agent.node.as_deref()).await?,
        };
        let (pod, container) = match matched {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Target::unresolved(home, "no Pod has its container".into())),
            Err(problem) => return Ok(Target::unresolved(home, problem)),
        };
        let workload = match workload(&pod) {
            Workload::Known(path) => path,
            Workload::Above(between) => above(&between, self.between(&between).await?.as_ref()),
        };
        Ok(match container {
            Some(container) => Target::container(&pod, &container, &workload),
            None => Target::pod(&pod, &workload),
        })
    }

    /// The Pod with a container; asked of the API server where the watch has not told of it yet.
    async fn pod_of(&self, id: &ContainerId, node: Option<&str>) -> Result<Matched, Failed> {
        if let found @ (Ok(Some(_)) | Err(_)) = matched(&self.state().view.find(id, node)) {
            return Ok(found);
        }
        let Some(node) = node else {
            return Ok(Ok(None));
        };
        let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
        let pods: Api<PodObject> = Api::all(self.client.clone());
        let pods = pods
            .list(&params)
            .await
            .map_err(Failed::of("the Pods of its node can't be listed"))?;
        let pods: Vec<PodView> = pods.items.into_iter().filter_map(PodObject::view).collect();
        Ok(matched(&PodView::find(pods.iter(), id, Some(node))))
    }

    /// What is between a Pod and its workload; none if it is gone, or not ours to read.
    async fn between(&self, between: &Above) -> Result<Option<ObjectMeta>, Failed> {
        let Above {
            namespace, name, ..
        } = between;
        let client = self.client.clone();
        let found = if between.kind == "Job" {
            let jobs: Api<Job> = Api::namespaced(client, namespace);
            jobs.get_metadata_opt(name)
                .await
                .map(|found| found.map(|object| object.metadata))
        } else {
            let sets: Api<ReplicaSet> = Api::namespaced(client, namespace);
            sets.get_metadata_opt(name)
                .await
                .map(|found| found.map(|object| object.metadata))
        };
        match found {
            Ok(found) => Ok(found),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                debug!(
                    kind = between.kind,
                    name, "the workload above can't be read"
                );
                Ok(None)
            }
            Err(error) => Err(Failed::of("what its Pod belongs to can't be read")(error)),
        }
    }
}

fn matched(found: &Found<'_>) -> Matched {
    match found {
        Found::None => Ok(None),
        Found::One(pod, container) => Ok(Some(((*pod).clone(), Some((*container).clone())))),
        Found::Several => Err("more than one Pod says that it has its container".to_owned()),
    }
}
