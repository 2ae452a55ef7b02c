//! Straight to the port, past the aggregator, with certificates of all kinds.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::support::shared;

#[tokio::test]
async fn nobody_but_the_aggregator_is_believed() {
    let cluster = shared();
    let base = format!("https://localhost:{}", cluster.webhook.port());
    let admin = cluster.plane.admin().config().auth_infos[0]
        .auth_info
        .clone();
    let mut front_proxy = kube::config::AuthInfo::default();
    let pki = cluster.plane.folder().join("pki");
    let file = |name: &str| STANDARD.encode(std::fs::read(pki.join(name)).unwrap());
    front_proxy.client_certificate_data = Some(file("front-proxy.crt"));
    front_proxy.client_key_data = Some(file("front-proxy.key").into());
    let forged: &[(&str, &str)] = &[
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
    ];
    for (who, identity, headers, expected) in [
        ("nobody", None, &[][..], 401),
        ("nobody who forges", None, forged, 401),
        ("an administrator who forges", admin, forged, 401),
        (
            "the front proxy, for nobody",
            Some(front_proxy.clone()),
            &[],
            401,
        ),
        ("the front proxy", Some(front_proxy), forged, 200),
    ] {
        let mut config = kube::Config::new(base.parse().unwrap());
        // Which certificate the webhook has is another test's.
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
                Err(error) => panic!("{who}: {error}"),
            };
            assert_eq!(code, expected, "{who}: {path}");
        }
    }
}
