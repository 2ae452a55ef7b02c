//! Reviews of the deletion of Sessions.
//!
//! Policies decide. If the response of the API server would show the key of the Session, the right
//! to join decides too.

use mirrord_sessions_core::{
    admission::{Decision, Outcome, delete::Deletion},
    controller::deletion_warning,
    identity::Requester,
    policy::PolicySet,
    sessions::{Tracker, TrackerKey},
    text::printable,
};
use mirrord_sessions_crds::Session;

use super::{
    Review, objects,
    review::{Request, expect_resource, object},
};

/// The review of the deletion of a stored Session.
#[derive(Debug)]
pub(crate) struct DeleteReview {
    requester: Requester,
    dry_run: bool,
    /// Part of a delete-collection, whose requests carry no name.
    in_collection: bool,
    session: Session,
    tracker: Tracker,
}

/// Parses a review of the deletion of a Session.
pub(super) fn parse(request: &Request<'_>) -> Review {
    match DeleteReview::parse(request) {
        Ok(review) => Review::Delete(Box::new(review)),
        Err(decision) => Review::Final(decision),
    }
}

impl DeleteReview {
    /// Parses a deletion. For a malformed or any other review, the error is its decision.
    fn parse(request: &Request<'_>) -> Result<Self, Decision> {
        expect_resource(request, "sessions", "decides on deletions of")?;
        // An error in the webhook configuration must not block anything else.
        if request.operation != "DELETE" || !request.sub_resource.is_empty() {
            return Err(Decision::allow());
        }
        // Reviews of a delete-collection name no object, so use the name of the stored object.
        let mut session =
            object(request, "oldObject", request.old_object, objects::stored_session)?;
        // A tracker requires a version. This one is never shown.
        session.metadata.resource_version = Some("0".into());
        let tracker = Tracker::new(&session).map_err(|error| {
            Decision::bad_request(printable(&format!("oldObject can't be read: {error}"), 512))
        })?;
        Ok(Self {
            requester: request.requester(),
            dry_run: request.dry_run.unwrap_or_default(),
            in_collection: request.name.is_empty(),
            session,
            tracker,
        })
    }

    /// Returns the key of the Session.
    pub(crate) fn key(&self) -> &TrackerKey {
        &self.tracker.key
    }

    /// Returns the requester of the deletion.
    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// Returns the namespace in which the decision depends on the requester's right to join.
    pub(crate) fn needs_join_right(&self, policies: Option<&PolicySet>) -> Option<&str> {
        let shows = self.deletion().shows_secrets(policies?);
        shows.then_some(&*self.tracker.key.namespace)
    }

    /// Returns the decision, and the uid of the Session if it is about to be deleted.
    pub(crate) fn decide(
        &self,
        policies: Option<&PolicySet>,
        may_join: bool,
    ) -> (Decision, Option<String>) {
        let decision = self.deletion().decide(policies, may_join);
        if !matches!(decision.outcome, Outcome::Allow(_)) {
            return (decision, None);
        }
        let warning = deletion_warning(&self.session).filter(|_| !self.requester.is_controller());
        let uid = self.session.metadata.uid.clone().filter(|_| !self.dry_run);
        (decision.with_warning(warning), uid)
    }

    fn deletion(&self) -> Deletion<'_> {
        Deletion {
            tracker: &self.tracker,
            requester: &self.requester,
            dry_run: self.dry_run,
            in_collection: self.in_collection,
        }
    }
}

#[cfg(test)]
#[path = "delete_tests.rs"]
mod tests;
