use serde_json::json;

use super::*;

/// Returns a shipped guard as an API server stores it.
fn stored(name: &str) -> (Value, Value) {
    let shipped = shipped_guards().iter().find(|guard| guard.name == name).unwrap();
    let (mut policy, mut binding) = (shipped.policy.clone(), shipped.binding.clone());
    for (object, uid) in [(&mut policy, "p"), (&mut binding, "b")] {
        let metadata = object["metadata"].as_object_mut().unwrap();
        metadata.insert("uid".into(), json!(uid));
        metadata.insert("generation".into(), json!(1));
        metadata.insert("creationTimestamp".into(), json!("1970-01-01T00:01:40Z"));
    }
    policy["spec"]["matchConstraints"]["matchPolicy"] = json!("Equivalent");
    policy["spec"]["matchConstraints"]["namespaceSelector"] = json!({});
    policy["spec"]["matchConstraints"]["objectSelector"] = json!({});
    for rule in policy["spec"]["matchConstraints"]["resourceRules"].as_array_mut().unwrap() {
        rule["scope"] = json!("*");
    }
    policy["status"] = json!({ "observedGeneration": 1, "typeChecking": {} });
    (policy, binding)
}

fn time(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

#[test]
fn ships_all_guards_of_the_manifests() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../manifests/base");
    let mut expected = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        for object in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            if object["kind"] == "ValidatingAdmissionPolicy" {
                expected.push(object["metadata"]["name"].as_str().unwrap().to_owned());
            }
        }
    }
    let mut names: Vec<String> = shipped_guards().iter().map(|guard| guard.name.clone()).collect();
    names.sort();
    expected.sort();
    assert_eq!(names, expected);
    for name in [JOB_GUARD, EPHEMERAL_GUARD] {
        assert!(names.iter().any(|shipped| shipped == name), "{name}");
    }
}

#[test]
fn accepts_what_an_api_server_stores() {
    for guard in shipped_guards() {
        let name = &guard.name;
        let (policy, binding) = stored(name);
        assert_eq!(check_guard(name, Some(&policy), Some(&binding)), Ok(()), "{name}");
        assert_eq!(check_guard(name, Some(&guard.policy), Some(&guard.binding)), Ok(()), "{name}");
    }
}

/// A change of a stored policy (first) or binding (second).
type Change = fn(&mut Value, &mut Value);

