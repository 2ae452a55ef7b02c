//! Authentication of direct requests to the aggregated API, which bypass the aggregator.

use base64::{Engine, engine::general_purpose::STANDARD};

use mirrord_sessions_tests::cluster::Cluster;
use serde_json::json;

use crate::support::{
    admin_json, create_namespace, eventually, session_manifest, shared, trackers_path,
};

#[tokio::test]
async fn authenticates_only_aggregator() {
    let cluster = shared();
    let base = format!("https://localhost:{}", cluster.webhook.port());
    let admin = cluster.plane.admin().config().auth_infos[0].auth_info.clone();
    let mut front_proxy = kube::config::AuthInfo::default();
    let pki = cluster.plane.folder().join("pki");
    let file = |name: &str| STANDARD.encode(std::fs::read(pki.join(name)).unwrap());
    front_proxy.client_certificate_data = Some(file("front-proxy.crt"));
    front_proxy.client_key_data = Some(file("front-proxy.key").into());
    let forged: &[(&str, &str)] =
        &[("x-remote-user", "system:admin"), ("x-remote-group", "system:masters")];
    for (client_name, identity, headers, expected) in [
        ("no certificate", None, &[][..], 401),
        ("no certificate, forged headers", None, forged, 401),
        ("admin certificate, forged headers", admin, forged, 401),
        ("front proxy without user headers", Some(front_proxy.clone()), &[], 401),
        ("front proxy", Some(front_proxy), forged, 200),
    ] {
        let mut config = kube::Config::new(base.parse().unwrap());
        // Other tests cover the serving certificate.
        config.accept_invalid_certs = true;
        config.auth_info = identity.unwrap_or_default();
        let client = kube::Client::try_from(config).unwrap();
        for path in [
            "/apis",
            "/apis/visibility.operator.metalbear.co/v1",
            "/apis/visibility.operator.metalbear.co/v1/sessiontrackers",
            "/openapi/v2",
            "/openapi/v3/apis/visibility.operator.metalbear.co/v1",
            "/version",
        ] {
            let mut request = http::Request::get(path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let code = match client.request_text(request.body(Vec::new()).unwrap()).await {
                Ok(_) => 200,
                Err(kube::Error::Api(status)) => status.code,
                Err(error) => panic!("{client_name}: {error}"),
            };
            assert_eq!(code, expected, "{client_name}: {path}");
        }
    }
}

/// Checks that policies see Unicode user names, groups with commas, and thousands of groups.
///
/// Extra values whose keys need encoding are covered too.
#[tokio::test]
async fn policies_see_full_requester_identity() {
    let cluster = shared();
    let namespace = create_namespace(cluster, "whole").await;
    let name = "Zoë \u{10fffd} ☃, x@example.com";
    let policy = json!({
        "apiVersion": "operator.metalbear.co/v1alpha1",
        "kind": "SessionPolicy",
        "metadata": { "name": "whole" },
        "spec": {
            "subjects": [{ "kind": "User", "name": name }],
            "allow": { "rules": [{
                "resources": ["session_tracker"],
                "verbs": ["list"],
                "where": r#"contains(user.spec.roles, "a,b") && contains(user.spec.roles, "g-1999")
                    && contains(user.spec.traits["example.com/team"], "red, green")
                    && !contains(user.spec.roles, "a")"#,
            }] },
        },
    });
    cluster.admin(&["create", "-f", "-"], &policy.to_string()).await.unwrap();
    let admin = cluster.plane.client("admin", &["system:masters"]).await.unwrap();
    let path = trackers_path(&namespace.name);
    let status_without = async |left_out: &str| {
        let mut request = http::Request::get(&path)
            .header("impersonate-user", http::HeaderValue::from_bytes(name.as_bytes()).unwrap())
            .header("impersonate-group", "system:masters");
        if left_out != "comma" {
            request = request.header("impersonate-group", "a,b");
        }
        let groups = if left_out == "groups" { 1999 } else { 2000 };
        for group in 0..groups {
            request = request.header("impersonate-group", format!("g-{group}"));
        }
        if left_out != "extra" {
            request = request.header("impersonate-extra-example.com%2fteam", "red, green");
        }
        match admin.request_text(request.body(Vec::new()).unwrap()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    };
    eventually("the policy is in force", || async {
        (status_without("extra").await == 403).then_some(())
    })
    .await;
    for (left_out, expected) in [("", 200), ("comma", 403), ("groups", 403), ("extra", 403)] {
        assert_eq!(status_without(left_out).await, expected, "without {left_out:?}");
    }
}

/// Checks that a front proxy CA is trusted once it is added to the cluster.
#[tokio::test]
async fn reloads_front_proxy_ca() {
    let cluster = Cluster::start().await.unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, "another front proxy CA");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = rcgen::Issuer::from_params(&params, &key);
    let client_key = rcgen::KeyPair::generate().unwrap();
    let mut client = rcgen::CertificateParams::new(Vec::new()).unwrap();
    client.distinguished_name.push(rcgen::DnType::CommonName, "front-proxy-client");
    client.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = client.signed_by(&client_key, &issuer).unwrap().pem();

    let base = format!("https://localhost:{}", cluster.webhook.port());
    let mut config = kube::Config::new(base.parse().unwrap());
    config.accept_invalid_certs = true;
    config.auth_info.client_certificate_data = Some(STANDARD.encode(certificate));
    config.auth_info.client_key_data = Some(STANDARD.encode(client_key.serialize_pem()).into());
    let client = kube::Client::try_from(config).unwrap();
    let status = async || {
        let request = http::Request::get("/apis").header("x-remote-user", "alice");
        match client.request_text(request.body(Vec::new()).unwrap()).await {
            Ok(_) => 200,
            Err(kube::Error::Api(status)) => status.code,
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(status().await, 401);

    let name = "extension-apiserver-authentication";
    let map = ["get", "configmap", name, "-n", "kube-system", "-o", "json"];
    let map = admin_json(&cluster, &map).await;
    let current_ca = &map["data"]["requestheader-client-ca-file"];
    let names = &map["data"]["requestheader-allowed-names"];
    let mut names: Vec<String> = serde_json::from_str(names.as_str().unwrap()).unwrap();
    names.push("front-proxy-client".into());
    let both_cas = json!({ "data": {
        "requestheader-client-ca-file": format!("{}{authority}", current_ca.as_str().unwrap()),
        "requestheader-allowed-names": serde_json::to_string(&names).unwrap(),
    } });
    let patch = ["patch", "configmap", name, "-n", "kube-system", "--type=merge", "-p"];
    cluster.admin(&[&patch[..], &[&both_cas.to_string()]].concat(), "").await.unwrap();
    eventually("the other CA is trusted", || async { (status().await == 200).then_some(()) }).await;
}

/// Checks that trackers follow Sessions after a restart of the API server.
#[tokio::test]
async fn trackers_follow_sessions_across_api_server_restart() {
    let cluster = Cluster::start().await.unwrap();
    let create = async |name: &str| {
        let manifest = session_manifest(name, json!({ "target": "targetless" }));
        let args = ["create", "-n", "default", "-f", "-"];
        cluster.admin(&args, &manifest.to_string()).await
    };
    let wait_for_list = async |expected: &str| {
        eventually(&format!("{expected} are listed"), || async {
            let lives = "--field-selector=status.state!=terminated";
            let args = ["get", "mst", "-n", "default", "-o", "name", lives];
            let names = cluster.admin(&args, "").await.ok()?;
            let names: Vec<&str> =
                names.lines().filter_map(|line| line.rsplit('/').next()).collect();
            (names.join(" ") == expected).then_some(())
        })
        .await;
    };
    create("one").await.unwrap();
    wait_for_list("one").await;
    cluster.plane.stop_apiserver();
    cluster.plane.start_apiserver().unwrap();
    eventually("sessions can be created again", || async { create("two").await.ok() }).await;
    wait_for_list("one two").await;
    cluster.admin(&["delete", "session", "one", "-n", "default"], "").await.unwrap();
    wait_for_list("two").await;
}
