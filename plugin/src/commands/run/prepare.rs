//! A command line before it is run: what it says of its session, and the configuration it gets.

use std::{
    ffi::OsString,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use mirrord_sessions_crds::{Client, SessionId, annotations};

use super::copy::{Copy, write};
use crate::run::{
    config::{Annotations, Format, Named, Word, annotated},
    settings::{Flags, Settings, settings},
    wrapped::Exec,
};

/// The largest configuration file that is read.
const LARGEST: u64 = 1 << 20;
/// The variable by which mirrord is told of its configuration file.
const CONFIG_FILE: &str = "MIRRORD_CONFIG_FILE";

/// A command line, and what it says of its session.
pub(super) struct Prepared<'a> {
    command: &'a [OsString],
    exec: Option<Exec>,
    config: Config,
    pub(super) settings: Settings,
}

/// What is run instead of a command line, beside these variables.
pub(super) struct Derived {
    pub(super) command: Vec<OsString>,
    pub(super) variables: Vec<(&'static str, OsString)>,
    pub(super) warning: Option<String>,
    /// Deleted with this.
    _file: Option<Copy>,
}

/// mirrord's configuration.
struct Config {
    /// None if there is no file.
    path: Option<PathBuf>,
    /// Why it can't be used otherwise.
    text: Result<(Format, String), String>,
}

impl Config {
    fn none() -> Self {
        Self { path: None, text: Ok((Format::Json, "{}".to_owned())) }
    }

    fn at(path: PathBuf) -> Self {
        let text = if path == Path::new("-") {
            Err("it is read from standard input".to_owned())
        } else {
            read(&path)
        };
        Self { path: Some(path), text }
    }

    fn named(&self) -> Result<Named, &str> {
        let (format, text) = self.text.as_ref().map_err(String::as_str)?;
        // What is in the way of reading it is told when it is written on.
        Ok(format.parse(text).map(|config| Named::of(&config)).unwrap_or_default())
    }
}

fn read(path: &Path) -> Result<(Format, String), String> {
    let format = Format::of(path)
        .ok_or_else(|| "its name does not end in .json, .toml, .yaml or .yml".to_owned())?;
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_string(&mut text));
    match read {
        Ok(read) if u64::try_from(read).is_ok_and(|read| read > LARGEST) => {
            Err("it is longer than 1 MiB".to_owned())
        }
        Ok(_) => Ok((format, text)),
        Err(error) => Err(error.to_string()),
    }
}

impl<'a> Prepared<'a> {
    pub(super) fn of(
        command: &'a [OsString],
        flags: &Flags,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let exec = Exec::of(command);
        let path = exec.as_ref().and_then(|exec| {
            let flag = exec.config().map(Path::to_owned);
            flag.or_else(|| variable(CONFIG_FILE).map(PathBuf::from))
        });
        let config =
            path.filter(|path| !path.as_os_str().is_empty()).map_or_else(Config::none, Config::at);
        let named = config.named().unwrap_or_default();
        let settings = settings(flags, exec.as_ref(), variable, &named);
        Self { command, exec, config, settings }
    }

    /// The command line with a configuration that names the session, if it is a `mirrord exec`.
    pub(super) fn derive(&self, id: &SessionId, client: Option<&Client>) -> Derived {
        let as_it_is = |warning| Derived {
            command: self.command.to_vec(),
            variables: Vec::new(),
            warning,
            _file: None,
        };
        let Some(exec) = &self.exec else {
            return as_it_is(None);
        };
        let annotations = self.annotations(id, client);
        let written = self.config.text.clone().and_then(|(format, text)| {
            let text = annotated(&text, format, &annotations)?;
            write(format.extension(), &text).map_err(|error| error.to_string())
        });
        match written {
            Ok(file) => Derived {
                command: exec.with_config(self.command, &file.path),
                variables: vec![(CONFIG_FILE, file.path.to_path_buf().into())],
                warning: None,
                _file: Some(file),
            },
            Err(why) => {
                let path = self.config.path.as_deref().unwrap_or(Path::new("it"));
                as_it_is(Some(format!(
                    "Warning: mirrord gets {} as it is ({why}): its agent cannot name the session, so the run may be listed twice",
                    path.display()
                )))
            }
        }
    }

    fn annotations(&self, id: &SessionId, client: Option<&Client>) -> Annotations {
        let client = client.cloned().unwrap_or_default();
        let key = self.settings.key.clone();
        let words = [
            (annotations::USERNAME, client.username.map(Word::Text)),
            (annotations::HOSTNAME, client.hostname.map(Word::Text)),
            // Where nobody chose one, mirrord does.
            (annotations::KEY, Some(key.map_or(Word::Key, Word::Text))),
            (annotations::TARGET, Some(Word::Text(self.settings.target.clone()))),
            (annotations::SESSION_NAME, Some(Word::Text(id.name().to_owned()))),
        ];
        let words = words.into_iter();
        words.filter_map(|(name, word)| Some((name, word?))).collect()
    }
}
