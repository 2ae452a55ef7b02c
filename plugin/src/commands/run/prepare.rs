//! Preparation of a command line: the properties of its session, and its configuration.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use mirrord_sessions_crds::{Client, SessionId, annotations};

use super::copy::{ConfigCopy, write_copy};
use crate::{
    cli::ConnectionOptions,
    run::{
        config::{AnnotationValue, Annotations, ConfiguredSession, Format, add_annotations},
        settings::{Flags, Settings, merge_settings},
        wrapped::{CONFIG_VARIABLE, Exec, Wrapped},
    },
};

/// Limit of a configuration file, in bytes.
const MAX_CONFIG: u64 = 1 << 20;
/// The variables that select mirrord's cluster, over its configuration.
const KUBECONFIG: &str = "MIRRORD_KUBECONFIG";
const KUBE_CONTEXT: &str = "MIRRORD_KUBE_CONTEXT";

/// The warning about a command line that starts mirrord with unknown options.
const UNKNOWN_TARGET: &str = "Warning: this command starts mirrord, and the target cannot be read from it: the session is recorded as targetless, and the run may be listed twice; --target names the target";

/// A command line with the properties of its session.
pub(super) struct Prepared<'a> {
    command: &'a [OsString],
    exec: Option<Exec>,
    config: Config,
    /// Variables that pass the cluster of the flags to mirrord.
    cluster_variables: Vec<(&'static str, OsString)>,
    pub(super) settings: Settings,
}

/// The command line and the variables to run instead.
pub(super) struct Derived {
    pub(super) command: Vec<OsString>,
    pub(super) variables: Vec<(&'static str, OsString)>,
    pub(super) warning: Option<String>,
    /// The copy is deleted on drop.
    _file: Option<ConfigCopy>,
}

/// The configuration of mirrord.
struct Config {
    /// The path; absent if there is no file.
    path: Option<PathBuf>,
    /// The text with its format, or the reason reason the file can't be used.
    text: Result<(Format, String), String>,
}

impl Config {
    fn empty() -> Self {
        Self { path: None, text: Ok((Format::Json, "{}".to_owned())) }
    }

    fn from_path(path: PathBuf) -> Self {
        let text = if path == Path::new("-") {
            Err("it is read from standard input".to_owned())
        } else {
            read(&path)
        };
        Self { path: Some(path), text }
    }

    /// Returns a warning if the file may select a cluster, and can't be parsed before mirrord renders
    /// its templates.
    fn warn_of_unknown_cluster(&self, flags: &Flags) -> Option<String> {
        let is_parsed = |(format, text): &(Format, String)| format.parse(text).is_ok();
        let selects = |name: &str, flag: &Option<String>| {
            let is_named = |(_, text): &(Format, String)| text.contains(name);
            flag.is_none() && self.text.as_ref().is_ok_and(is_named)
        };
        let is_unknown = !self.text.as_ref().is_ok_and(is_parsed)
            && (selects("kubeconfig", &flags.kubeconfig)
                || selects("kube_context", &flags.context));
        is_unknown.then(|| {
            "Warning: the configuration of mirrord names a kubeconfig or context, and cannot be read before mirrord renders it: recording on the current cluster; --kubeconfig and --context say otherwise".to_owned()
        })
    }