#[test]
fn finds_every_weakening() {
    use GuardFault::{BindingDiffers, Deleting, NotDenying, PolicyDiffers};
    let policy = |field: &str| Err(PolicyDiffers(field.to_owned()));
    let binding = |field: &str| Err(BindingDiffers(field.to_owned()));
    let cases: [(&str, Change, Result<(), GuardFault>); 18] = [
        ("audits too", |_, b| b["spec"]["validationActions"] = json!(["Audit", "Deny"]), Ok(())),
        ("empty matchResources", |_, b| b["spec"]["matchResources"] = json!({}), Ok(())),
        ("labels", |p, _| p["metadata"]["labels"] = json!({ "team": "a" }), Ok(())),
        (
            "only audits and warns",
            |_, b| b["spec"]["validationActions"] = json!(["Audit", "Warn"]),
            Err(NotDenying),
        ),
        ("no actions", |_, b| b["spec"]["validationActions"] = json!(null), Err(NotDenying)),
        (
            "excludes a namespace",
            |_, b| {
                b["spec"]["matchResources"]["namespaceSelector"]["matchExpressions"] = json!([{ "key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["shop"] }]);
            },
            binding("matchResources"),
        ),
        (
            "excludes Jobs",
            |_, b| {
                b["spec"]["matchResources"]["excludeResourceRules"] = json!([{
                    "apiGroups": ["batch"], "apiVersions": ["*"], "operations": ["*"], "resources": ["jobs"],
                }]);
            },
            binding("matchResources"),
        ),
        (
            "matches exactly",
            |_, b| b["spec"]["matchResources"] = json!({ "matchPolicy": "Exact" }),
            binding("matchResources"),
        ),
        ("parameter", |_, b| b["spec"]["paramRef"] = json!({ "name": "a" }), binding("paramRef")),
        ("another policy", |_, b| b["spec"]["policyName"] = json!("a"), binding("policyName")),
        (
            "ignores failures",
            |p, _| p["spec"]["failurePolicy"] = json!("Ignore"),
            policy("failurePolicy"),
        ),
        (
            "selects objects",
            |p, _| {
                p["spec"]["matchConstraints"]["objectSelector"] =
                    json!({ "matchLabels": { "a": "b" } });
            },
            policy("matchConstraints"),
        ),
        (
            "only creates",
            |p, _| {
                p["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["CREATE"]);
            },
            policy("matchConstraints"),
        ),
        (
            "excludes a user",
            |p, _| {
                p["spec"]["matchConditions"] =
                    json!([{ "name": "a", "expression": "request.userInfo.username != 'a'" }]);
            },
            policy("matchConditions"),
        ),
        (
            "another variable",
            |p, _| p["spec"]["variables"][0]["expression"] = json!("true"),
            policy("variables"),
        ),
        (
            "a removed validation",
            |p, _| p["spec"]["validations"].as_array_mut().unwrap().truncate(1),
            policy("validations"),
        ),
        ("an unknown field", |p, _| p["spec"]["exemptions"] = json!(["a"]), policy("exemptions")),
        (
            "being deleted",
            |_, b| b["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:01:40Z"),
            Err(Deleting),
        ),
    ];
    for (name, change, expected) in cases {
        let (mut policy, mut binding) = stored(JOB_GUARD);
        change(&mut policy, &mut binding);
        assert_eq!(check_guard(JOB_GUARD, Some(&policy), Some(&binding)), expected, "{name}");
    }
    let (policy, binding) = stored(JOB_GUARD);
    let missing = check_guard(JOB_GUARD, None, Some(&binding));
    assert_eq!(missing, Err(GuardFault::PolicyMissing));
    let missing = check_guard(JOB_GUARD, Some(&policy), None);
    assert_eq!(missing, Err(GuardFault::BindingMissing));
    let other = check_guard(EPHEMERAL_GUARD, Some(&policy), Some(&binding));
    assert!(matches!(other, Err(GuardFault::PolicyDiffers(_))), "{other:?}");
}

#[test]
fn counts_age_from_the_last_change_of_a_spec() {
    use GuardState::{Altered, InForceSince, Missing};
    let mut history = GuardHistory::default();
    let (mut policy, mut binding) = stored(JOB_GUARD);
    let mut observe = |policy: Option<&Value>, binding: Option<&Value>, second| {
        history.observe(JOB_GUARD, policy, binding, time(second))
    };
    let created = observe(Some(&policy), Some(&binding), 500);
    assert_eq!(created, InForceSince(time(100)), "never changed");

    let denying = binding["spec"].clone();
    binding["spec"]["validationActions"] = json!(["Audit"]);
    binding["metadata"]["generation"] = json!(2);
    assert_eq!(observe(Some(&policy), Some(&binding), 600), Altered);
    binding["spec"] = denying;
    binding["metadata"]["generation"] = json!(3);
    let restored = observe(Some(&policy), Some(&binding), 700);
    assert_eq!(restored, InForceSince(time(700)), "restored");
    let later = observe(Some(&policy), Some(&binding), 800);
    assert_eq!(later, InForceSince(time(700)), "unchanged since the first observation");

    // Weakened and restored between two observations.
    policy["metadata"]["generation"] = json!(3);
    let unobserved = observe(Some(&policy), Some(&binding), 900);
    assert_eq!(unobserved, InForceSince(time(900)), "changed in between");

    assert_eq!(observe(None, Some(&binding), 1000), Missing);
    assert_eq!(observe(Some(&policy), None, 1000), Missing);
    policy["metadata"]["uid"] = json!("q");
    let recreated = observe(Some(&policy), Some(&binding), 1100);
    assert_eq!(recreated, InForceSince(time(1100)), "recreated and changed");

    // The client's times do not count.
    policy["metadata"]["managedFields"] = json!([{ "time": "1970-01-01T00:00:01Z" }]);
    let unchanged = observe(Some(&policy), Some(&binding), 1200);
    assert_eq!(unchanged, InForceSince(time(1100)));
    policy["metadata"].as_object_mut().unwrap().remove("generation");
    assert_eq!(observe(Some(&policy), Some(&binding), 1300), Altered, "no generation");
}
