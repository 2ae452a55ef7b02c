use serde_json::json;

use super::*;

/// Returns the response of a real run, without its defaults.
fn recorded_info() -> Value {
    json!({
        "session_id": "889e5c57-52ce-4b41-9943-6de463399af2", "key": "b2dc8",
        "target": "deployment/ip-visit-counter", "namespace": "shop", "context": "dev",
        "started_at": "2026-11-22T18:46:14.513517882Z", "mirrord_version": "3.250.0",
        "is_operator": false,
        "processes": [{
            "pid": 31629, "parent_pid": 31623, "process_name": "fakelayer",
            "cmdline": ["/home/dev/fakelayer", "8"],
        }],
        "port_subscriptions": [],
        "config": {
            "agent": { "annotations": { "example.com/key": "b2dc8" } },
            "key": { "Generated": "b2dc8" },
            "target": { "namespace": "shop", "path": { "container": null, "deployment": "ip-visit-counter" } },
        },
    })
}

#[test]
fn matches_monitors_to_runs() {
    let mut bound = recorded_info();
    bound["config"]["agent"]["annotations"][annotations::SESSION_NAME] = json!("abc");
    for (name, info, pid, expected) in [
        ("the process", recorded_info(), 31629, true),
        ("its parent", recorded_info(), 31623, true),
        ("another", recorded_info(), 1, false),
        ("its session", bound.clone(), 1, true),
        ("hostile", json!({"processes": {"pid": 1}}), 1, false),
        ("hostile", json!({"processes": [1, null, {"pid": "1"}]}), 1, false),
        ("nothing", Value::Null, 1, false),
    ] {
        assert_eq!(matches_run(&info, pid, "abc"), expected, "{name}");
    }
    // The process number may have been reused.
    assert!(!matches_run(&bound, 31629, "another"));
}

#[test]
fn reads_ports_filters_and_processes() {
    let mut info = recorded_info();
    info["port_subscriptions"] = json!([
        {"port": 8080, "mode": "mirror"}, {"port": 80, "mode": "steal"}, {"port": 80, "mode": "mirror"},
        {"port": 0, "mode": "steal"}, {"port": 70000, "mode": "steal"}, {"port": 81, "mode": "eat"},
        {"mode": "steal"}, 1, null,
    ]);
    let cases = [
        (json!({}), None, None),
        (
            json!({"header_filter": "baggage: .*x", "ports": [80]}),
            Some("header=baggage: .*x"),
            None,
        ),
        (json!({"path_filter": "^/a"}), Some("path=^/a"), Some("path=^/a")),
        (
            json!({"any_of": [{"header": "a"}, {"all_of": [{"path": "b"}]}], "ports": 80}),
            Some("any of(header=a, all of(path=b))"),
            None,
        ),
        (
            json!({"header_filter": "a\u{1b}\n", "path_filter": null}),
            Some("header=a??"),
            Some("header=a??"),
        ),
        (json!([1]), None, None),
        (json!({"all_of": 1, "any_of": []}), None, None),
    ];
    for (http, first, second) in cases {
        info["config"]["feature"]["network"]["incoming"]["http_filter"] = http.clone();
        let report = to_report(&info);
        let ports: Vec<_> = report
            .ports
            .iter()
            .map(|port| (port.port, port.type_, port.filter.as_deref()))
            .collect();
        assert_eq!(
            ports,
            [(80, PortType::Steal, first), (8080, PortType::Mirror, second)],
            "{http}"
        );
        assert_eq!(report.processes, ["fakelayer"]);
    }
}

#[test]
fn truncates_to_the_limits_of_a_report() {
    let ports: Vec<Value> = (1..3000).map(|port| json!({"port": port, "mode": "steal"})).collect();
    let processes: Vec<Value> =
        (0..100).map(|_| json!({"process_name": "x".repeat(500)})).collect();
    let mut deep = json!({"path": "x"});
    for _ in 0..100 {
        deep = json!({"all_of": [deep]});
    }
    deep["header"] = json!("é".repeat(5000));
    let report = to_report(&json!({
        "port_subscriptions": ports, "processes": processes,
        "config": {"feature": {"network": {"incoming": {"http_filter": deep}}}},
    }));
    assert_eq!((report.ports.len(), report.processes.len()), (1024, 64));
    assert_eq!(report.processes[0].len(), 253);
    let filter = report.ports[0].filter.as_deref().unwrap();
    assert_eq!(filter.chars().count(), 4096);
    assert_eq!(to_report(&Value::Null), SessionReportSpec::default());
}

#[tokio::test]
async fn ignores_sockets_without_a_server() {
    let home = tempfile::tempdir().unwrap();
    let mut monitor = Monitor::new(Some(home.path().to_owned()));
    assert_eq!(monitor.report(1, "a").await, None);
    let folder = home.path().join(".mirrord/sessions");
    std::fs::create_dir_all(&folder).unwrap();
    // A leftover socket: bound, and not served any more.
    drop(std::os::unix::net::UnixListener::bind(folder.join("old.sock")).unwrap());
    std::fs::write(folder.join("file.sock"), "x").unwrap();
    assert_eq!(monitor.report(1, "a").await, None);
    assert_eq!(Monitor::new(None).report(1, "a").await, None);
    // Served and never answered: their timeouts must not add up.
    let bind = |name: usize| {
        std::os::unix::net::UnixListener::bind(folder.join(format!("{name}.sock"))).unwrap()
    };
    let silent: Vec<_> = (0..MAX_SOCKETS).map(bind).collect();
    let start = std::time::Instant::now();
    assert_eq!(monitor.report(1, "a").await, None);
    assert!(start.elapsed() < REQUEST_TIMEOUT * 8, "{:?}", start.elapsed());
    drop(silent);
}
