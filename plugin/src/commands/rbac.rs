//! The command `rbac who-can`.

use serde_json::json;

use super::scope;
use crate::{
    cli::{
        auditor::ObjectFormat,
        rbac::{RbacCommand, WhoCanArgs},
    },
    console::Console,
    error::Error,
    rbac::{Right, who_can},
    render::{columns, escape::visible, output},
    server::{Scope, Server},
};

pub(super) async fn run(
    server: &Server,
    command: &RbacCommand,
    console: &mut Console<'_>,
) -> Result<(), Error> {
    let RbacCommand::WhoCan(args) = command;
    let scope = scope(server, args.namespaces);
    let rights = who_can(args.what, &server.rbac_objects(&scope).await?);
    if args.output.is_none() {
        let place = match &scope {
            Scope::All => "in any namespace".to_owned(),
            Scope::Namespace(name) => format!("in namespace {name}"),
        };
        if rights.is_empty() {
            console.say(&format!("No user may {} sessions {place}.", args.what.name()));
        }
        console.print(&render_columns(&rights))?;
        // Members of system:masters bypass RBAC and have no binding.
        console
            .say("Members of group system:masters may do everything, whatever the bindings say.");
        return Ok(());
    }
    console.print(&render_object(&rights, *args, &scope)?)
}

fn render_columns(rights: &[Right]) -> String {
    let header = ["KIND", "SUBJECT", "MAY", "ONLY", "NAMESPACE", "BINDING", "ROLE"];
    let mut rows = vec![header.map(ToOwned::to_owned).to_vec()];
    rows.extend(rights.iter().map(|right| {
        let only = match right.only.as_slice() {
            [] => "<all>".to_owned(),
            names => names.join(","),
        };
        [
            &right.kind,
            &right.name,
            &right.may,
            &only,
            right.namespace.as_deref().unwrap_or("<all>"),
            &right.binding,
            &right.role,
        ]
        .map(|cell| visible(cell).into_owned())
        .to_vec()
    }));
    if rights.is_empty() {
        return String::new();
    }
    columns::kubectl_get(&rows)
}

fn render_object(rights: &[Right], args: WhoCanArgs, scope: &Scope) -> Result<String, Error> {
    let mut value = json!({ "who": rights, "can": args.what.name() });
    if let Some(namespace) = scope.namespace() {
        value["namespace"] = namespace.into();
    }
    let format = match args.output {
        Some(ObjectFormat::Json) => output::Format::Json,
        _ => output::Format::Yaml,
    };
    output::render(&value, format).map_err(Error::Output)
}
