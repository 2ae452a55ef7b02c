//! The process over real sockets: TLS, HTTP/1.1 and HTTP/2, malformed bytes, and shutdown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod availability;
mod harness;

use std::{io::Write, process::Command};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{StatusCode, Version};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use harness::{STAMP, api_server, get, review, start};

#[tokio::test]
async fn serves_http1_and_http2() {
    let process = start(&[]);
    let answer = process.http1().await.send_request(get("/readyz")).await.unwrap();
    assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_11));

    // An API server sends many concurrent reviews on one connection.
    let sender = process.http2().await;
    let answers = (0..200).map(|_| {
        let mut sender = sender.clone();
        tokio::spawn(async move { sender.send_request(review()).await.unwrap() })
    });
    for answer in answers.collect::<Vec<_>>() {
        let answer = answer.await.unwrap();
        assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["response"]["patchType"], "JSONPatch");
    }
}

#[tokio::test]
async fn survives_malformed_bytes() {
    let process = start(&[]);
    // No TLS, a truncated handshake, and a peer that disconnects at once.
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01", b""] {
        let mut stream = std::net::TcpStream::connect(process.address).unwrap();
        stream.write_all(bytes).unwrap();
    }
    // Neither HTTP/1.1 nor HTTP/2, a broken preface, and a truncated body.
    let truncated = format!(
        "POST {STAMP} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    for (protocol, bytes) in [
        (&b"http/1.1"[..], &b"\x00\xff\x00\xff\r\n\r\n"[..]),
        (b"h2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        (b"http/1.1", truncated.as_bytes()),
    ] {
        let mut stream = process.connect(protocol).await;
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.ok();
    }
    process.assert_alive().await;
}

#[tokio::test]
async fn rejects_a_body_over_the_limit_by_its_length() {
    let process = start(&[]);
    let huge = Full::new(Bytes::from(vec![b' '; 10 << 20]));
    let request = review().map(|_| huge);
    let answer = process.http2().await.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    process.assert_alive().await;
}

/// The Deployment limits memory to 256 MiB.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn bounds_memory_under_hostile_reviews() {
    let process = start(&[]);
    // The most expensive forms for their size: many small values, in fields that are parsed and in
    // fields that are skipped.
    let many = |size: usize| format!("[{}\"\"]", "\"\",".repeat(size / 3));
    let review = |field: &str, value: &str, groups: &str| {
        format!(
            r#"{{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{{"uid":"1","operation":"CREATE","userInfo":{{"username":"a","groups":{groups}}},"resource":{{"group":"operator.metalbear.co","version":"v1","resource":"sessions"}},"object":{{"kind":"Session","spec":{{"target":"a/b","{field}":{value}}}}}}}}}"#
        )
    };
    let big = many(4 << 20);
    let bodies = [
        review("owner", &big, "[]"),
        review("owner", &many(1_000_000), "[]"),
        review("x", &big, "[]"),
        review("x", "1", &big),
        big.clone(),
    ];
    let sender = process.http2().await;
    let mut answers = Vec::new();
    for round in 0..6 {
        for body in &bodies {
            let mut sender = if round % 2 == 0 { sender.clone() } else { process.http2().await };
            let body = Full::new(Bytes::from(body.clone()));
            let request = self::review().map(|_| body);
            answers.push(tokio::spawn(async move { sender.send_request(request).await }));
        }
    }
    let mut answered = 0;
    for answer in answers {
        answered += usize::from(answer.await.unwrap().is_ok());
    }
    assert_eq!(answered, 30);
    process.assert_alive().await;
    let peak = process.peak_memory() >> 20;
    assert!(peak < 200, "{peak} MiB at the peak");
}

#[tokio::test]
async fn drains_requests_in_flight_on_sigterm() {
    let process = start(&["--shutdown-delay=200ms", "--drain-timeout=20s"]);
    // Half of the body is sent when the signal arrives.
    let body = review().into_body().collect().await.unwrap().to_bytes();
    let mut slow = process.connect(b"http/1.1").await;
    let head = format!(
        "POST {STAMP} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&body[..10]).await.unwrap();
    slow.flush().await.unwrap();
    process.assert_alive().await;

    process.terminate();
    // The process is unready at once and still serves.
    let mut probe = process.http1().await;
    let mut unready = false;
    while let Ok(answer) = probe.send_request(get("/readyz")).await {
        unready |= answer.status() == StatusCode::SERVICE_UNAVAILABLE;
        answer.into_body().collect().await.unwrap();
        if probe.ready().await.is_err() {
            break;
        }
    }
    assert!(unready, "/readyz did not fail before the listener closed");

    slow.write_all(&body[10..]).await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut slow, &mut answer).await.ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let (status, log) = process.wait().await;
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("draining") && log.contains("stopped"), "{log}");
}

#[tokio::test]
async fn exits_after_the_drain_timeout() {
    let process = start(&["--shutdown-delay=0s", "--drain-timeout=300ms"]);
    let mut stalled = process.connect(b"http/1.1").await;
    let head = format!(
        "POST {STAMP} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{{"
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    process.assert_alive().await;
    process.terminate();
    let (status, log) = process.wait().await;
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("did not end in time"), "{log}");
}

#[tokio::test]
async fn counts_reviews_in_metrics() {
    let process = start(&[]);
    let review = process.http2().await.send_request(review()).await.unwrap();
    assert_eq!(review.status(), StatusCode::OK);
    let metrics = get("/metrics");
    let answer = process.http1().await.send_request(metrics).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let text = answer.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(text.to_vec()).unwrap();
    let line = "mirrord_sessions_admission_requests_total{outcome=\"patched\"} 1";
    assert!(text.lines().any(|found| found == line), "{text}");
}

#[test]
fn reports_startup_errors_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    api_server(folder.path());
    let cases: [(&str, &[&str], &str); 8] = [
        (
            "kubeconfig",
            &["--auditor-preset-version=99"],
            "there is no version 99 of the auditor preset, only 1 to 2",
        ),
        ("none", &["--dry-run", "--auditor-role=off"], "there is nothing to try"),
        ("none", &["--dry-run"], "no way to the API server"),
        ("none", &[], "no way to the API server"),
        ("kubeconfig", &["--auditor-role=off"], "tls.crt: No such file or directory"),
        ("kubeconfig", &["--listen=192.0.2.1:1"], "192.0.2.1:1 can't be listened on"),
        ("none", &["--log=a=b=c"], "is not a filter"),
        ("none", &["--shutdown-delay=soon"], "invalid value 'soon'"),
    ];
    for (kubeconfig, args, expected) in cases {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mirrord-sessions-webhook"));
        command
            .arg(format!("--tls-cert-file={}", folder.path().join("tls.crt").display()))
            .arg(format!("--tls-private-key-file={}", folder.path().join("tls.key").display()))
            .args(if args.iter().any(|arg| arg.starts_with("--listen")) {
                &[][..]
            } else {
                &["--listen=127.0.0.1:0"]
            })
            .args(args)
            .env("KUBECONFIG", folder.path().join(kubeconfig))
            .env_remove("RUST_LOG");
        let output = command.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(errors.contains(expected), "{args:?}: {errors}");
        assert!(!errors.contains("backtrace"), "{args:?}: {errors}");
        let reports = errors.matches("tls.crt: No such file").count();
        assert!(reports <= 1, "reported twice: {errors}");
    }
}
