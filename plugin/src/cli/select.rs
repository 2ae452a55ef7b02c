//! Which sessions, where they aren't named.

use clap::Args;

use crate::filter::Target;

/// Which sessions: selectors that the server checks, and filters of the plugin's own.
#[derive(Args, Clone, Debug, Default)]
pub struct Select {
    /// Only sessions whose labels fit, as "a=b,c!=d,e in (f,g)"
    #[arg(short = 'l', long = "selector", value_name = "SELECTOR")]
    pub labels: Option<String>,
    /// Only sessions whose fields fit, as "spec.target=deployment/shop,status.state!=pending"
    #[arg(long = "field-selector", value_name = "SELECTOR")]
    pub fields: Option<String>,
    /// Only sessions of this user, by Kubernetes user name or by the name on their machine. (The
    /// user of the kubeconfig is chosen by a --user before the command.)
    // Another id than that of the connection's flag, which goes by the same name elsewhere.
    #[arg(id = "sessions_of", long = "user", value_name = "NAME")]
    pub user: Option<String>,
    /// Only sessions on this target, as deployment/shop or shop
    #[arg(long, value_name = "TARGET")]
    pub target: Option<Target>,
    /// Only your own sessions
    #[arg(long)]
    pub mine: bool,
    /// Only sessions that take traffic of this port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Preview environments of mirrord's own operator too
    #[arg(long)]
    pub previews: bool,
}

impl Select {
    /// The conditions on labels, if there are any.
    #[must_use]
    pub fn labels(&self) -> Option<&str> {
        conditions(self.labels.as_deref())
    }

    /// The conditions on fields, if there are any.
    #[must_use]
    pub fn fields(&self) -> Option<&str> {
        conditions(self.fields.as_deref())
    }

    /// Whether a selector is given that has no condition, as of a variable that isn't set.
    #[must_use]
    pub fn has_empty(&self) -> bool {
        self.labels.is_some() && self.labels().is_none()
            || self.fields.is_some() && self.fields().is_none()
    }

    /// Whether it may leave out others who are on the target of a session that it shows.
    #[must_use]
    pub fn hides_others(&self) -> bool {
        let names_container = self.target.as_ref().is_some_and(Target::has_container);
        let whole = Self { target: None, ..self.clone() };
        names_container || whole.is_any()
    }

    /// Whether it leaves out anything.
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

/// A selector without the blanks around it; nothing if all of its terms are empty: the API server
/// takes that for everything.
fn conditions(selector: Option<&str>) -> Option<&str> {
    let selector = selector?.trim();
    let is_empty = selector.split(',').all(|term| term.trim().is_empty());
    (!is_empty).then_some(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_without_conditions_select_nothing() {
        for empty in ["", " ", "\t\n", ",", " , "] {
            for select in [
                Select { labels: Some(empty.to_owned()), ..Select::default() },
                Select { fields: Some(empty.to_owned()), ..Select::default() },
            ] {
                assert!(!select.is_any() && select.has_empty(), "{select:?}");
            }
        }
        let select = Select { labels: Some(" a=b ".to_owned()), ..Select::default() };
        assert_eq!(select.labels(), Some("a=b"));
        assert!(select.is_any() && !select.has_empty());
        let of = |target: &str| Select { target: target.parse().ok(), ..Select::default() };
        assert!(select.hides_others() && of("pod/a/container/c").hides_others());
        assert!(!of("pod/a").hides_others() && !Select::default().hides_others());
        assert!(!Select::default().is_any() && !Select::default().has_empty());
    }
}
