//! What of the index a request is about, and what of that the requester sees.

use super::{fields::FieldSelector, labels::LabelSelector, options::ListOptions};
use crate::policy::{Verb, Viewer};
use crate::sessions::tracker::Tracker;

/// Namespace and selectors of a list or watch.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Conditions on labels.
    pub labels: LabelSelector,
    /// Conditions on fields.
    pub fields: FieldSelector,
}

impl Filter {
    /// The filter of a request.
    #[must_use]
    pub fn new(namespace: Option<&str>, options: &ListOptions) -> Self {
        Self {
            namespace: namespace.map(str::to_owned),
            labels: options.labels.clone(),
            fields: options.fields.clone(),
        }
    }

    /// Whether the requester sees this tracker in the list; and if so, whether with its secrets.
    #[must_use]
    pub fn sees(&self, tracker: &Tracker, viewer: &Viewer) -> Option<bool> {
        let elsewhere = |namespace: &String| **namespace != *tracker.key.namespace;
        if self.namespace.as_ref().is_some_and(elsewhere) || !self.labels.matches(&tracker.labels) {
            return None;
        }
        let view = tracker.view();
        if !viewer.may(Verb::List, &view) {
            return None;
        }
        let revealed = !tracker.has_secrets() || viewer.reveals(&view);
        self.fields.matches(tracker, revealed).then_some(revealed)
    }

    /// Whether nothing is selected by but the namespace.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }
}
