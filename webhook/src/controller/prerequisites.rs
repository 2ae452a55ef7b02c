//! Reading of the guard policies and the Session CRD.

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
    jiff::Timestamp,
};
use kube::{Api, Client, Resource};
use mirrord_sessions_core::controller::{Prerequisites, SessionCrd, guarded_since};
use mirrord_sessions_crds::SESSIONS;
use serde::de::DeserializeOwned;
use tokio::{sync::Mutex, time::Instant};

/// The name of the guard policy for agent Jobs and of its binding.
const JOB_GUARD: &str = "agents.mirrord-sessions";
/// The name of the guard policy for ephemeral agents and of its binding.
const EPHEMERAL_GUARD: &str = "ephemeral-agents.mirrord-sessions";

/// Reads [`Prerequisites`] and shares the result of a read among concurrent callers.
pub(crate) struct PrerequisitesReader {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
    crds: Api<CustomResourceDefinition>,
    /// The result of the last read with the time at which it started.
    latest: Mutex<Option<(Instant, Prerequisites)>>,
}

impl PrerequisitesReader {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            policies: Api::all(client.clone()),
            bindings: Api::all(client.clone()),
            crds: Api::all(client),
            latest: Mutex::default(),
        }
    }

    /// Returns the prerequisites from a read that started after this call.
    pub(crate) async fn read(&self) -> Result<Prerequisites, kube::Error> {
        let called_at = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((started_at, prerequisites)) = &*latest
            && *started_at >= called_at
        {
            return Ok(prerequisites.clone());
        }
        let started_at = Instant::now();
        let (jobs_guarded_since, ephemeral_guarded_since, crd) = futures::future::try_join3(
            self.guarded_since(JOB_GUARD),
            self.guarded_since(EPHEMERAL_GUARD),
            metadata(&self.crds, SESSIONS),
        )
        .await?;
        let crd = crd.and_then(|meta| {
            Some(SessionCrd {
                deleting: meta.deletion_timestamp.is_some(),
                created_at: meta.creation_timestamp.map(|time| time.0),
                uid: meta.uid?,
            })
        });
        let prerequisites = Prerequisites { jobs_guarded_since, ephemeral_guarded_since, crd };
        *latest = Some((started_at, prerequisites.clone()));
        Ok(prerequisites)
    }

    async fn guarded_since(&self, name: &str) -> Result<Option<Timestamp>, kube::Error> {
        let (policy, binding) = futures::future::try_join(
            metadata(&self.policies, name),
            metadata(&self.bindings, name),
        )
        .await?;
        Ok(guarded_since(policy.as_ref(), binding.as_ref()))
    }
}

async fn metadata<K>(api: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let object = api.get_metadata_opt(name).await?;
    Ok(object.map(|object| object.metadata))
}
