//! Credentials of requests: obtained once per command, and renewed when they expire or are rejected.
//!
//! As in client-go, a credential plugin runs again when its answer expires, and after the server
//! answered 401. Token files are read again every minute. Unlike client-go, the request that was
//! rejected is sent once more.

#[cfg(unix)]
mod cache;
mod exec;
mod identity;
mod source;

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::Mutex;

pub(super) use self::{
    exec::ClusterInfo,
    identity::{Identity, decode_base64},
};
use self::{
    exec::{Answer, Plugin, Stdin},
    identity::IdentityFiles,
    source::{Source, bearer},
};
use super::kubeconfig::User;
use crate::error::Error;

/// Interval of reading a token file, less than the minute of client-go by its leeway.
const TOKEN_FILE_INTERVAL: Duration = Duration::from_secs(50);
/// Interval between two runs of a plugin whose answers are rejected. A plugin may ask its user for
/// an action on each run, while `run` sends a request every few seconds.
const REJECTED_INTERVAL: Duration = Duration::from_mins(1);

/// Credentials of all requests of a command.
#[derive(Clone)]
pub(super) struct Credentials(Arc<Shared>);

struct Shared {
    source: Source,
    identity: Option<IdentityFiles>,
    /// Describes the source for error messages, as `user "dev" of the kubeconfig`.
    description: String,
    /// Whether the credentials are for shell completion.
    is_completion: bool,
    terminal: AtomicU8,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    current: Option<Arc<Credential>>,
    expiry: Expiry,
    /// Time of the last renewal after a 401.
    renewed_at: Option<Instant>,
}

/// When a credential is obtained again without a 401.
#[derive(Clone, Copy, Default)]
enum Expiry {
    #[default]
    Never,
    At(Timestamp),
    After(Instant),
}

impl Expiry {
    fn is_over(self) -> bool {
        match self {
            Self::Never => false,
            Self::At(time) => Timestamp::now() > time,
            Self::After(time) => Instant::now() > time,
        }
    }
}

/// Credential of a request.
pub(super) struct Credential {
    /// Number of the credential among those of the command.
    generation: u64,
    pub(super) authorization: Option<HeaderValue>,
    /// Client certificate with its key.
    pub(super) identity: Option<Arc<Identity>>,
}

/// Use of the terminal by a credential plugin.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum TerminalUse {
    /// The plugin may prompt.
    #[default]
    Full,
    /// The plugin may print messages. Standard input belongs to another program.
    Messages,
    /// The plugin may neither prompt nor print.
    None,
}

impl Credentials {
    /// Creates the credentials of a user, without obtaining them. The home directory holds the cache
    /// for completion.
    ///
    /// # Errors
    /// Fails if the settings are invalid or not supported.
    pub(super) fn new(
        user: User,
        description: &str,
        cluster: ClusterInfo,
        terminal: TerminalUse,
        home: Option<PathBuf>,
    ) -> Result<Self, Error> {
        let identity = IdentityFiles::from_user(&user);
        let plugin = |exec| Plugin::new(exec, description, cluster, home);
        let source = Source::from_user(user, identity.is_some(), description, plugin)?;
        Ok(Self(Arc::new(Shared {
            source,
            identity,
            description: description.to_owned(),
            // Completion alone begins without the terminal.
            is_completion: terminal == TerminalUse::None,
            terminal: AtomicU8::new(terminal as u8),
            state: Mutex::default(),
        })))
    }

    /// Returns credentials that identify nobody.
    pub(super) fn none() -> Self {
        Self(Arc::new(Shared {
            source: Source::None,
            identity: None,
            description: String::new(),
            is_completion: false,
            terminal: AtomicU8::new(TerminalUse::None as u8),
            state: Mutex::default(),
        }))
    }

    /// Limits the use of the terminal from now on.
    pub(super) fn limit_terminal(&self, terminal: TerminalUse) {
        self.0.terminal.fetch_max(terminal as u8, Ordering::Relaxed);
    }

