//! The review of a Session's deletion: parsed, then decided by the policies, and by what RBAC says
//! of joining where that matters.

use mirrord_sessions_core::{
    admission::{Decision, Outcome, delete::Deletion},
    controller::deletion_warning,
    identity::Requester,
    policy::PolicySet,
    sessions::Tracker,
    text::printable,
};
use mirrord_sessions_crds::Session;

use super::{Answer, Error, Request, expect, objects, part, written};

/// A review about the deletion of a Session.
#[derive(Debug)]
pub(crate) struct Stop {
    uid: String,
    requester: Requester,
    dry_run: bool,
    one_of_many: bool,
    /// The Session; or the decision on a review that asks for none.
    asked: Result<Box<Asked>, Decision>,
}

#[derive(Debug)]
struct Asked {
    session: Session,
    tracker: Tracker,
}

impl Stop {
    /// Parses the review.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Error> {
        let request = Request::parse(body)
            .map_err(|error| Error::Invalid(printable(&error.to_string(), 512)))?;
        let asked = asked(&request);
        Ok(Self {
            requester: request.requester(),
            dry_run: request.dry_run.unwrap_or_default(),
            one_of_many: request.name.is_empty(),
            uid: request.uid,
            asked,
        })
    }

    /// Who asks.
    pub(crate) fn requester(&self) -> &Requester {
        &self.requester
    }

    /// The namespace in which it matters whether the requester may join.
    pub(crate) fn asks_joining(&self, policies: Option<&PolicySet>) -> Option<&str> {
        let deletion = self.deletion()?;
        let shows = deletion.shows_secrets(policies?);
        shows.then_some(&*deletion.tracker.key.namespace)
    }

    fn deletion(&self) -> Option<Deletion<'_>> {
        let asked = self.asked.as_ref().ok()?;
        Some(Deletion {
            tracker: &asked.tracker,
            requester: &self.requester,
            dry_run: self.dry_run,
            one_of_many: self.one_of_many,
        })
    }

    /// Answers it; and tells the Session that is about to be deleted, if so.
    pub(crate) fn answer(
        self,
        policies: Option<&PolicySet>,
        may_join: bool,
    ) -> Result<(Answer, Option<Session>), Error> {
        let decision = match self.deletion() {
            Some(deletion) => deletion.decide(policies, may_join),
            None => match &self.asked {
                Err(decision) => decision.clone(),
                Ok(_) => Decision::allow(),
            },
        };
        let goes = matches!(decision.outcome, Outcome::Allow(_)) && !self.dry_run;
        let allowed = matches!(decision.outcome, Outcome::Allow(_));
        let session = self.asked.ok().filter(|_| allowed).map(|asked| asked.session);
        let warning = session.as_ref().and_then(deletion_warning);
        let decision = match warning.filter(|_| !self.requester.is_controller()) {
            Some(warning) => decision.warn(warning),
            None => decision,
        };
        let session = session.filter(|_| goes);
        Ok((written(self.uid, decision)?, session))
    }
}

fn asked(request: &Request<'_>) -> Result<Box<Asked>, Decision> {
    expect(request, "sessions", "decides on deletions of")?;
    // A mistake in the configuration must not block anything else.
    if request.operation != "DELETE" || !request.sub_resource.is_empty() {
        return Err(Decision::allow());
    }
    // Deletes of many name nobody in the request: what is stored does.
    let mut session = part(request, "oldObject", request.old_object, objects::stored_session)?;
    // It isn't shown: any version will do.
    session.metadata.resource_version = Some("0".into());
    let tracker = Tracker::new(&session).map_err(|error| {
        Decision::bad_request(printable(&format!("oldObject can't be read: {error}"), 512))
    })?;
    Ok(Box::new(Asked { session, tracker }))
}

#[cfg(test)]
#[path = "delete_tests.rs"]
mod tests;
