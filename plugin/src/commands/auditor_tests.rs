use super::*;

fn role(version: u32) -> ClusterRole {
    ClusterRole {
        rules: Some(History::shipped().rules(version)),
        ..ClusterRole::default()
    }
}

fn report(role: Option<&ClusterRole>) -> Report {
    Report::of(&History::shipped(), role, Mode::Report)
}

#[test]
fn status_as_text() {
    let leader = Report {
        observed_at: Some("2026-01-01T00:00:00Z".into()),
        reported_by: Some("pod_1".into()),
        error: Some("for\u{1b}bidden".into()),
        ..report(Some(&role(2)))
    };
    assert_eq!(
        plain(Some(&report(Some(&role(2)))), Some(&leader)),
        "ClusterRole:  mirrord-operator-auditor\n\
         Version:      2, the latest\n\
         Modified:     no\n\
         Managed by:   nobody else\n\
         Auto-update:  yes\n\
         Reported:     2026-01-01T00:00:00Z by pod_1\n\
         Outcome:      nothing: ClusterRole mirrord-operator-auditor is version 2, the latest\n\
         Error:        for\\x1bbidden\n"
    );
    let mut modified = role(1);
    modified.rules.as_mut().unwrap()[0]
        .verbs
        .push("delete".into());
    assert_eq!(
        plain(Some(&report(Some(&modified))), None),
        "ClusterRole:  mirrord-operator-auditor\n\
         Version:      none; the latest is 2\n\
         Modified:     yes\n\
         Managed by:   nobody else\n\
         Auto-update:  yes\n\
         Reported:     <unknown>\n\
         \n\
         --- ClusterRole mirrord-operator-auditor\n\
         +++ preset version 2\n\
         -sessionpolicies.operator.metalbear.co: delete\n\
         +sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n"
    );
    let absent = plain(Some(&report(None)), None);
    assert!(absent.starts_with("ClusterRole:  mirrord-operator-auditor (there is none)\n"));
    // Who may not read the role is shown what the leader says.
    assert!(plain(None, Some(&leader)).contains("2, the latest"));
}

#[test]
fn what_a_repository_takes_over_keeps_what_is_there_and_has_what_is_missing() {
    let history = History::shipped();
    let latest = json!(history.rules(2));
    for role in [None, Some(role(1)), Some(role(2))] {
        assert_eq!(to_take_over(&history, role.as_ref())["rules"], latest);
    }
    let mut modified = role(1);
    modified.rules.as_mut().unwrap()[0].verbs = vec!["get".into(), "delete".into()];
    let taken = to_take_over(&history, Some(&modified));
    assert_eq!(
        taken["rules"],
        json!([
            { "apiGroups": ["operator.metalbear.co"], "resources": ["sessionpolicies"], "verbs": ["get", "delete"] },
            { "apiGroups": ["operator.metalbear.co"], "resources": ["sessionpolicies"], "verbs": ["list", "watch"] },
            { "apiGroups": ["visibility.operator.metalbear.co"], "resources": ["sessiontrackers"], "verbs": ["get", "list", "watch"] },
        ])
    );
    assert_eq!(taken["metadata"], json!({ "name": ROLE }));
}
