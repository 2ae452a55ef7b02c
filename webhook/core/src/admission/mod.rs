//! Admission decisions, one module per resource.

pub mod agent;
pub mod delete;
pub mod policy;
pub mod session;

use json_patch::PatchOperation;

/// The decision on a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The outcome, with the changes or the denial.
    pub outcome: Outcome,
    /// Warnings for the requester. kubectl prints each after `Warning:`.
    pub warnings: Vec<String>,
}

/// The outcome of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// Allows the write with these changes (RFC 6902). No change leaves the object as it was sent.
    Allow(Vec<PatchOperation>),
    /// Denies the write for this reason.
    Deny(Denial),
}

/// The reason of a denied write, in the terms of a Kubernetes Status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// The HTTP status code.
    pub code: u16,
    /// The machine-readable reason that goes with the code.
    pub reason: &'static str,
    /// The error and its remedy, for the requester.
    pub message: String,
    /// The missing object, if the decision is `NotFound`.
    pub missing: Option<Box<Missing>>,
}

/// An object that does not exist, or that the requester may not see.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// The API group of the object.
    pub group: &'static str,
    /// The resource of the object, as the API server names it in `details.kind`.
    pub resource: &'static str,
    /// The name of the object.
    pub name: String,
}

impl Decision {
    /// Returns a decision that allows the object unchanged.
    #[must_use]
    pub fn allow() -> Self {
        Self::patch(Vec::new())
    }

    /// Returns a decision that allows the object with changes.
    #[must_use]
    pub fn patch(operations: Vec<PatchOperation>) -> Self {
        Self { outcome: Outcome::Allow(operations), warnings: Vec::new() }
    }

    /// Returns a denial of an object that is not of the expected kind.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::deny(400, "BadRequest", message)
    }

    /// Returns a denial of an object that violates a rule of its kind.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::deny(422, "Invalid", message)
    }

    /// Returns a denial of a write that this requester may not make.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::deny(403, "Forbidden", message)
    }

    /// Returns a denial that looks like the API server's own response for a missing object.
    #[must_use]
    pub fn not_found(group: &'static str, resource: &'static str, name: &str) -> Self {
        Self::from_denial(Denial {
            code: 404,
            reason: "NotFound",
            message: format!("{resource}.{group} {name:?} not found"),
            missing: Some(Box::new(Missing { group, resource, name: name.to_owned() })),
        })
    }

    fn deny(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self::from_denial(Denial { code, reason, message: message.into(), missing: None })
    }

    fn from_denial(denial: Denial) -> Self {
        Self { outcome: Outcome::Deny(denial), warnings: Vec::new() }
    }

    /// Adds a warning for the requester, if there is one.
    #[must_use]
    pub fn with_warning(self, warning: Option<String>) -> Self {
        match warning {
            Some(warning) => self.warn(warning),
            None => self,
        }
    }

    /// Adds a warning for the requester.
    #[must_use]
    pub fn warn(mut self, warning: impl Into<String>) -> Self {
        self.warnings.push(warning.into());
        self
    }
}
