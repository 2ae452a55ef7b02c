//! An API server on loopback that serves Sessions and trackers.

mod responses;

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use self::responses::respond;
use crate::plugin::{CommandOutput, Plugin};

const SESSIONS: &str = "/apis/operator.metalbear.co/v1";
const TRACKERS: &str = "/apis/visibility.operator.metalbear.co/v1";

/// A request that the server received.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReceivedRequest {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    /// Returns `GET /path`, for rules and comparisons.
    pub(crate) fn line(&self) -> String {
        let path = self.path.trim_start_matches(SESSIONS);
        format!("{} {}", self.method, path.trim_start_matches(TRACKERS))
    }

    /// Returns whether this is a discovery request.
    pub(crate) fn is_discovery(&self) -> bool {
        [SESSIONS, TRACKERS].contains(&self.path.as_str())
    }

    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let values = self.headers.iter().filter(|(found, _)| found == name);
        values.map(|(_, value)| value.as_str()).collect()
    }
}

/// A response with its headers as sent.
pub(crate) struct Response {
    pub(crate) code: u16,
    pub(crate) headers: &'static str,
    pub(crate) body: String,
}

type RequestMatcher = Box<dyn Fn(&ReceivedRequest) -> bool + Send + Sync>;
type Rule = Box<dyn Fn(&ReceivedRequest) -> Option<Response> + Send + Sync>;

#[derive(Default)]
struct State {
    sessions: Mutex<Vec<Value>>,
    rules: Vec<Rule>,
    /// Requests that time out, and whether they are executed.
    timeouts: Vec<(RequestMatcher, bool)>,
    requests: Mutex<Vec<ReceivedRequest>>,
}

/// The configuration of a server before it starts.
#[derive(Default)]
pub(crate) struct Fake(State);

impl Fake {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn session(self, namespace: &str, name: &str) -> Self {
        self.object(session(namespace, name))
    }

    pub(crate) fn object(self, object: Value) -> Self {
        self.0.sessions.lock().unwrap().push(object);
        self
    }

    /// Serves Sessions and no trackers.
    pub(crate) fn without_trackers(self) -> Self {
        self.rule(|request| {
            request.path.starts_with(TRACKERS).then(|| Response {
                code: 404,
                headers: "",
                body: "404 page not found\n".into(),
            })
        })
    }

    /// Overrides responses: the first rule that returns a response applies.
    pub(crate) fn rule(
        mut self,
        rule: impl Fn(&ReceivedRequest) -> Option<Response> + Send + Sync + 'static,
    ) -> Self {
        self.0.rules.push(Box::new(rule));
        self
    }

    /// Responds to some requests with a timeout, whether or not they are executed.
    #[cfg(unix)]
    pub(crate) fn time_out(
        mut self,
        matches: impl Fn(&ReceivedRequest) -> bool + Send + Sync + 'static,
        is_executed: bool,
    ) -> Self {
        self.0.timeouts.push((Box::new(matches), is_executed));
        self
    }

    /// Overrides the response to requests with this line.
    pub(crate) fn respond(self, line: &'static str, code: u16, body: impl Into<String>) -> Self {
        let body = body.into();
        self.rule(move |request| {
            (request.line() == line).then(|| Response { code, headers: "", body: body.clone() })
        })
    }

    /// Denies requests with this line like RBAC.
    pub(crate) fn forbid(self, line: &'static str, verb: &str, namespace: Option<&str>) -> Self {
        let scope = namespace.map_or("at the cluster scope".to_owned(), |name| {
            format!("in the namespace \"{name}\"")
        });
        let (resource, group) = if line.contains("sessiontrackers") {
            ("sessiontrackers", "visibility.operator.metalbear.co")
        } else {
            ("sessions", "operator.metalbear.co")
        };
        let message = format!(
            "{resource}.{group} is forbidden: User \"dev\" cannot {verb} resource \"{resource}\" in API group \"{group}\" {scope}"
        );
        self.respond(line, 403, status(403, "Forbidden", &message, &json!({})))
    }

    pub(crate) fn start(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(self.0);
        let serving = Arc::clone(&state);
        // The thread ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&serving);
                thread::spawn(move || serve(&state, &stream.unwrap()));
            }
        });
        Server { state, plugin: Plugin::for_server(&format!("http://{address}")) }
    }
}

/// A running fake API server.
pub(crate) struct Server {
    state: Arc<State>,
    plugin: Plugin,
}

impl Server {
    /// Runs the plugin with arguments separated by spaces.
    pub(crate) fn run(&self, arguments: &str) -> CommandOutput {
        self.plugin.run(arguments)
    }

    pub(crate) fn command(&self, arguments: &str) -> Command {
        self.plugin.command(arguments)
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.plugin.kubeconfig()
    }

    pub(crate) fn all_requests(&self) -> Vec<ReceivedRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Returns the received requests, except discovery.
    pub(crate) fn requests(&self) -> Vec<ReceivedRequest> {
        let mut requests = self.all_requests();
        requests.retain(|request| !request.is_discovery());
        requests
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().iter().map(ReceivedRequest::line).collect()
    }

    /// Changes the sessions like other clients of the cluster.
    pub(crate) fn change(&self, change: impl Fn(&mut Vec<Value>)) {
        change(&mut self.state.sessions.lock().unwrap());
    }

    /// Returns the names of the remaining sessions.
    pub(crate) fn session_names(&self) -> Vec<String> {
        let sessions = self.state.sessions.lock().unwrap();
        sessions.iter().map(|session| text(session, "/metadata/name").to_owned()).collect()
    }
}

/// Returns a session as completed by the webhook.
pub(crate) fn session(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "operator.metalbear.co/v1",
        "kind": "Session",
        "metadata": {
            "name": name, "namespace": namespace, "uid": format!("uid-{name}"),
            "creationTimestamp": "2020-01-01T00:00:00Z",
        },
        "spec": {
            "target": "deployment/counter",
            "owner": { "username": "avi@x" },
            "user": "Avi/avi@x@host",
        },
        "status": {
            "state": "running",
            "ports": [{ "port": 80, "type": "steal" }],
        },
    })
}

/// Returns a Status of a failure.
pub(crate) fn status(code: u16, reason: &str, message: &str, details: &Value) -> String {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": reason, "message": message, "details": details, "code": code,
    })
    .to_string()
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn serve(state: &State, stream: &TcpStream) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader) {
        state.requests.lock().unwrap().push(request.clone());
        let timeout = state.timeouts.iter().find(|(matches, _)| matches(&request));
        let response = match timeout {
            Some((_, is_executed)) => {
                if *is_executed {
                    respond(state, &request);
                }
                let body = status(504, "Timeout", "the request timed out", &json!({}));
                Response { code: 504, headers: "", body }
            }
            None => respond(state, &request),
        };
        let head = format!(
            "HTTP/1.1 {} X\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n",
            response.code,
            response.headers,
            response.body.len()
        );
        let mut writer = stream;
        if writer.write_all(&[head.as_bytes(), response.body.as_bytes()].concat()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<ReceivedRequest> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut words = line.split_whitespace().map(ToOwned::to_owned);
    let mut request = ReceivedRequest { method: words.next()?, ..ReceivedRequest::default() };
    let target = words.next()?;
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    path.clone_into(&mut request.path);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        request.query.insert(name.to_owned(), percent_decode(value));
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.parse().ok()?;
        }
        request.headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).ok()?;
    Some(request)
}

fn percent_decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at(2);
        decoded.push(u8::from_str_radix(code, 16).unwrap().into());
        decoded.push_str(rest);
    }
    decoded
}
