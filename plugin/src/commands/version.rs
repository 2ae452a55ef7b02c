//! The command `version` of plugin and cluster.

use mirrord_sessions_crds::GROUP;
use serde_json::{Value, json};

use crate::{
    cli::ConnectionOptions,
    cli::version::{VersionArgs, VersionFormat},
    console::Console,
    error::Error,
    render::{
        escape::visible,
        output::{self, Format},
    },
    server::Server,
};

/// The versions of the cluster.
struct Cluster {
    version: Value,
    has_sessions: bool,
}

pub(super) async fn run(
    args: VersionArgs,
    connection: &ConnectionOptions,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let (cluster, failure) = if args.client {
        (None, None)
    } else {
        // The plugin's own version is printed even if the cluster is unreachable.
        match get_cluster(connection).await {
            Ok(cluster) => (Some(cluster), None),
            Err(error) => (None, Some(error)),
        }
    };
    console.print(&render(cluster.as_ref(), args.output)?)?;
    failure.map_or(Ok(()), Err)
}

async fn get_cluster(connection: &ConnectionOptions) -> Result<Cluster, Error> {
    let server = Server::connect(connection).await?;
    Ok(Cluster { version: server.version().await?, has_sessions: server.serves_sessions().await? })
}

fn render(cluster: Option<&Cluster>, format: Option<VersionFormat>) -> Result<String, Error> {
    let print_object = |format| output::render(&to_object(cluster), format).map_err(Error::Output);
    match format {
        Some(VersionFormat::Json) => print_object(Format::Json),
        Some(VersionFormat::Yaml) => print_object(Format::Yaml),
        None => Ok(render_text(cluster)),
    }
}

fn render_text(cluster: Option<&Cluster>) -> String {
    let client = format!("Client Version: {}\n", plugin_version());
    let Some(cluster) = cluster else {
        return client;
    };
    let version = cluster.version["gitVersion"].as_str().unwrap_or("<unknown>");
    let sessions =
        if cluster.has_sessions { format!("{GROUP}/v1") } else { "<not installed>".to_owned() };
    format!("{client}Server Version: {}\nSessions: {sessions}\n", visible(version))
}

fn to_object(cluster: Option<&Cluster>) -> Value {
    let mut value = json!({ "clientVersion": { "gitVersion": plugin_version() } });
    if let Some(cluster) = cluster {
        value["serverVersion"] = cluster.version.clone();
        value["sessions"] = json!({
            "apiVersion": format!("{GROUP}/v1"),
            "installed": cluster.has_sessions,
        });
    }
    value
}

fn plugin_version() -> &'static str {
    concat!("v", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(has_sessions: bool) -> Cluster {
        Cluster { version: json!({ "gitVersion": "v1.36.3" }), has_sessions }
    }

    #[test]
    fn as_text() {
        let own = plugin_version();
        assert_eq!(render_text(None), format!("Client Version: {own}\n"));
        assert_eq!(
            render_text(Some(&cluster(true))),
            format!(
                "Client Version: {own}\nServer Version: v1.36.3\nSessions: operator.metalbear.co/v1\n"
            )
        );
        assert!(render_text(Some(&cluster(false))).ends_with("Sessions: <not installed>\n"));
    }

    #[test]
    fn renders_objects() {
        let text = render(Some(&cluster(true)), Some(VersionFormat::Json)).unwrap();
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["serverVersion"]["gitVersion"], "v1.36.3");
        assert_eq!(value["sessions"]["installed"], true);
        let text = render(None, Some(VersionFormat::Yaml)).unwrap();
        assert_eq!(text, format!("clientVersion:\n  gitVersion: {}\n", plugin_version()));
    }
}
