//! Selectors and filters of sessions.

use clap::Args;
use mirrord_sessions_core::apiserver::fields;

use crate::{error::Error, filter::Target};

/// The selection of sessions: selectors that the server evaluates, and filters of the plugin.
#[derive(Args, Clone, Debug, Default)]
pub struct SelectionArgs {
    /// Only sessions with matching labels, such as "a=b,c!=d,e in (f,g)"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Only sessions with matching fields, such as
    /// "spec.target=deployment/shop,status.state!=pending"
    #[arg(long = "field-selector", value_name = "SELECTOR")]
    pub fields: Option<String>,
    /// Only sessions of this user, by Kubernetes user name or by the name on their machine. (A
    /// --user before the command selects the user of the kubeconfig.)
    // The id differs from that of the connection flag, which has the same name in other commands.
    #[arg(id = "sessions_of", long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// Only sessions on this target, such as deployment/shop or shop
    #[arg(long, value_name = "TARGET")]
    pub target: Option<Target>,
    /// Only your own sessions
    #[arg(long)]
    pub mine: bool,
    /// Only sessions that take traffic of this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Include preview environments of mirrord's own operator
    #[arg(long)]
    pub previews: bool,
}

impl SelectionArgs {
    /// Returns the label selector, if it has conditions.
    #[must_use]
    pub fn labels(&self) -> Option<&str> {
        conditions(self.labels.as_deref())
    }

    /// Returns the field selector, if it has conditions.
    #[must_use]
    pub fn fields(&self) -> Option<&str> {
        conditions(self.fields.as_deref())
    }

    /// Checks the syntax of the field selector.
    ///
    /// The plugin extends the selector, and the API server's error would quote all of it.
    ///
    /// # Errors
    /// Returns the API server's error about the selector as typed.
    pub fn check(&self) -> Result<(), Error> {
        self.fields().map_or(Ok(()), fields::check_syntax).map_err(Error::setup)
    }

    /// Returns whether a given selector has no condition, for example because a variable is unset.
    #[must_use]
    pub fn has_empty(&self) -> bool {
        self.labels.is_some() && self.labels().is_none()
            || self.fields.is_some() && self.fields().is_none()
    }

    /// Returns whether the selection may hide concurrent sessions on the target of a shown session.
    #[must_use]
    pub fn hides_others(&self) -> bool {
        let names_container = self.target.as_ref().is_some_and(Target::has_container);
        let whole = Self { target: None, ..self.clone() };
        names_container || whole.is_any()
    }

    /// Returns whether anything is selected or filtered.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.labels().is_some()
            || self.fields().is_some()
            || self.user.is_some()
            || self.target.is_some()
            || self.mine
            || self.port.is_some()
    }
}

/// Returns a trimmed selector, or nothing if all of its terms are empty. The API server would take
/// an empty selector for everything.
fn conditions(selector: Option<&str>) -> Option<&str> {
    let selector = selector?.trim();
    let is_empty = selector.split(',').all(|term| term.trim().is_empty());
    (!is_empty).then_some(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_malformed_field_selectors() {
        for (fields, expected) in [
            ("x", Some("error: invalid selector: 'x'; can't understand 'x'")),
            ("a=b,x", Some("error: invalid selector: 'a=b,x'; can't understand 'x'")),
            // The escape would swallow the comma before a condition of the plugin.
            (r"a=b\", Some("error: ")),
            ("any.field=b,metadata.name!=c", None),
            (",", None),
            ("", None),
        ] {
            let select =
                SelectionArgs { fields: Some(fields.to_owned()), ..SelectionArgs::default() };
            let error = select.check().err().map(|error| error.to_string());
            match expected {
                None => assert_eq!(error, None, "{fields}"),
                Some(expected) => assert!(error.unwrap().starts_with(expected), "{fields}"),
            }
        }
    }

    #[test]
    fn detects_selectors_without_conditions() {
        for empty in ["", " ", "\t\n", ",", " , "] {
            for select in [
                SelectionArgs { labels: Some(empty.to_owned()), ..SelectionArgs::default() },
                SelectionArgs { fields: Some(empty.to_owned()), ..SelectionArgs::default() },
            ] {
                assert!(!select.is_any() && select.has_empty(), "{select:?}");
            }
        }
        let select = SelectionArgs { labels: Some(" a=b ".to_owned()), ..SelectionArgs::default() };
        assert_eq!(select.labels(), Some("a=b"));
        assert!(select.is_any() && !select.has_empty());
        let of = |target: &str| SelectionArgs {
            target: target.parse().ok(),
            ..SelectionArgs::default()
        };
        assert!(select.hides_others() && of("pod/a/container/c").hides_others());
        assert!(!of("pod/a").hides_others() && !SelectionArgs::default().hides_others());
        assert!(!SelectionArgs::default().is_any() && !SelectionArgs::default().has_empty());
    }
}
