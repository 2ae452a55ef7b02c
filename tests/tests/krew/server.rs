//! A fake server for archive downloads and for an API server with one session.

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::json;

#[derive(Clone)]
pub(crate) struct Server {
    address: String,
    folder: Arc<Mutex<Option<PathBuf>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            folder: Arc::default(),
        };
        let handler = server.clone();
        // The thread runs until the process ends.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let handler = handler.clone();
                thread::spawn(move || handler.handle(&stream.unwrap()));
            }
        });
        server
    }

    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    pub(crate) fn kubeconfig(&self) -> String {
        format!(
            "current-context: here\ncontexts: [{{name: here, context: {{cluster: here}}}}]\nclusters: [{{name: here, cluster: {{server: '{}'}}}}]\n",
            self.address
        )
    }

    /// Serves the archives of a folder.
    pub(crate) fn serve(&self, folder: &Path) {
        *self.folder.lock().unwrap() = Some(folder.to_owned());
    }

    fn handle(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let mut header = String::new();
        while reader.read_line(&mut header).unwrap() > 2 {
            header.clear();
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match self.body(path) {
            Some(body) => ("200 OK", body),
            None => ("404 Not Found", b"404 page not found\n".to_vec()),
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut writer = stream;
        // The client may have disconnected.
        let _ = writer.write_all(&[head.as_bytes(), &body].concat());
    }

    fn body(&self, path: &str) -> Option<Vec<u8>> {
        if path.contains("/releases/download/") {
            let name = Path::new(path).file_name()?;
            let folder = self.folder.lock().unwrap().clone()?;
            return std::fs::read(folder.join(name)).ok();
        }
        let version = "visibility.operator.metalbear.co/v1";
        let rest = path.strip_prefix("/apis/").and_then(|path| path.strip_prefix(version))?;
        let response = if rest.is_empty() {
            json!({
                "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version,
                "resources": [{
                    "name": "sessiontrackers", "singularName": "sessiontracker", "namespaced": true,
                    "kind": "SessionTracker", "verbs": ["get", "list", "watch"],
                }],
            })
        } else if rest.starts_with("/namespaces/default/sessiontrackers") {
            let tracker = json!({
                "kind": "SessionTracker", "apiVersion": version,
                "metadata": { "name": "487f4f2b6d2376ad", "namespace": "default" },
                "spec": {
                    "sessionId": "487F4F2B6D2376AD", "kind": "job",
                    "target": "deployment/counter", "user": "Avi/avi@x@host",
                },
                "status": { "state": "running" },
            });
            json!({
                "kind": "SessionTrackerList", "apiVersion": version,
                "metadata": {}, "items": [tracker],
            })
        } else {
            return None;
        };
        Some(response.to_string().into_bytes())
    }
}
