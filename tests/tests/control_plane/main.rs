//! The local control plane itself: it answers, knows who asks, and leaves nothing behind.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ending;

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
async fn it_is_the_version_it_says() {
    let version = shared().admin().client().await.unwrap().apiserver_version().await.unwrap();
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        assert_eq!(version.git_version, "v1.36.3");
    }
}

#[tokio::test]
async fn a_kubeconfig_makes_one_who_it_says() {
    let many: Vec<String> = (0..100).map(|n| format!("team:{n}/ä @")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (user, groups) in [
        ("avi@metalbear.co", &["developers", "qa"][..]),
        ("Aviram Hassan", &[]),
        ("oidc:https://issuer.example/#a,b=c+d", &["one"]),
        ("Jürgen \"J\" O'Neil\\日本 🐻", &["Gruppe ü", "b,c"]),
        ("nobody-in-particular", &many),
    ] {
        let who = who_am_i(shared().client(user, groups).await.unwrap()).await;
        let mut expected = groups.to_vec();
        expected.push("system:authenticated");
        assert_eq!(who.username.as_deref(), Some(user));
        assert_eq!(who.groups.unwrap(), expected, "{user}");
        assert_eq!(who.uid, None);
    }
}

#[tokio::test]
async fn one_kubeconfig_holds_many_contexts() {
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
    let me = kubectl(&["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).await;
    assert_eq!(me, "admin");
    let args = ["--context=developer-1", "auth", "whoami", "-o", "jsonpath={.status.userInfo}"];
    let me = kubectl(&args).await;
    assert!(me.contains("dev: 1") && me.contains("devs"), "{me}");
}

#[tokio::test]
async fn rbac_decides() {
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
async fn a_service_account_has_a_kubeconfig() {
    let kubeconfig = shared().service_account_kubeconfig("default", "default").await.unwrap();
    let who = who_am_i(kubeconfig.client().await.unwrap()).await;
    assert_eq!(who.username.as_deref(), Some("system:serviceaccount:default:default"));
    assert!(who.uid.is_some());
}

#[tokio::test]
async fn controllers_run() {
    let client = shared().admin().client().await.unwrap();
    let namespaces = Api::<Namespace>::all(client.clone());
    let namespace = Namespace {
        metadata: ObjectMeta { name: Some("short-lived".to_owned()), ..ObjectMeta::default() },
        ..Namespace::default()
    };
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    // Its content is removed by the namespace controller, which admission sees by that name.
    namespaces.delete("short-lived", &DeleteParams::default()).await.unwrap();
    let since = Instant::now();
    while namespaces.get_opt("short-lived").await.unwrap().is_some() {
        assert!(since.elapsed() < Duration::from_secs(30), "the namespace stays");
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
async fn the_api_server_comes_back_with_its_data() {
    let plane = ControlPlane::start_with(shared().assets()).unwrap();
    let client = plane.admin().client().await.unwrap();
    let maps = Api::<ConfigMap>::default_namespaced(client);
    let map = ConfigMap {
        metadata: ObjectMeta { name: Some("kept".to_owned()), ..ObjectMeta::default() },
        ..ConfigMap::default()
    };
    maps.create(&PostParams::default(), &map).await.unwrap();
    plane.stop_apiserver();
    maps.get("kept").await.expect_err("nobody answers");

    let port = plane.url().rsplit(':').next().unwrap().parse::<u16>().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let error = plane.start_apiserver().unwrap_err().to_string();
    assert!(error.contains("address already in use"), "{error}");
    drop(taken);

    plane.start_apiserver().unwrap();
    maps.get("kept").await.unwrap();
    assert!(plane.log(Program::KubeApiserver).exists());
}
