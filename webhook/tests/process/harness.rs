//! A webhook process with a certificate from files, and its clients.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStderr, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde_json::json;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};

pub(crate) const STAMP: &str = "/admission/v1/sessions/stamp";

/// A webhook process with a certificate from files, killed on drop.
pub(crate) struct Process {
    pub(crate) child: Child,
    pub(crate) address: SocketAddr,
    /// Address of the listener of probes.
    pub(crate) probes: SocketAddr,
    log: BufReader<ChildStderr>,
    roots: Arc<rustls::RootCertStore>,
    _folder: tempfile::TempDir,
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mirrord-sessions-webhook"));
    command
        .args(["--listen=127.0.0.1:0", "--probe-listen=127.0.0.1:0", "--log=info"])
        .arg(format!("--tls-cert-file={}", folder.join("tls.crt").display()))
        .arg(format!("--tls-private-key-file={}", folder.join("tls.key").display()))
        .env_remove("RUST_LOG")
        .env("KUBECONFIG", folder.join("kubeconfig"))
        .stderr(Stdio::piped());
    command
}

/// Starts an API server that responds 404 to every request, and writes a kubeconfig for it.
pub(crate) fn api_server(folder: &Path) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let mut length = 0;
            let mut line = String::new();
            while stream.read_line(&mut line).unwrap_or(0) > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
            }
            std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink()).ok();
            let status = r#"{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","message":"not found","code":404}"#;
            let response = format!(
                "HTTP/1.1 404 Not Found\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{status}",
                status.len()
            );
            stream.get_mut().write_all(response.as_bytes()).ok();
        }
    });
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "test", "user": {} }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
    });
    std::fs::write(folder.join("kubeconfig"), kubeconfig.to_string()).unwrap();
}

pub(crate) fn start(args: &[&str]) -> Process {
    let folder = tempfile::tempdir().unwrap();
    api_server(folder.path());
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".into()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.path().join("tls.crt"), &certificate).unwrap();
    std::fs::write(folder.path().join("tls.key"), key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()).unwrap();

    let mut child = command(folder.path()).args(args).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut logged_address = |field: &str| loop {
        let mut line = String::new();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended before it served");
        if let Some((_, rest)) = line.split_once(field) {
            break rest.split_whitespace().next().unwrap().parse().unwrap();
        }
    };
    let (address, probes) = (logged_address(" address="), logged_address(" probes="));
    Process { child, address, probes, log, roots: Arc::new(roots), _folder: folder }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub(crate) async fn connect(&self, protocol: &[u8]) -> TlsStream<TcpStream> {
        // The listener accepts connections before the certificate is loaded.
        for _ in 0..100 {
            if let Ok(stream) = self.try_connect(protocol, [127, 0, 0, 1]).await {
                return stream;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no TLS connection");
    }

    /// Connects from a loopback address, once.
    pub(crate) async fn try_connect(
        &self,
        protocol: &[u8],
        from: [u8; 4],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots))
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    pub(crate) async fn http1(&self) -> conn::http1::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(b"http/1.1").await);
        let (sender, connection) = conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn http2(&self) -> conn::http2::SendRequest<Full<Bytes>> {
        let stream = TokioIo::new(self.connect(b"h2").await);
        let (sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    /// Returns the status and the body of a probe on the listener of probes.
    pub(crate) async fn probe(&self, path: &str) -> std::io::Result<(StatusCode, String)> {
        let stream = TokioIo::new(TcpStream::connect(self.probes).await?);
        let (mut sender, connection) =
            conn::http1::handshake(stream).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let answer = sender.send_request(get(path)).await.map_err(std::io::Error::other)?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(std::io::Error::other)?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }

    /// Returns the largest resident memory so far, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    }

    pub(crate) async fn assert_alive(&self) {
        let answer = self.http1().await.send_request(get("/livez")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }

    pub(crate) fn terminate(&self) {
        let kill = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(kill.success());
    }

    pub(crate) async fn wait(mut self) -> (ExitStatus, String) {
        tokio::task::spawn_blocking(move || {
            let mut log = String::new();
            self.log.read_to_string(&mut log).unwrap();
            (self.child.wait().unwrap(), log)
        })
        .await
        .unwrap()
    }
}

pub(crate) fn get(path: &str) -> Request<Full<Bytes>> {
    Request::get(path).header("host", "localhost").body(Full::default()).unwrap()
}

pub(crate) fn review() -> Request<Full<Bytes>> {
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "userInfo": { "username": "alice" },
            "resource": { "group": "operator.metalbear.co", "version": "v1", "resource": "sessions" },
            "object": { "kind": "Session", "spec": { "target": "a/b" } },
        },
    });
    Request::post(format!("https://localhost{STAMP}"))
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(review.to_string())))
        .unwrap()
}
