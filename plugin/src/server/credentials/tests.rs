use super::*;

fn credentials(user: User) -> Credentials {
    Credentials::new(user, "user \"dev\"", ClusterInfo::default(), TerminalUse::Messages, None)
        .unwrap()
}

fn header(credential: &Credential) -> &str {
    credential.authorization.as_ref().map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn tokens_may_end_with_a_line_break_and_never_panic() {
    for (token, expected) in [
        ("t", Ok("Bearer t")),
        ("t\n", Ok("Bearer t")),
        ("\r\n t \n", Ok("Bearer t")),
        ("a\nb", Err(())),
        ("a\u{0}b", Err(())),
    ] {
        let user = User { token: Some(token.into()), ..User::default() };
        let made = Credentials::new(
            user,
            "user \"dev\"",
            ClusterInfo::default(),
            TerminalUse::Messages,
            None,
        );
        match (made, expected) {
            (Ok(made), Ok(expected)) => {
                assert_eq!(header(&made.current().await.unwrap()), expected);
            }
            (Err(error), Err(())) => assert_eq!(
                error.to_string(),
                "error: the token of user \"dev\" contains a line break or another control character: it must be a single line"
            ),
            (made, _) => panic!("{token:?}: {}", made.is_ok()),
        }
    }
}

#[tokio::test]
async fn token_files_take_precedence_and_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let file = path.to_str().map(ToOwned::to_owned);
    std::fs::write(&path, "first\n").unwrap();
    let user = User { token: Some("inline".into()), token_file: file.clone(), ..User::default() };
    let both = credentials(user);
    let first = both.current().await.unwrap();
    assert_eq!(header(&first), "Bearer first");
    // Unchanged: there is nothing to retry with.
    assert!(both.renew(&first).await.unwrap().is_none());
    std::fs::write(&path, "second\n").unwrap();
    let second = both.renew(&first).await.unwrap().unwrap();
    assert_eq!(header(&second), "Bearer second");
    // The last token is used while the file is missing.
    std::fs::remove_file(&path).unwrap();
    assert!(both.renew(&second).await.unwrap().is_none());
    assert_eq!(header(&both.current().await.unwrap()), "Bearer second");

    let user = User { token: Some("inline".into()), token_file: file.clone(), ..User::default() };
    assert_eq!(header(&credentials(user).current().await.unwrap()), "Bearer inline");
    let user = User { token_file: file, ..User::default() };
    let error = credentials(user.clone()).current().await.err().unwrap();
    assert!(error.to_string().contains("of user \"dev\" cannot be read: "), "{error}");
    std::fs::write(&path, "\n").unwrap();
    let error = credentials(user).current().await.err().unwrap();
    assert!(error.to_string().ends_with("of user \"dev\" is empty"), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn a_plugin_runs_once_until_its_answer_expires_or_is_rejected() {
    let folder = tempfile::tempdir().unwrap();
    let calls = folder.path().join("calls");
    let plugin = |expiry: &str| {
        let _ = std::fs::remove_file(&calls);
        let script = format!(
            r#"echo x >> {0}; echo "status: {{token: t$(wc -l < {0} | tr -d ' '){expiry}}}""#,
            calls.display()
        );
        let exec = crate::server::kubeconfig::Exec {
            api_version: Some("client.authentication.k8s.io/v1".into()),
            command: "sh".into(),
            args: vec!["-c".into(), script],
            ..Default::default()
        };
        credentials(User { exec: Some(exec), ..User::default() })
    };
    let lasting = plugin(", expirationTimestamp: '2100-01-01T00:00:00Z'");
    let first = lasting.current().await.unwrap();
    assert_eq!(header(&first), "Bearer t1");
    // Several requests share one answer, and one renewal.
    assert_eq!(header(&lasting.current().await.unwrap()), "Bearer t1");
    let (a, b) = tokio::join!(lasting.renew(&first), lasting.renew(&first));
    let (a, b) = (a.unwrap().unwrap(), b.unwrap().unwrap());
    assert_eq!((header(&a), header(&b)), ("Bearer t2", "Bearer t2"));
    // The renewed answer is rejected too: the plugin doesn't run for each request.
    assert!(lasting.renew(&a).await.unwrap().is_none());
    assert_eq!(std::fs::read_to_string(&calls).unwrap().lines().count(), 2);

    // An answer that has expired already is used until the server rejects it.
    let expired = plugin(", expirationTimestamp: '2000-01-01T00:00:00Z'");
    assert_eq!(header(&expired.current().await.unwrap()), "Bearer t1");
    assert_eq!(header(&expired.current().await.unwrap()), "Bearer t1");

    let soon = (Timestamp::now() + Duration::from_secs(1)).to_string();
    let short = plugin(&format!(", expirationTimestamp: '{soon}'"));
    assert_eq!(header(&short.current().await.unwrap()), "Bearer t1");
    short.0.state.lock().await.expiry = Expiry::At(Timestamp::UNIX_EPOCH);
    assert_eq!(header(&short.current().await.unwrap()), "Bearer t2");
}

#[tokio::test]
async fn selects_the_source_in_the_order_of_client_go() {
    let basic =
        User { username: Some("a".into()), password: Some("b:c".into()), ..User::default() };
    assert_eq!(header(&credentials(basic).current().await.unwrap()), "Basic YTpiOmM=");
    let none = User::default();
    assert_eq!(header(&credentials(none).current().await.unwrap()), "");
    let exec = crate::server::kubeconfig::Exec { command: "/none".into(), ..Default::default() };
    let both = User { token: Some("t".into()), exec: Some(exec), ..User::default() };
    assert_eq!(header(&credentials(both).current().await.unwrap()), "Bearer t");
}