    fn session_properties(&self) -> Result<ConfiguredSession, &str> {
        let (format, text) = self.text.as_ref().map_err(String::as_str)?;
        // A parse error is reported when the file is extended.
        Ok(format
            .parse(text)
            .map(|config| ConfiguredSession::from_config(&config))
            .unwrap_or_default())
    }
}

fn read(path: &Path) -> Result<(Format, String), String> {
    let format = Format::from_path(path)
        .ok_or_else(|| "its name does not end in .json, .toml, .yaml or .yml".to_owned())?;
    let mut text = String::new();
    let read =
        File::open(path).and_then(|file| file.take(MAX_CONFIG + 1).read_to_string(&mut text));
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read > MAX_CONFIG) => {
            Err("it is longer than 1 MiB".to_owned())
        }
        Ok(_) => Ok((format, text)),
        Err(error) => Err(error.to_string()),
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn new(
        command: &'a [OsString],
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let wrapped = Wrapped::find(command);
        let is_unknown = wrapped == Wrapped::Unknown;
        let exec = match wrapped {
            Wrapped::Exec(exec) => Some(exec),
            Wrapped::Other | Wrapped::Unknown => None,
        };
        let variable = |name: &str| {
            let set = exec.as_ref().and_then(|exec| exec.variable(name));
            set.map(ToOwned::to_owned).or_else(|| variable(name))
        };
        let path = exec.as_ref().and_then(|exec| {
            let flag = exec.config().map(Path::to_owned);
            flag.or_else(|| variable(CONFIG_VARIABLE).map(PathBuf::from))
        });
        let config = path
            .filter(|path| !path.as_os_str().is_empty())
            .map_or_else(Config::empty, Config::from_path);
        let configured = config.session_properties().unwrap_or_default();
        let mut settings = merge_settings(flags, exec.as_ref(), variable, &configured);
        if is_unknown && flags.target.is_none() {
            settings.warnings.push(UNKNOWN_TARGET.to_owned());
        }
        settings.warnings.extend(config.warn_of_unknown_cluster(flags));
        let mut cluster_variables = Vec::new();
        if exec.is_some() {
            let flags = [(KUBECONFIG, &flags.kubeconfig), (KUBE_CONTEXT, &flags.context)];
            let non_empty = |value: &&String| !value.is_empty();
            cluster_variables.extend(flags.into_iter().filter_map(|(name, value)| {
                Some((name, value.as_ref().filter(non_empty)?.into()))
            }));
        }
        Self { command, exec, config, cluster_variables, settings }
    }

    /// Returns a warning if flags select a server that mirrord doesn't know.
    pub(super) fn warn_of_other_server(&self, connection: &ConnectionOptions) -> Option<String> {
        let flags = [("--server", &connection.server), ("--cluster", &connection.cluster)];
        let is_set = |flag: &Option<String>| flag.as_ref().is_some_and(|flag| !flag.is_empty());
        let flags = flags.iter().filter(|(_, value)| is_set(value));
        let names: Vec<&str> = flags.map(|(name, _)| *name).collect();
        (self.exec.is_some() && !names.is_empty()).then(|| {
            format!(
                "Warning: mirrord does not get {}, and its run may be on another cluster than its session: use --context",
                names.join(" and ")
            )
        })
    }

    /// Returns the command line with a configuration that names the session, if it is a `mirrord
    /// exec`.
    pub(super) fn derive(&self, id: &SessionId, client: Option<&Client>) -> Derived {
        let unchanged = |warning| Derived {
            command: self.command.to_vec(),
            variables: self.cluster_variables.clone(),
            warning,
            _file: None,
        };
        let Some(exec) = &self.exec else {
            return unchanged(None);
        };
        let annotations = self.annotations(id, client);
        let written = self.config.text.clone().and_then(|(format, text)| {
            let text = add_annotations(&text, format, &annotations)?;
            let file = write_copy(format.extension(), &text).map_err(|error| error.to_string())?;
            Ok((exec.with_config(self.command, &file.path)?, file))
        });
        match written {
            Ok((command, file)) => Derived {
                command,
                variables: [(CONFIG_VARIABLE, file.path.to_path_buf().into())]
                    .into_iter()
                    .chain(self.cluster_variables.clone())
                    .collect(),
                warning: None,
                _file: Some(file),
            },
            Err(reason) => {
                let path = self.config.path.as_deref().unwrap_or(Path::new("it"));
                unchanged(Some(format!(
                    "Warning: mirrord receives {} unchanged ({reason}): its agent cannot name the session, so the run may be listed twice",
                    path.display()
                )))
            }
        }
    }

    fn annotations(&self, id: &SessionId, client: Option<&Client>) -> Annotations {
        let client = client.cloned().unwrap_or_default();
        let key = self.settings.key.clone();
        let values = [
            (annotations::USERNAME, client.username.map(AnnotationValue::Text)),
            (annotations::HOSTNAME, client.hostname.map(AnnotationValue::Text)),
            // Without a chosen key, mirrord generates one.
            (annotations::KEY, Some(key.map_or(AnnotationValue::Key, AnnotationValue::Text))),
            (annotations::TARGET, Some(AnnotationValue::Text(self.settings.target.clone()))),
            (annotations::SESSION_NAME, Some(AnnotationValue::Text(id.name().to_owned()))),
        ];
        let values = values.into_iter();
        values.filter_map(|(name, value)| Some((name, value?))).collect()
    }
}
