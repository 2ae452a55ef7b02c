//! Equal output, messages and exit codes of kubectl and the plugin for the same arguments.

use serde_json::json;

use super::Bin;
use crate::support::{create_namespace, session_manifest, shared};

/// Arguments of kubectl and the plugin, and the common beginning of their error messages.
struct Case {
    theirs: &'static str,
    ours: &'static str,
    message: &'static str,
}

const fn case(theirs: &'static str, ours: &'static str, message: &'static str) -> Case {
    Case { theirs, ours, message }
}

const GET: &str = "get sessiontrackers";
const DELETE: &str = "delete sessions";

/// Cases for the existing sessions `a` and `b`, none of which deletes a session.
const CASES: &[Case] = &[
    case(
        GET,
        "list -o name=x",
        "error: unable to match a printer suitable for the output format \"name=x\", allowed formats are: ",
    ),
    case(
        GET,
        "list -o {.a}",
        "error: unable to match a printer suitable for the output format \"{.a}\", allowed formats are: ",
    ),
    case(GET, "list -o jsonpath={.kind}/{.items[*].metadata.name}", ""),
    case(GET, "list a -o jsonpath={.metadata.name}", ""),
    case(GET, "list a b -o jsonpath={.kind}/{.items[*].metadata.name}", ""),
    case(
        GET,
        "list a nope -o jsonpath={.items[*].metadata.name}",
        "Error from server (NotFound): ",
    ),
    case(GET, "list nope", "Error from server (NotFound): "),
    case(GET, "list nope --ignore-not-found", ""),
    case(GET, "list a nope --ignore-not-found -o jsonpath={.items[*].metadata.name}", ""),
    case(GET, "list -o jsonpath={.a", "error: error parsing jsonpath {.a, unclosed action"),
    case(GET, "list -o jsonpath=", "error: template format specified but no template given"),
    case(
        GET,
        "list a -o jsonpath={.nope} --allow-missing-template-keys=false",
        "error: error executing jsonpath \"{.nope}\": Error executing template: nope is not found",
    ),
    case(GET, "list -o custom-columns=N:.metadata.name,X:.nope", ""),
    case(GET, "list -o custom-columns=N:.metadata.name --no-headers=true", ""),
    case(GET, "list -o custom-columns=N:.metadata.name --sort-by=.metadata.name", ""),
    case(
        GET,
        "list -o custom-columns=N",
        "error: unexpected custom-columns spec: N, expected <header>:<json-path-expr>",
    ),
    case(GET, "list -o jsonpath={.items[*].metadata.name} --sort-by={.metadata.name}", ""),
    case(GET, "list -o jsonpath={.items[*].metadata.name} -l example=a", ""),
    case(GET, "list -o jsonpath={.items[*].metadata.name} --chunk-size=1", ""),
    case(GET, "list a -l example=a", "error: name cannot be provided when a selector is specified"),
    case(
        GET,
        "list a b --watch",
        "error: you may only watch a single resource or type of resource at a time",
    ),
    case(
        GET,
        "list --output-watch-events",
        "error: --output-watch-events option can only be used with --watch or --watch-only",
    ),
    case(
        GET,
        "list --watch=x",
        "error: invalid argument \"x\" for \"-w, --watch\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
    ),
    case(
        GET,
        "list --chunk-size=x",
        "error: invalid argument \"x\" for \"--chunk-size\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    ),
    case(GET, "list -L", "error: flag needs an argument: 'L' in -L"),
    case(GET, "list --nope", "error: unknown flag: --nope"),
    case(
        GET,
        "list -o -w",
        "error: unable to match a printer suitable for the output format \"-w\", allowed formats are: ",
    ),
    case(
        GET,
        "list -v=99999999999",
        "error: invalid argument \"99999999999\" for \"-v, --v\" flag: strconv.ParseInt: parsing \"99999999999\": value out of range",
    ),
    case(
        GET,
        "list -l example=nope -o jsonpath={.items[*].metadata.name} --allow-missing-template-keys=false",
        "",
    ),
    case(GET, "list --field-selector=metadata.name=a -o jsonpath={.items[*].metadata.name}", ""),
    // kubectl regards the end of the time limit as success.
    case(GET, "list --watch --request-timeout=1s -o custom-columns=N:.metadata.name", ""),
    case(GET, "list a --watch-only --request-timeout=1s -o name", ""),
    case(DELETE, "delete nope", "Error from server (NotFound): "),
    case(DELETE, "delete nope --ignore-not-found", ""),
    case(DELETE, "delete a --dry-run=server", ""),
    case(DELETE, "delete a --dry-run=client", ""),
    case(DELETE, "delete a b --dry-run=client -o name", ""),
    case(
        DELETE,
        "delete a --dry-run=client --cascade=true",
        "warning: --cascade=true is deprecated (boolean value) and can be replaced with --cascade=background.\n",
    ),
    case(DELETE, "delete --cascade a b --dry-run=server", ""),
    case(
        DELETE,
        "delete a --timeout=5",
        "error: invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"",
    ),
    case(
        DELETE,
        "delete a --timeout=1day",
        "error: invalid argument \"1day\" for \"--timeout\" flag: time: unknown unit \"day\" in duration \"1day\"",
    ),
    case(DELETE, "delete a --dry-run=client --timeout=-1s", ""),
    case(
        GET,
        "list -o json --show-labels",
        "error: --show-labels option cannot be used with json printer",
    ),
    case(DELETE, "delete -l example=a --dry-run=server --now", ""),
    case(
        DELETE,
        "delete a --dry-run=server --force --grace-period=0",
        "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. The resource may continue to run on the cluster indefinitely.\n",
    ),
    case(
        DELETE,
        "delete a --dry-run=nope",
        "error: Invalid dry-run value (nope). Must be \"none\", \"server\", or \"client\".",
    ),
    case(
        DELETE,
        "delete a --cascade=nope",
        "error: invalid cascade value (nope). Must be \"background\", \"foreground\", or \"orphan\"",
    ),
    case(
        DELETE,
        "delete a --now --grace-period=4",
        "error: --now and --grace-period cannot be specified together",
    ),
    case(
        DELETE,
        "delete a --force --grace-period=4",
        "error: --force and --grace-period greater than 0 cannot be specified together",
    ),
    case(
        DELETE,
        "delete a -o json",
        "error: unexpected -o output mode: json. We only support '-o name'",
    ),
    case(DELETE, "delete a --all", "error: name cannot be provided when a selector is specified"),
    case(
        DELETE,
        "delete --all -l example=a",
        "error: setting 'all' parameter but found a non empty selector.",
    ),
    case(
        DELETE,
        "delete a --timeout=x",
        "error: invalid argument \"x\" for \"--timeout\" flag: time: invalid duration \"x\"",
    ),
    case(
        DELETE,
        "delete a --grace-period=x",
        "error: invalid argument \"x\" for \"--grace-period\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
    ),
    case(DELETE, "delete", "error: resource(s) were provided, but no name was specified"),
];

#[tokio::test]
async fn same_arguments_produce_same_output_and_errors() {
    let namespace = create_namespace(shared(), "alike").await;
    let admin = namespace.user("alike-admin", &["system:masters"]);
    for name in ["a", "b"] {
        let mut manifest = session_manifest(name, json!({ "target": "targetless" }));
        manifest["metadata"]["labels"] = json!({ "example": name });
        let created = admin.kubectl(&["create", "-f", "-"], &manifest.to_string()).await;
        assert!(created.status.success(), "{created:?}");
    }
    let bin = Bin::new();
    let namespace_flag = ["-n", namespace.name.as_str()];
    // Wait for the trackers of the new sessions.
    let start = std::time::Instant::now();
    while bin
        .kubectl(
            admin.kubeconfig(),
            &[&["get", "sessiontrackers", "-o", "name"], &namespace_flag[..]].concat(),
        )
        .await
        .stdout
        .lines()
        .count()
        < 2
    {
        assert!(start.elapsed().as_secs() < 60, "timed out waiting for the trackers");
    }
    for Case { theirs, ours, message } in CASES {
        let mut words: Vec<&str> = ours.split(' ').skip(1).collect();
        let mut line: Vec<&str> = theirs.split(' ').collect();
        line.extend(&words);
        words = ["mirrord-sessions"].into_iter().chain(ours.split(' ')).collect();
        // The namespace precedes the other flags, because the last one may lack its value.
        line.splice(0..0, namespace_flag);
        words.splice(1..1, namespace_flag);
        let theirs = bin.kubectl(admin.kubeconfig(), &line).await;
        let ours = bin.kubectl(admin.kubeconfig(), &words).await;
        let both = format!("{words:?}\nkubectl: {theirs:?}\nplugin: {ours:?}");
        assert_eq!(theirs.status.code(), ours.status.code(), "{both}");
        // kubectl prints the whole object before a template error, and the first object before it
        // refuses to watch several.
        if !message.contains("executing") && !message.contains("may only watch") {
            assert_eq!(theirs.stdout, ours.stdout, "{both}");
        }
        for stderr in [&theirs.stderr, &ours.stderr] {
            if message.is_empty() {
                assert_eq!(stderr, "", "{both}");
            } else {
                assert!(stderr.starts_with(message), "{both}");
            }
        }
    }
    assert_eq!(namespace.sessions().await.len(), 2);
}
