use super::*;

fn role(version: u32) -> ClusterRole {
    ClusterRole { rules: Some(History::shipped().rules(version)), ..ClusterRole::default() }
}

fn report(role: Option<&ClusterRole>) -> Report {
    live_report(role, None)
}

#[test]
fn renders_status_as_text() {
    let leader = Report {
        observed_at: Some("2026-01-01T00:00:00Z".into()),
        reported_by: Some("pod_1".into()),
        error: Some("for\u{1b}bidden".into()),
        ..report(Some(&role(2)))
    };
    assert_eq!(
        render_text(Some(&report(Some(&role(2)))), Some(&leader)),
        "ClusterRole:  mirrord-operator-auditor\n\
         Version:      2, the latest\n\
         Modified:     no\n\
         Managed by:   no other manager\n\
         Auto-update:  yes\n\
         Reported:     2026-01-01T00:00:00Z by pod_1\n\
         Outcome:      nothing: ClusterRole mirrord-operator-auditor is version 2, the latest\n\
         Error:        for\\x1bbidden\n"
    );
    let mut modified = role(1);
    modified.rules.as_mut().unwrap()[0].verbs.push("delete".into());
    assert_eq!(
        render_text(Some(&report(Some(&modified))), None),
        "ClusterRole:  mirrord-operator-auditor\n\
         Version:      none; the latest is 2\n\
         Modified:     yes\n\
         Managed by:   no other manager\n\
         Auto-update:  no: it was modified and matches no release\n\
         Reported:     <unknown>\n\
         \n\
         --- ClusterRole mirrord-operator-auditor\n\
         +++ preset version 2\n\
         -sessionpolicies.operator.metalbear.co: delete\n\
         +sessiontrackers.visibility.operator.metalbear.co: get, list, watch\n"
    );
    let absent = render_text(Some(&report(None)), None);
    assert!(absent.starts_with("ClusterRole:  mirrord-operator-auditor (it does not exist)\n"));
    // A requester who may not read the role gets the report of the leader.
    assert!(render_text(None, Some(&leader)).contains("2, the latest"));
}

#[test]
fn reports_unknown_values_as_unknown() {
    let leader = Report {
        error: Some("ClusterRole mirrord-operator-auditor can't be read: forbidden".into()),
        ..Report::unknown(&History::shipped())
    };
    assert_eq!(
        render_text(None, Some(&leader)),
        "ClusterRole:  mirrord-operator-auditor (it could not be read)\n\
         Version:      <unknown>; the latest is 2\n\
         Modified:     <unknown>\n\
         Managed by:   <unknown>\n\
         Auto-update:  <unknown>\n\
         Reported:     <unknown> by <unknown>\n\
         Outcome:      unknown: ClusterRole mirrord-operator-auditor could not be read\n\
         Error:        ClusterRole mirrord-operator-auditor can't be read: forbidden\n"
    );
    let mut huge = role(1);
    let many: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let rule = &mut huge.rules.as_mut().unwrap()[0];
    (rule.api_groups, rule.resources) = (Some(many.clone()), Some(many));
    let text = render_text(Some(&report(Some(&huge))), None);
    for line in [
        "Version:      <unknown>; the latest is 2",
        "Modified:     <unknown>",
        "Managed by:   no other manager",
        "Difference:   too large to compare",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn reports_a_role_of_a_later_release() {
    let newer = Report { modified: Some(false), version: None, ..report(Some(&role(1))) };
    let text = render_text(Some(&newer), None);
    let version = "Version:      later than 2, the latest known to this plugin";
    assert!(text.lines().any(|line| line == version), "{text}");
}

#[test]
fn leader_decides_whether_its_flags_forbid_upgrades() {
    let history = History::shipped();
    let of_leader = |version, mode| Report::for_role(&history, Some(&role(version)), mode);
    for (case, leader, expected) in [
        ("no report", None, "yes"),
        ("managed", Some(of_leader(2, Mode::Manage)), "yes"),
        (
            "report only",
            Some(of_leader(2, Mode::Report)),
            "no: --auditor-role=report writes nothing",
        ),
        ("about an earlier version", Some(of_leader(1, Mode::Report)), "yes"),
    ] {
        let report = live_report(Some(&role(2)), leader.as_ref());
        let text = render_text(Some(&report), leader.as_ref());
        let line = format!("Auto-update:  {expected}");
        assert!(text.lines().any(|found| found == line), "{case}: {text}");
    }
}
