//! Resolution of an agent's target.

use mirrord_sessions_core::{
    agents::{ContainerId, TargetKind},
    controller::{Agent, CachedContainer, CachedPod, ContainerMatch, Target},
};

use super::{Controller, Error};
use crate::sessions::targets::{pods_on_node, workload_of};

/// A Pod and its container, cloned from the cache, or the reason why they are ambiguous.
type MatchedPod = Result<Option<(CachedPod, Option<CachedContainer>)>, String>;

impl Controller<'_> {
    /// Returns the target of an agent, which is unresolved if no Pod matches.
    pub(crate) async fn resolve_target(&self, agent: &Agent) -> Result<Target, Error> {
        let agent_namespace = &agent.id.namespace;
        let matched = match &agent.target_kind {
            TargetKind::Targetless => return Ok(Target::targetless(agent_namespace)),
            TargetKind::Unreadable(reason) => {
                return Ok(Target::unresolved(agent_namespace, reason.clone()));
            }
            TargetKind::Pod => Ok(self.state().cache.pod(&agent.id).map(|pod| (pod.clone(), None))),
            TargetKind::Container(id) => self.find_pod(id, agent.node.as_deref()).await?,
        };
        let (pod, container) = match matched {
            Ok(Some(matched)) => matched,
            Ok(None) => {
                let problem = "no Pod has its container".into();
                return Ok(Target::unresolved(agent_namespace, problem));
            }
            Err(problem) => return Ok(Target::unresolved(agent_namespace, problem)),
        };
        let workload = workload_of(&self.client, &pod).await;
        let workload = workload.map_err(Error::on("read the owner of the target Pod"))?;
        Ok(match container {
            Some(container) => Target::container(&pod, &container, &workload),
            None => Target::pod(&pod, &workload),
        })
    }

    /// Finds the Pod with a container in the cache, or else in the API server.
    async fn find_pod(&self, id: &ContainerId, node: Option<&str>) -> Result<MatchedPod, Error> {
        let cached = clone_match(&self.state().cache.find_container(id, node));
        if !matches!(cached, Ok(None)) {
            return Ok(cached);
        }
        let Some(node) = node else {
            return Ok(Ok(None));
        };
        let pods = pods_on_node(&self.client, node, None, false).await?;
        Ok(clone_match(&CachedPod::find(pods.iter(), id, Some(node))))
    }
}

fn clone_match(found: &ContainerMatch<'_>) -> MatchedPod {
    match found {
        ContainerMatch::None => Ok(None),
        ContainerMatch::One(pod, container) => {
            Ok(Some(((*pod).clone(), Some((*container).clone()))))
        }
        ContainerMatch::Ambiguous => Err("more than one Pod lists its container".to_owned()),
    }
}
