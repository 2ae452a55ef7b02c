//! Client of mirrord's local session monitor: one Unix socket per session, which reports ports,
//! filters and processes.
//!
//! Only this user can create the sockets, and their data is only displayed. A socket may still be
//! left over from a killed run, or belong to another program. Reads therefore have a timeout and a
//! size limit, and responses are parsed leniently.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use http::{Request, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{body::Bytes, client::conn::http1};
use hyper_util::rt::TokioIo;
use mirrord_sessions_core::text::is_unsafe;
use mirrord_sessions_crds::{
    Port, PortType, SessionReportSpec, annotations,
    session::{MAX_FILTER, MAX_PORTS, MAX_PROCESSES, MAX_VERSION},
};
use serde_json::Value;
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

/// The timeout of a monitor.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);
/// Limit of a response, in bytes. It contains a complete configuration.
const MAX_RESPONSE: usize = 1 << 20;
/// The number of the latest sockets that are queried at once.
const MAX_SOCKETS: usize = 32;
/// The maximum length of a process name in a report.
const MAX_PROCESS: usize = 253;
/// The depth of nested filters, and the number at each level.
const MAX_FILTER_DEPTH: usize = 4;
const MAX_FILTERS: usize = 32;

/// The monitor of a command, once it is found.
#[derive(Debug)]
pub(crate) struct Monitor {
    folder: Option<PathBuf>,
    found: Option<PathBuf>,
}

impl Monitor {
    /// Creates a client of the monitors in this home folder.
    pub(crate) fn new(home: Option<PathBuf>) -> Self {
        Self { folder: home.map(|home| home.join(".mirrord").join("sessions")), found: None }
    }

    /// Returns the report of the monitor of a process or session, or nothing if there is none.
    pub(crate) async fn report(&mut self, pid: u32, session: &str) -> Option<SessionReportSpec> {
        if let Some(socket) = &self.found {
            if let Some(info) = fetch_info(socket).await
                && matches_run(&info, pid, session)
            {
                return Some(to_report(&info));
            }
            self.found = None;
        }
        // Query all at once: timeouts of silent sockets would add up.
        let mut queries = JoinSet::new();
        for socket in find_sockets(self.folder.as_deref()?) {
            queries.spawn(async move { Some((fetch_info(&socket).await?, socket)) });
        }
        while let Some(answer) = queries.join_next().await {
            if let Ok(Some((info, socket))) = answer
                && matches_run(&info, pid, session)
            {
                self.found = Some(socket);
                return Some(to_report(&info));
            }
        }
        None
    }
}

/// Returns the sockets of a folder, the latest first.
fn find_sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_socket = path.extension().is_some_and(|extension| extension == "sock");
            let modified = || path.symlink_metadata().ok()?.modified().ok();
            is_socket.then(|| Some((modified()?, path.clone())))?
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found.truncate(MAX_SOCKETS);
    found.into_iter().map(|(_, path)| path).collect()
}

async fn fetch_info(socket: &Path) -> Option<Value> {
    let request = async {
        let stream = UnixStream::connect(socket).await.ok()?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        let request = Request::get("/info")
            .header(header::HOST, "localhost")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .ok()?;
        let exchange = async {
            let response = sender.send_request(request).await.ok()?;
            if !response.status().is_success() {
                return None;
            }
            let body = Limited::new(response.into_body(), MAX_RESPONSE);
            let bytes = body.collect().await.ok()?.to_bytes();
            serde_json::from_slice(&bytes).ok()
        };
        tokio::pin!(connection);
        tokio::pin!(exchange);
        tokio::select! {
            info = &mut exchange => info,
            // The connection may end before the response has been read.
            _ = &mut connection => exchange.await,
        }
    };
    timeout(REQUEST_TIMEOUT, request).await.ok().flatten()
}

/// Returns whether a monitor belongs to a process or session. `mirrord exec` becomes the process
/// that it runs, and its agent carries the session name.
fn matches_run(info: &Value, pid: u32, session: &str) -> bool {
    let named = info
        .pointer("/config/agent/annotations")
        .and_then(|all| all.get(annotations::SESSION_NAME));
    if let Some(named) = named {
        return named == session;
    }
    let is_it = |value: Option<&Value>| value.and_then(Value::as_u64) == Some(pid.into());
    items(info.get("processes"))
        .any(|process| is_it(process.get("pid")) || is_it(process.get("parent_pid")))
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

/// Converts the information of a monitor into a report.
fn to_report(info: &Value) -> SessionReportSpec {
    let http = info.pointer("/config/feature/network/incoming/http_filter");
    let mut ports: Vec<Port> = Vec::new();
    for subscription in items(info.get("port_subscriptions")) {
        let number = subscription.get("port").and_then(Value::as_u64);
        let Some(port) = number.and_then(|port| u16::try_from(port).ok()) else {
            continue;
        };
        let type_ = match subscription.get("mode").and_then(Value::as_str) {
            Some("steal") => PortType::Steal,
            Some("mirror") => PortType::Mirror,
            _ => continue,
        };
        if port == 0 || ports.iter().any(|known| known.port == port) {
            continue;
        }
        if ports.len() < MAX_PORTS {
            ports.push(Port { port, type_, filter: http.and_then(|http| port_filter(http, port)) });
        }
    }
    ports.sort_by_key(|port| port.port);
    let name = |process: &Value| {
        let name = process.get("process_name").and_then(Value::as_str)?;
        let name = sanitize(name, MAX_PROCESS);
        (!name.is_empty()).then_some(name)
    };
    let processes = items(info.get("processes")).filter_map(name);
    let version = info.get("mirrord_version").and_then(Value::as_str);
    SessionReportSpec {
        ports,
        processes: processes.take(MAX_PROCESSES).collect(),
        client_version: version
            .map(|version| sanitize(version, MAX_VERSION))
            .filter(|version| !version.is_empty()),
        ended: false,
    }
}

/// Returns the filter of a port. Filters without ports apply to every port.
fn port_filter(http: &Value, port: u16) -> Option<String> {
    let is_it = |value: &Value| value.as_u64() == Some(port.into());
    match http.get("ports") {
        None | Some(Value::Null) => {}
        Some(Value::Array(ports)) if ports.iter().any(is_it) => {}
        Some(single) if is_it(single) => {}
        Some(_) => return None,
    }
    let text = filter(http, MAX_FILTER_DEPTH)?;
    Some(sanitize(&text, MAX_FILTER))
}

fn filter(filter: &Value, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    let mut all = Vec::new();
    for (name, value) in filter.as_object()?.iter().take(MAX_FILTERS) {
        let short = name.strip_suffix("_filter").unwrap_or(name);
        match (short, value) {
            ("ports", _) => {}
            (_, Value::String(pattern)) => all.push(format!("{short}={pattern}")),
            ("all_of" | "any_of", Value::Array(inner)) => {
                let inner = inner.iter().take(MAX_FILTERS);
                let inner: Vec<String> = inner.filter_map(|one| self::filter(one, depth)).collect();
                if !inner.is_empty() {
                    all.push(format!("{}({})", short.replace('_', " "), inner.join(", ")));
                }
            }
            (_, Value::Object(_)) => {
                all.extend(self::filter(value, depth).map(|inner| format!("{short}({inner})")));
            }
            _ => {}
        }
    }
    (!all.is_empty()).then(|| all.join(", "))
}

/// Removes the characters that a report must not contain.
fn sanitize(text: &str, limit: usize) -> String {
    text.chars().take(limit).map(|c| if is_unsafe(c) { '?' } else { c }).collect()
}

#[cfg(test)]
#[path = "monitor_tests.rs"]
mod tests;
