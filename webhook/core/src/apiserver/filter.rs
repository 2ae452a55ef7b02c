//! Namespace and selectors of a request, applied together with the requester's policies.

use super::{fields::FieldSelector, labels::LabelSelector, options::ListOptions};
use crate::policy::{Verb, Viewer};
use crate::sessions::tracker::Tracker;

/// Namespace and selectors of a list or watch.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The namespace; `None` for all namespaces.
    pub namespace: Option<String>,
    /// The label selector of the request.
    pub labels: LabelSelector,
    /// The field selector of the request.
    pub fields: FieldSelector,
}

impl Filter {
    /// Creates the filter of a request.
    #[must_use]
    pub fn new(namespace: Option<&str>, options: &ListOptions) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        }
    }

    /// Returns whether the secrets of a visible tracker are revealed.
    ///
    /// Returns `None` if the filter does not match, or if policies hide the tracker.
    #[must_use]
    pub fn visibility(&self, tracker: &Tracker, viewer: &Viewer) -> Option<bool> {
        let is_other = |namespace: &String| **namespace != *tracker.key.namespace;
        if self.namespace.as_ref().is_some_and(is_other) || !self.labels.matches(&tracker.labels) {
            return None;
        }
        let view = tracker.view();
        if !viewer.may(Verb::List, &view) {
            return None;
        }
        let revealed = !tracker.has_secrets() || viewer.reveals(&view);
        self.fields.matches(tracker, revealed).then_some(revealed)
    }

    /// Returns whether both selectors are empty.
    #[must_use]
    pub fn selects_all(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}
