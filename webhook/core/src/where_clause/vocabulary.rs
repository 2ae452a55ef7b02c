//! Fields and functions of the language.

use super::tracker::Tracker;

/// String field of a tracker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TextField {
    SessionId,
    Kind,
    State,
    Hostname,
    Login,
    Address,
    Namespace,
    Target,
    Cluster,
    KubeCluster,
    HostUser,
}

/// List field of a tracker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ListField {
    Participants,
    HostRoles,
}

/// Field of a tracker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TrackerField {
    Text(TextField),
    List(ListField),
}

impl TrackerField {
    /// All fields: those of RFD 82 in its order, then the two that this project adds.
    pub(super) const ALL: [(&'static str, Self); 13] = [
        ("session_id", Self::Text(TextField::SessionId)),
        ("kind", Self::Text(TextField::Kind)),
        ("participants", Self::List(ListField::Participants)),
        ("state", Self::Text(TextField::State)),
        ("hostname", Self::Text(TextField::Hostname)),
        ("address", Self::Text(TextField::Address)),
        ("login", Self::Text(TextField::Login)),
        ("cluster", Self::Text(TextField::Cluster)),
        ("kube_cluster", Self::Text(TextField::KubeCluster)),
        ("host_user", Self::Text(TextField::HostUser)),
        ("host_roles", Self::List(ListField::HostRoles)),
        ("namespace", Self::Text(TextField::Namespace)),
        ("target", Self::Text(TextField::Target)),
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, field)| (known == name).then_some(field))
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find_map(|(name, field)| (field == self).then_some(name))
            .unwrap_or_default()
    }
}

impl TextField {
    /// Returns the field's value, or `None` for the address, which consists of two fields.
    pub(super) fn value<'a>(self, tracker: &Tracker<'a>) -> Option<&'a str> {
        Some(match self {
            Self::SessionId => tracker.session_id,
            Self::Kind => tracker.kind,
            Self::State => tracker.state,
            Self::Hostname => tracker.hostname,
            Self::Login => tracker.login,
            Self::Namespace => tracker.namespace,
            Self::Target => tracker.target,
            Self::Cluster => tracker.cluster,
            Self::KubeCluster => tracker.kube_cluster,
            Self::HostUser => tracker.host_user,
            Self::Address => return None,
        })
    }
}

/// Function that Teleport's `lib/services/parser.go` registers for `where`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Function {
    Equals,
    Contains,
    ContainsAll,
    ContainsAny,
    Set,
    AllEndWith,
    AllEqual,
    IsSubset,
    HasPrefix,
}

impl Function {
    pub(super) const ALL: [(&'static str, Self); 9] = [
        ("equals", Self::Equals),
        ("contains", Self::Contains),
        ("contains_all", Self::ContainsAll),
        ("contains_any", Self::ContainsAny),
        ("set", Self::Set),
        ("all_end_with", Self::AllEndWith),
        ("all_equal", Self::AllEqual),
        ("is_subset", Self::IsSubset),
        ("has_prefix", Self::HasPrefix),
    ];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find_map(|(known, function)| (known == name).then_some(function))
    }

    pub(super) fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find_map(|(name, function)| (function == self).then_some(name))
            .unwrap_or_default()
    }

    pub(super) fn accepts_arity(self, arguments: usize) -> bool {
        match self {
            Self::Set => true,
            Self::IsSubset => arguments >= 1,
            _ => arguments == 2,
        }
    }

    /// Returns the signature for error messages.
    pub(super) fn signature(self) -> &'static str {
        match self {
            Self::Equals => "equals(a, b)",
            Self::Contains => "contains(list, string)",
            Self::ContainsAll => "contains_all(list, list)",
            Self::ContainsAny => "contains_any(list, list)",
            Self::Set => "set(string, …)",
            Self::AllEndWith => "all_end_with(list, suffix)",
            Self::AllEqual => "all_equal(list, string)",
            Self::IsSubset => "is_subset(list, string, …)",
            Self::HasPrefix => "has_prefix(string, prefix)",
        }
    }
}

/// Joins names for error messages.
pub(super) fn join_names<T>(names: &[(&str, T)]) -> String {
    let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    names.join(", ")
}
