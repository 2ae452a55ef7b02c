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
    /// Set if the API server has checked that RBAC lets the requester join here.
    may_join: bool,
    session: Session,
    tracker: Tracker,
}

/// Parses a review of the deletion of a Session.
pub(super) fn parse(request: &Request<'_>) -> Review {
    parse_with_join_right(request, false)
}

/// Parses a review of a dry run by a requester who may join sessions in the namespace.
///
/// The matchConditions of the webhook configuration check that right in the API server. A check by
/// this process would answer any client that reaches the port.
pub(super) fn parse_dry_run_by_joiner(request: &Request<'_>) -> Review {
    parse_with_join_right(request, true)
}

fn parse_with_join_right(request: &Request<'_>, may_join: bool) -> Review {
    match DeleteReview::parse(request, may_join) {
        Ok(review) => Review::Delete(Box::new(review)),
        Err(decision) => Review::Final(decision),
    }
}

impl DeleteReview {
    /// Parses a deletion. For a malformed or any other review, the error is its decision.
    fn parse(request: &Request<'_>, may_join: bool) -> Result<Self, Decision> {
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
            may_join,
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

    /// Returns the decision, and the uid of the Session if it is about to be deleted.
    pub(crate) fn decide(&self, policies: Option<&PolicySet>) -> (Decision, Option<String>) {
        let decision = self.deletion().decide(policies, self.may_join);
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
