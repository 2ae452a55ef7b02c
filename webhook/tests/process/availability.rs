//! Attacks on the availability of the process: idle connections, silent handshakes, slow bodies.
//!
//! The API server creates Sessions during each attack, from the address of the attacker or from
//! another, and the kubelet probes the process.

#![cfg(target_os = "linux")]

use std::{
    io::Write,
    net::TcpStream as StdStream,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{StatusCode, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::{io::AsyncWriteExt, task::JoinSet, time::timeout};

use crate::harness::{Process, STAMP, get, review, start};

/// The address that attackers connect from.
const ATTACKER: [u8; 4] = [127, 0, 0, 1];
/// The addresses of the API server: that of the attackers, as behind a NAT, and another.
const API_SERVERS: [[u8; 4]; 2] = [ATTACKER, [127, 0, 0, 2]];
/// The time limit of a create or a probe during an attack, in a debug build on a busy machine. The
/// API server waits for 5 s.
const PROMPT: Duration = Duration::from_secs(3);
/// One attack at a time: each takes all cores of a small machine.
static ONE_ATTACK: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The interval of requests on a connection that is held open.
const INTERVAL: Duration = Duration::from_secs(15);

type Sender = conn::http2::SendRequest<Full<Bytes>>;

/// Opens an HTTP/2 connection, as an API server does.
async fn http2(process: &Process, from: [u8; 4]) -> Result<Sender, Box<dyn std::error::Error>> {
    let stream = TokioIo::new(process.try_connect(b"h2", from).await?);
    let (sender, connection) = conn::http2::handshake(TokioExecutor::new(), stream).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Sends the review of a create, and returns whether the Session was stamped.
async fn create(sender: &mut Sender) -> Result<bool, Box<dyn std::error::Error>> {
    let answer = sender.send_request(review()).await?;
    let body = answer.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body)?;
    Ok(body["response"]["patchType"] == "JSONPatch")
}

/// Asserts that creates and probes succeed promptly for some seconds.
///
/// Each API server opens a new connection and keeps another one, which it opens again when the
/// process has closed it between two requests.
async fn assert_available(process: &Process) {
    let mut kept: [Option<Sender>; 2] = [None, None];
    for round in 0..20 {
        for (from, kept) in API_SERVERS.iter().zip(&mut kept) {
            let start = Instant::now();
            let mut sender = http2(process, *from).await.unwrap();
            let created = timeout(Duration::from_secs(10), create(&mut sender)).await;
            assert!(created.unwrap().unwrap(), "round {round} from {from:?}");
            assert!(start.elapsed() < PROMPT, "round {round}: {:?}", start.elapsed());
            let start = Instant::now();
            let is_open = match kept {
                Some(sender) => sender.ready().await.is_ok(),
                None => false,
            };
            if !is_open {
                *kept = None;
            }
            let sender = match kept {
                Some(sender) => sender,
                None => kept.insert(http2(process, *from).await.unwrap()),
            };
            assert!(create(sender).await.unwrap(), "round {round} from {from:?}, kept");
            assert!(start.elapsed() < PROMPT, "round {round}, kept: {:?}", start.elapsed());
        }
        for path in ["/livez", "/readyz"] {
            let start = Instant::now();
            let (status, body) = process.probe(path).await.unwrap();
            assert_eq!(status, StatusCode::OK, "{path}: {body}");
            assert!(start.elapsed() < PROMPT, "{path}: {:?}", start.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    process.assert_alive().await;
    let peak = process.peak_memory() >> 20;
    assert!(peak < 200, "{peak} MiB at the peak");
}

async fn metric(process: &Process, name: &str) -> u64 {
    let (status, text) = process.probe("/metrics").await.unwrap();
    assert_eq!(status, StatusCode::OK);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().parse().unwrap()
}

/// One client holds 1,023 connections, and opens those again that the process closes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_of_one_client_make_room() {
    let _one = ONE_ATTACK.lock().await;
    let process = Arc::new(start(&[]));
    process.assert_alive().await;
    let mut attack = JoinSet::new();
    for _ in 0..1023 {
        let process = Arc::clone(&process);
        attack.spawn(async move {
            loop {
                if let Ok(stream) = process.try_connect(b"http/1.1", ATTACKER).await
                    && let Ok((mut sender, connection)) =
                        conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await
                {
                    tokio::spawn(connection);
                    while sender.send_request(get("/livez")).await.is_ok() {
                        tokio::time::sleep(INTERVAL).await;
                    }
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
    }
    let started = Instant::now();
    while metric(&process, "mirrord_sessions_connections_evicted_total").await < 700 {
        assert!(started.elapsed() < Duration::from_mins(1), "no connection is evicted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_available(&process).await;
    // The bound of a peer, plus the connections of the other API server.
    let open = metric(&process, "mirrord_sessions_connections ").await;
    assert!((200..300).contains(&open), "{open}");
    attack.shutdown().await;
}

/// Clients that never finish their handshake, and clients that never send a request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_make_room() {
    let _one = ONE_ATTACK.lock().await;
    let process = start(&[]);
    process.assert_alive().await;
    let silent: Vec<StdStream> = (0..1500)
        .map(|number| {
            let address = if number % 3 == 0 { process.probes } else { process.address };
            let mut stream = StdStream::connect(address).unwrap();
            // Half of a handshake, or half of a request.
            let bytes: &[u8] =
                if number % 3 == 0 { b"GET /livez HT" } else { b"\x16\x03\x01\x02\x00\x01" };
            // The process may have closed the connection already.
            let _ = stream.write_all(&bytes[..number % 7]);
            stream
        })
        .collect();
    assert_available(&process).await;
    drop(silent);
}

/// Slow bodies that would fill the memory for bodies several times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_give_way_to_reviews() {
    let _one = ONE_ATTACK.lock().await;
    let process = Arc::new(start(&[]));
    process.assert_alive().await;
    let mut attack = JoinSet::new();
    for number in 0..200 {
        let process = Arc::clone(&process);
        // Five large bodies as of the report, and many small ones.
        let size = if number < 5 { 4_900_000 } else { 60_000 };
        attack.spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(200)).await;
                let Ok(mut stream) = process.try_connect(b"http/1.1", ATTACKER).await else {
                    continue;
                };
                let head = format!(
                    "POST {STAMP} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000000\r\n\r\n"
                );
                let mut sent = stream.write_all(head.as_bytes()).await;
                for chunk in vec![b' '; size].chunks(64 << 10) {
                    sent = sent.and(stream.write_all(chunk).await);
                }
                while sent.is_ok() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    sent = stream.write_all(b" ").await.and(stream.flush().await);
                }
            }
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_available(&process).await;
    attack.shutdown().await;
}

/// Requests whose responses are never read, on connections that stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unread_responses_make_room() {
    let _one = ONE_ATTACK.lock().await;
    let process = start(&[]);
    process.assert_alive().await;
    let mut stalled = Vec::new();
    for _ in 0..400 {
        let Ok(mut stream) = process.try_connect(b"http/1.1", ATTACKER).await else {
            continue;
        };
        let requests = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".repeat(200);
        let _ = timeout(Duration::from_millis(20), stream.write_all(requests.as_bytes())).await;
        stalled.push(stream);
    }
    assert_available(&process).await;
}
