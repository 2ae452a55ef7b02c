//! Decisions on writes, one resource a module.

pub mod agent;
pub mod delete;
pub mod policy;
pub mod session;

use json_patch::PatchOperation;

/// What becomes of a write.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Let it through, or not.
    pub outcome: Outcome,
    /// Lines for the requester to read; kubectl prints each after `Warning:`.
    pub warnings: Vec<String>,
}

/// Whether a write goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It does, with these changes (RFC 6902); none leaves the object as it was sent.
    Allow(Vec<PatchOperation>),
    /// It does not.
    Deny(Denial),
}

/// Why a write is refused, in the words of a Kubernetes Status.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Denial {
    /// HTTP status code.
    pub code: u16,
    /// The machine-readable reason that goes with the code.
    pub reason: &'static str,
    /// What is wrong and what to do.
    pub message: String,
    /// The object that isn't there, where that is why.
    pub missing: Option<Box<Missing>>,
}

/// An object that isn't there, or not for the requester.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// Its API group.
    pub group: &'static str,
    /// Its resource, as the API server names it in `details.kind`.
    pub resource: &'static str,
    /// Its name.
    pub name: String,
}

impl Decision {
    /// The object is fine as it is.
    #[must_use]
    pub fn allow() -> Self {
        Self::patch(Vec::new())
    }

    /// The object is let through with changes.
    #[must_use]
    pub fn patch(operations: Vec<PatchOperation>) -> Self {
        Self { outcome: Outcome::Allow(operations), warnings: Vec::new() }
    }

    /// What was sent can't be an object of this kind.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::deny(400, "BadRequest", message)
    }

    /// The object is of the right kind and breaks a rule.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::deny(422, "Invalid", message)
    }

    /// Not by this requester.
    #[must_use]
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::deny(403, "Forbidden", message)
    }

    /// There is no such object, as far as the requester is told: in words and shape the API
    /// server's own.
    #[must_use]
    pub fn not_found(group: &'static str, resource: &'static str, name: &str) -> Self {
        Self::denied(Denial {
            code: 404,
            reason: "NotFound",
            message: format!("{resource}.{group} {name:?} not found"),
            missing: Some(Box::new(Missing { group, resource, name: name.to_owned() })),
        })
    }

    fn deny(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self::denied(Denial { code, reason, message: message.into(), missing: None })
    }

    fn denied(denial: Denial) -> Self {
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
