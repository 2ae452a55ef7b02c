//! Finds out what an agent targets.

use kube::api::ListParams;
use mirrord_sessions_core::{
    agents::{ContainerId, Reach},
    controller::{Agent, ContainerView, Found, PodView, Target},
};

use super::{Controller, Failed};
use crate::sessions::targets::{pods_on_node, workload_of};

/// A Pod of the view, to go on with after it was unlocked.
type Matched = Result<Option<(PodView, Option<ContainerView>)>, String>;

impl Controller<'_> {
    /// What the agent targets. That it can't be told is an answer too.
    pub(crate) async fn target(&self, agent: &Agent) -> Result<Target, Failed> {
        let home = &agent.id.namespace;
        let matched = match &agent.reach {
            Reach::Targetless => return Ok(Target::targetless(home)),
            Reach::Unreadable(why) => return Ok(Target::unresolved(home, why.clone())),
            Reach::Pod => Ok(self.state().view.pod(&agent.id).map(|pod| (pod.clone(), None))),
            Reach::Container(id) => self.pod_of(id, agent.node.as_deref()).await?,
        };
        let (pod, container) = match matched {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Target::unresolved(home, "no Pod has its container".into())),
            Err(problem) => return Ok(Target::unresolved(home, problem)),
        };
        let workload = workload_of(&self.client, &pod)
            .await
            .map_err(Failed::of("what its Pod belongs to can't be read"))?;
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
        let pods = pods_on_node(&self.client, node, None, ListParams::default())
            .await
            .map_err(Failed::of("the Pods of its node can't be listed"))?;
        Ok(matched(&PodView::find(pods.iter(), id, Some(node))))
    }
}

fn matched(found: &Found<'_>) -> Matched {
    match found {
        Found::None => Ok(None),
        Found::One(pod, container) => Ok(Some(((*pod).clone(), Some((*container).clone())))),
        Found::Several => Err("more than one Pod says that it has its container".to_owned()),
    }
}
