//! Builders of agents and Sessions for tests.

use k8s_openapi::jiff::Timestamp;

use super::{Agent, AgentId, AgentKind, AgentPhase, AgentSession};
use crate::agents::{Binding, ContainerId, Stamp, TargetKind};

pub(crate) fn container_id(id: &str) -> ContainerId {
    let args = format!("targeted --container-id {id} --container-runtime containerd");
    let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    match TargetKind::from_args(&args) {
        TargetKind::Container(id) => id,
        kind => panic!("{kind:?}"),
    }
}

pub(crate) fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// Returns a running targetless agent of alice, created at 100 s.
pub(crate) fn agent() -> Agent {
    let job = crate::agents::fixtures::job(crate::agents::fixtures::RUNNING);
    Agent {
        stamp: stamp("alice"),
        created_at: Some(time(100)),
        target_kind: TargetKind::Targetless,
        ..Agent::from_job(&job).unwrap()
    }
}

/// Returns the same agent in an ephemeral container.
pub(crate) fn ephemeral() -> Agent {
    let agent = agent();
    Agent {
        id: AgentId {
            kind: AgentKind::Pod,
            container: "mirrord-agent-w6vxft9ixh".into(),
            ..agent.id
        },
        target_kind: TargetKind::Pod,
        ..agent
    }
}

pub(crate) fn stamp(username: &str) -> Stamp {
    Stamp::Requester(mirrord_sessions_crds::Owner {
        username: username.into(),
        uid: None,
        groups: vec!["devs".into()],
    })
}

/// Returns a Session of an agent whose status is written.
pub(crate) fn agent_session(uid: &str, agent: &Agent, owner: &str) -> AgentSession {
    AgentSession {
        agent: agent.id.clone(),
        namespace: "shop".into(),
        name: format!("s-{uid}"),
        uid: uid.into(),
        owner: owner.into(),
        user: owner.into(),
        target: "deployment/ip-visit-counter".into(),
        created_at: Some(time(110)),
        status_written: true,
        phase: Some(AgentPhase::Running),
        adopted: false,
        deleting: false,
    }
}

pub(crate) fn binding(agent: &Agent, session: &AgentSession) -> Binding {
    Binding {
        namespace: session.namespace.clone(),
        name: session.name.clone(),
        uid: session.uid.clone(),
        agent_uid: agent.id.uid.clone(),
        crd_uid: "crd".into(),
        owner: session.owner.clone(),
        target: session.target.clone(),
    }
}
