//! Tests of the local control plane: requests, identities, restarts and cleanup.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cleanup;

use std::net::TcpListener;
use std::time::{Duration, Instant};

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, UserInfo};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use mirrord_sessions_tests::control_plane::{ControlPlane, Identity, Program};

fn shared() -> &'static ControlPlane {
    ControlPlane::shared().unwrap()
}

async fn who_am_i(client: Client) -> UserInfo {
    let review = Api::all(client)
        .create(&PostParams::default(), &SelfSubjectReview::default())
        .await
        .unwrap();
    review.status.unwrap().user_info.unwrap()
}

#[tokio::test]
async fn reports_the_version_of_the_recipe() {
    let version = shared().admin().client().await.unwrap().apiserver_version().await.unwrap();
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(version.git_version, "v1.36.3");
    }
}

#[tokio::test]
async fn kubeconfig_authenticates_user_and_groups() {
    let many_groups: Vec<String> = (0..100).map(|n| format!("team:{n}/ä @")).collect();
    let many_groups: Vec<&str> = many_groups.iter().map(String::as_str).collect();
    for (user, groups) in [
        ("avi@metalbear.co", &["developers", "qa"][..]),
        ("Aviram Hassan", &[]),
        ("oidc:https://issuer.example/#a,b=c+d", &["one"]),
        ("Jürgen \"J\" O'Neil\\日本 🐻", &["Gruppe ü", "b,c"]),
        ("nobody-in-particular", &many_groups),
    ] {
        let user_info = who_am_i(shared().client(user, groups).await.unwrap()).await;
        let mut expected = groups.to_vec();
        expected.push("system:authenticated");
        assert_eq!(user_info.username.as_deref(), Some(user));
        assert_eq!(user_info.groups.unwrap(), expected, "{user}");
        assert_eq!(user_info.uid, None);
    }
}

#[tokio::test]
async fn kubeconfig_supports_several_contexts() {
    let plane = shared();
    let kubeconfig = plane
        .kubeconfig_with_contexts(&[
            ("admin", Identity::admin()),
            ("developer-1", Identity::new("dev: 1", ["devs"]).with_uid("u-1")),
        ])
        .unwrap();
    let client = kubeconfig.client_for_context("developer-1").await.unwrap();
    assert_eq!(who_am_i(client).await.uid.as_deref(), Some("u-1"));

    let kubectl = async |args| {
        let output = plane.kubectl(kubeconfig.path(), args).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let output = kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await;
    assert_eq!(output, "admin");
    let args = ["--context=developer-1", "auth", "whoami", "-o", "jsonpath={.status.userInfo}"];
    let output = kubectl(&args).await;
    assert!(output.contains("dev: 1") && output.contains("devs"), "{output}");
}

#[tokio::test]
async fn rbac_denies_users_without_permissions() {
    let plane = shared();
    let nobody = plane.kubeconfig("nobody", &[]).unwrap();
    let output = plane.kubectl(nobody.path(), &["get", "pods"]).await.unwrap();
    assert!(!output.status.success());
    assert!(output.stderr.contains(r#"User "nobody" cannot list resource "pods""#), "{output:?}");

    let manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: from-stdin}}";
    let output = plane
        .kubectl_with_input(plane.admin().path(), &["apply", "-f", "-"], manifest)
        .await
        .unwrap();
    assert_eq!(output.stdout, "configmap/from-stdin created\n", "{output:?}");
}

#[tokio::test]
async fn kubeconfig_authenticates_service_account() {
    let kubeconfig = shared().service_account_kubeconfig("default", "default").await.unwrap();
    let user_info = who_am_i(kubeconfig.client().await.unwrap()).await;
    assert_eq!(user_info.username.as_deref(), Some("system:serviceaccount:default:default"));
    assert!(user_info.uid.is_some());
}

#[tokio::test]
async fn controllers_delete_namespaces_and_publish_front_proxy_ca() {
    let client = shared().admin().client().await.unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some("short-lived".to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    // The namespace controller must finalize the namespace.
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    let started = Instant::now();
    while namespaces.get_opt("short-lived").await.unwrap().is_some() {
        assert!(
            started.elapsed() < Duration::from_secs(30),
            "the namespace was not deleted in time"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let proxy: ConfigMap = Api::namespaced(client, "kube-system")
        .get("extension-apiserver-authentication")
        .await
        .unwrap();
    let data = proxy.data.unwrap();
    assert_eq!(data["requestheader-allowed-names"], r#"["front-proxy-client"]"#);
    assert_ne!(data["requestheader-client-ca-file"], data["client-ca-file"]);
}

#[tokio::test]
async fn api_server_restarts_with_its_data() {
    let plane = ControlPlane::start_with(shared().assets()).unwrap();
    let client = plane.admin().client().await.unwrap();
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some("persisted".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    plane.stop_apiserver();
    maps.get("persisted").await.expect_err("the API server is stopped");

    let port = plane.url().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = plane.start_apiserver().unwrap_err().to_string();
    assert!(error.contains("address already in use"), "{error}");
    drop(listener);

    plane.start_apiserver().unwrap();
    maps.get("persisted").await.unwrap();
    assert!(plane.log(Program::KubeApiserver).exists());
}
