//! The guard policies as stored, compared with those that this release ships.
//!
//! A policy enforces nothing if its binding does not deny, or if policy or binding excludes
//! requests. Both are therefore compared as a whole, and not by their existence. The leader trusts
//! stamps by this comparison, and the plugin reports it.

mod comparison;
mod history;

use std::{fmt, sync::LazyLock};

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;

use comparison::{binding_difference, is_denying, policy_difference};
pub use history::{GuardHistory, GuardState};

/// The manifests of the guard policies.
const MANIFESTS: [&str; 5] = [
    include_str!("../../../../manifests/base/guard-sessions.yaml"),
    include_str!("../../../../manifests/base/guard-agents.yaml"),
    include_str!("../../../../manifests/base/guard-auditor-role.yaml"),
    include_str!("../../../../manifests/base/guard-webhook-configurations.yaml"),
    include_str!("../../../../manifests/base/guard-api-service.yaml"),
];

/// The name of the guard policy for agent Jobs and of its binding.
pub const JOB_GUARD: &str = "agents.mirrord-sessions";
/// The name of the guard policy for ephemeral agents and of its binding.
pub const EPHEMERAL_GUARD: &str = "ephemeral-agents.mirrord-sessions";

/// A guard policy that this release ships, with its binding of the same name.
#[derive(Clone, Debug, PartialEq)]
pub struct ShippedGuard {
    /// The name of the policy and of its binding.
    pub name: String,
    /// The policy as in the manifests.
    pub policy: Value,
    /// The binding as in the manifests.
    pub binding: Value,
}

/// The reason for which a guard policy is not in force as shipped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum GuardFault {
    /// The policy does not exist.
    PolicyMissing,
    /// The binding does not exist.
    BindingMissing,
    /// The policy or its binding is being deleted.
    Deleting,
    /// The binding does not deny requests.
    NotDenying,
    /// A field of the policy differs from the shipped one.
    PolicyDiffers(String),
    /// A field of the binding differs from the shipped one.
    BindingDiffers(String),
}

impl fmt::Display for GuardFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PolicyMissing => write!(f, "does not exist"),
            Self::BindingMissing => write!(f, "isn't bound"),
            Self::Deleting => write!(f, "is being deleted"),
            Self::NotDenying => write!(f, "is bound, but doesn't deny"),
            Self::PolicyDiffers(field) => {
                write!(f, "differs in spec.{field} from the policy of this release")
            }
            Self::BindingDiffers(field) => {
                write!(f, "has a binding that differs in spec.{field} from the one of this release")
            }
        }
    }
}

/// The versions of a guard policy and of its binding, as stored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GuardVersion {
    policy: ObjectVersion,
    binding: ObjectVersion,
}

/// A version of an object's spec. The API server writes all of these fields.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ObjectVersion {
    uid: String,
    generation: i64,
    created_at: Option<Timestamp>,
}

impl GuardVersion {
    /// Returns the time since which both specs are provably unchanged by the objects alone.
    ///
    /// Only an object that was never changed proves it, by its creation time.
    #[must_use]
    pub fn unchanged_since(&self) -> Option<Timestamp> {
        Some(self.policy.unchanged_since()?.max(self.binding.unchanged_since()?))
    }
}

impl ObjectVersion {
    fn from_object(object: &Value) -> Option<Self> {
        let text = |field: &str| object["metadata"][field].as_str();
        Some(Self {
            uid: text("uid")?.to_owned(),
            generation: object["metadata"]["generation"].as_i64()?,
            created_at: text("creationTimestamp").and_then(|time| time.parse().ok()),
        })
    }

    /// Returns the creation time of an object whose spec never changed.
    ///
    /// The API server counts changes of the spec in `generation`. The times in `managedFields` prove
    /// nothing: the removal of a field updates none of them, and clients can write them.
    fn unchanged_since(&self) -> Option<Timestamp> {
        self.created_at.filter(|_| self.generation == 1)
    }
}

/// Returns the guard policies that this release ships.
#[must_use]
pub fn shipped_guards() -> &'static [ShippedGuard] {
    static GUARDS: LazyLock<Vec<ShippedGuard>> = LazyLock::new(|| {
        let documents: Vec<Value> = MANIFESTS
            .iter()
            .filter_map(|manifest| serde_saphyr::from_multiple::<Value>(manifest).ok())
            .flatten()
            .collect();
        let named = |kind: &str, name: &str| {
            let mut objects = documents.iter();
            objects
                .find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
                .cloned()
        };
        documents
            .iter()
            .filter(|object| object["kind"] == "ValidatingAdmissionPolicy")
            .filter_map(|policy| {
                let name = policy["metadata"]["name"].as_str()?;
                Some(ShippedGuard {
                    name: name.to_owned(),
                    policy: policy.clone(),
                    binding: named("ValidatingAdmissionPolicyBinding", name)?,
                })
            })
            .collect()
    });
    &GUARDS
}

/// Compares a stored policy and its binding with those that this release ships.
///
/// # Errors
/// Returns the first reason for which the policy is not in force as shipped.
pub fn check_guard(
    name: &str,
    policy: Option<&Value>,
    binding: Option<&Value>,
) -> Result<(), GuardFault> {
    let policy = policy.ok_or(GuardFault::PolicyMissing)?;
    let binding = binding.ok_or(GuardFault::BindingMissing)?;
    let is_deleting = |object: &Value| object["metadata"].get("deletionTimestamp").is_some();
    if is_deleting(policy) || is_deleting(binding) {
        return Err(GuardFault::Deleting);
    }
    let Some(shipped) = shipped_guards().iter().find(|guard| guard.name == name) else {
        return Err(GuardFault::PolicyDiffers("*".to_owned()));
    };
    if !is_denying(binding) {
        return Err(GuardFault::NotDenying);
    }
    if let Some(field) = policy_difference(&policy["spec"], &shipped.policy["spec"]) {
        return Err(GuardFault::PolicyDiffers(field));
    }
    match binding_difference(&binding["spec"], &shipped.binding["spec"]) {
        Some(field) => Err(GuardFault::BindingDiffers(field)),
        None => Ok(()),
    }
}

/// Returns the versions of a stored policy and its binding.
///
/// Returns `None` for an object without the fields that the API server writes.
#[must_use]
pub fn guard_version(policy: &Value, binding: &Value) -> Option<GuardVersion> {
    Some(GuardVersion {
        policy: ObjectVersion::from_object(policy)?,
        binding: ObjectVersion::from_object(binding)?,
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
