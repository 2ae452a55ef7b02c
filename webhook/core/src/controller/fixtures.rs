//! Builders for tests.

use k8s_openapi::jiff::Timestamp;

use super::{Agent, AgentId, AgentKind, Recorded};
use crate::agents::{Binding, ContainerId, Reach, Stamp};

pub(crate) fn container_id(id: &str) -> ContainerId {
    let args = format!("targeted --container-id {id} --container-runtime containerd");
    let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
    match Reach::of(&args) {
        Reach::Container(id) => id,
        reach => panic!("{reach:?}"),
    }
}

pub(crate) fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A running targetless agent of alice's, created at 100 s.
pub(crate) fn agent() -> Agent {
    let job = crate::agents::fixtures::job(crate::agents::fixtures::RUNNING);
    Agent {
        stamp: stamp("alice"),
        created: Some(time(100)),
        reach: Reach::Targetless,
        ..Agent::of_job(&job).unwrap()
    }
}

/// The same in an ephemeral container.
pub(crate) fn ephemeral() -> Agent {
    let agent = agent();
    Agent {
        id: AgentId {
            kind: AgentKind::Pod,
            container: "mirrord-agent-w6vxft9ixh".into(),
            ..agent.id
        },
        reach: Reach::Pod,
        ..agent
    }
}

pub(crate) fn stamp(username: &str) -> Stamp {
    Stamp::Of(mirrord_sessions_crds::Owner {
        username: username.into(),
        uid: None,
        groups: vec!["devs".into()],
    })
}

/// A Session that was recorded for an agent, its status written.
pub(crate) fn recorded(uid: &str, agent: &Agent, owner: &str) -> Recorded {
    Recorded {
        agent: agent.id.clone(),
        namespace: "shop".into(),
        name: format!("s-{uid}"),
        uid: uid.into(),
        owner: owner.into(),
        user: owner.into(),
        target: "deployment/ip-visit-counter".into(),
        created: Some(time(110)),
        reported: true,
        adopted: false,
    }
}

pub(crate) fn binding(agent: &Agent, session: &Recorded) -> Binding {
    Binding {
        namespace: session.namespace.clone(),
        name: session.name.clone(),
        uid: session.uid.clone(),
        agent: agent.id.uid.clone(),
        definition: "definition".into(),
        owner: session.owner.clone(),
        target: session.target.clone(),
    }
}
