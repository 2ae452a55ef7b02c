//! Reads what the controller stands on.

use k8s_openapi::{
    api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, Client, Resource};
use mirrord_sessions_core::controller::{Definition, Ground, policy_age};
use mirrord_sessions_crds::SESSIONS;
use serde::de::DeserializeOwned;
use tokio::{sync::Mutex, time::Instant};

const JOBS: &str = "agents.mirrord-sessions";
const EPHEMERAL: &str = "ephemeral-agents.mirrord-sessions";

/// Reads the guard and the definition; once for all who ask while a read is under way.
pub(crate) struct Grounds {
    policies: Api<ValidatingAdmissionPolicy>,
    bindings: Api<ValidatingAdmissionPolicyBinding>,
    definitions: Api<CustomResourceDefinition>,
    latest: Mutex<Option<(Instant, Ground)>>,
}

impl Grounds {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            policies: Api::all(client.clone()),
            bindings: Api::all(client.clone()),
            definitions: Api::all(client),
            latest: Mutex::default(),
        }
    }

    /// As it is now: read after this was asked.
    pub(crate) async fn read(&self) -> Result<Ground, kube::Error> {
        let asked = Instant::now();
        let mut latest = self.latest.lock().await;
        if let Some((began, ground)) = &*latest
            && *began >= asked
        {
            return Ok(ground.clone());
        }
        let began = Instant::now();
        let (jobs, ephemeral, definition) = futures::future::try_join3(
            self.guard(JOBS),
            self.guard(EPHEMERAL),
            metadata(&self.definitions, SESSIONS),
        )
        .await?;
        let ground = Ground {
            jobs_guarded: jobs,
            ephemeral_guarded: ephemeral,
            definition: definition.and_then(|meta| {
                Some(Definition {
                    going: meta.deletion_timestamp.is_some(),
                    created: meta.creation_timestamp.map(|time| time.0),
                    uid: meta.uid?,
                })
            }),
        };
        *latest = Some((began, ground.clone()));
        Ok(ground)
    }

    async fn guard(&self, name: &str) -> Result<Option<k8s_openapi::jiff::Timestamp>, kube::Error> {
        let (policy, binding) = futures::future::try_join(
            metadata(&self.policies, name),
            metadata(&self.bindings, name),
        )
        .await?;
        Ok(policy_age(policy.as_ref(), binding.as_ref()))
    }
}

async fn metadata<K>(api: &Api<K>, name: &str) -> Result<Option<ObjectMeta>, kube::Error>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let found = api.get_metadata_opt(name).await?;
    Ok(found.map(|object| object.metadata))
}