    /// Returns the scheme of the `Authorization` header, for the request log.
    pub(super) fn scheme(&self) -> Option<&'static str> {
        match &self.0.source {
            Source::None => None,
            Source::Fixed(value) if value.as_bytes().starts_with(b"Basic ") => Some("Basic"),
            Source::Fixed(_) | Source::TokenFile(..) | Source::Plugin(_) => Some("Bearer"),
        }
    }

    /// Returns the current credential, and obtains it first if there is none or if it expired.
    ///
    /// # Errors
    /// Fails if the credential cannot be obtained.
    pub(super) async fn current(&self) -> Result<Arc<Credential>, Error> {
        {
            let state = self.0.state.lock().await;
            if let Some(current) = state.valid() {
                return Ok(current);
            }
        }
        self.in_task(|shared| async move {
            let mut state = shared.state.lock().await;
            match state.valid() {
                Some(current) => Ok(current),
                None => shared.load(&mut state).await,
            }
        })
        .await
    }

    /// Obtains a credential in place of one that the server rejected.
    ///
    /// Returns `None` if there is no other, or if the last renewal was rejected a moment ago.
    ///
    /// # Errors
    /// Fails if the credential cannot be obtained.
    pub(super) async fn renew(
        &self,
        rejected: &Arc<Credential>,
    ) -> Result<Option<Arc<Credential>>, Error> {
        let rejected = Arc::clone(rejected);
        self.in_task(|shared| async move {
            let mut state = shared.state.lock().await;
            if let Some(current) = state.valid()
                && current.generation != rejected.generation
            {
                return Ok(Some(current));
            }
            let is_plugin = matches!(shared.source, Source::Plugin(_));
            let is_recent = |at: Instant| at.elapsed() < REJECTED_INTERVAL;
            if is_plugin && state.renewed_at.is_some_and(is_recent) {
                return Ok(None);
            }
            state.renewed_at = Some(Instant::now());
            let renewed = shared.load(&mut state).await?;
            Ok((renewed.generation != rejected.generation).then_some(renewed))
        })
        .await
    }

    /// Runs in a task of its own, so that a caller with a time limit doesn't end a plugin that
    /// waits for its user.
    async fn in_task<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        work: impl FnOnce(Arc<Shared>) -> F,
    ) -> Result<T, Error> {
        let task = tokio::spawn(work(Arc::clone(&self.0)));
        task.await.unwrap_or_else(|_| Err(Error::credentials("the program is ending")))
    }
}

impl State {
    fn valid(&self) -> Option<Arc<Credential>> {
        self.current.clone().filter(|_| !self.expiry.is_over())
    }
}

impl Shared {
    fn terminal(&self) -> TerminalUse {
        match self.terminal.load(Ordering::Relaxed) {
            0 => TerminalUse::Full,
            1 => TerminalUse::Messages,
            _ => TerminalUse::None,
        }
    }

    /// Obtains the credential from its source.
    async fn load(&self, state: &mut State) -> Result<Arc<Credential>, Error> {
        let mut identity = self.identity.as_ref().map(IdentityFiles::read).transpose()?;
        let mut expiry = Expiry::Never;
        let authorization = match &self.source {
            Source::None => None,
            Source::Fixed(value) => Some(value.clone()),
            Source::TokenFile(path, fallback) => {
                expiry = Expiry::After(Instant::now() + TOKEN_FILE_INTERVAL);
                let previous = state.current.as_ref();
                let previous = previous.and_then(|current| current.authorization.clone());
                Some(self.read_token(path, fallback.as_deref(), previous)?)
            }
            Source::Plugin(plugin) => {
                let answer = self.ask(plugin, state.current.is_none()).await?;
                if let Some(time) = answer.expires_at
                    // The clocks may differ, so the server decides about such an answer.
                    && time > Timestamp::now()
                {
                    expiry = Expiry::At(time);
                }
                identity = answer.identity.or(identity);
                let token = answer.token.as_deref();
                token.map(|token| bearer(token, plugin.description())).transpose()?
            }
        };
        state.expiry = expiry;
        let identity = identity.map(Arc::new);
        if let Some(current) = &state.current
            && current.authorization == authorization
            && current.identity == identity
        {
            return Ok(Arc::clone(current));
        }
        let generation = state.current.as_ref().map_or(0, |current| current.generation + 1);
        let credential = Arc::new(Credential { generation, authorization, identity });
        state.current = Some(Arc::clone(&credential));
        Ok(credential)
    }

    /// Runs a plugin. Completion, which must not delay the user, uses the last answer first.
    async fn ask(&self, plugin: &Plugin, is_first: bool) -> Result<Answer, Error> {
        #[cfg(unix)]
        if self.is_completion
            && is_first
            && let Some(answer) = plugin.cached(Timestamp::now())
        {
            return Ok(answer);
        }
        #[cfg(not(unix))]
        let _ = (self.is_completion, is_first);
        plugin.run(Stdin::detect(self.terminal()), self.terminal()).await
    }

    /// Reads the token of a file. As in client-go, the last token is used while the file cannot be
    /// read.
    fn read_token(
        &self,
        path: &str,
        fallback: Option<&str>,
        previous: Option<HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let of = |what: &str| format!("the token in {path} of {} {what}", self.description);
        let read = match std::fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => Err(of("is empty")),
            Ok(text) => Ok(text),
            Err(error) => Err(of(&format!("cannot be read: {error}"))),
        };
        match (read, previous, fallback) {
            (Ok(token), ..) => bearer(&token, &format!("{path} of {}", self.description)),
            (Err(_), Some(previous), _) => Ok(previous),
            (Err(_), None, Some(token)) => bearer(token, &self.description),
            (Err(reason), None, None) => Err(Error::credentials(reason)),
        }
    }
}

#[cfg(test)]
mod tests;
