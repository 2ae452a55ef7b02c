//! Requests about the sessions of mirrord's own operator, which has an API of its own.

use http::Method;
use mirrord_sessions_crds::{GROUP, SessionId};
use serde_json::{Value, json};

use super::{
    client::Server,
    options::{DeleteOptions, Effect, ListOptions, Scope, cluster_request, scope_request},
    pages::set_kind,
    source::Source,
};
use crate::{
    error::{ApiError, Error, RequestInfo, Status, Verb},
    session::strip_operator_prefix,
};

impl Server {
    /// Returns the sessions that match the options.
    pub(super) async fn operator_sessions(
        &self,
        options: &ListOptions,
    ) -> Result<Vec<Value>, Error> {
        if options.labels.is_some() {
            return Err(Error::setup(
                "the sessions of mirrord's operator have no labels: select without -l",
            ));
        }
        let info = scope_request(Verb::List, &options.scope);
        let path = Source::Operator.path(&options.scope, None);
        let mut items = match self.list_objects(&info, &path, options.fields.as_deref()).await {
            Ok(items) => items,
            // Older operators do not serve a list, and some roles may only read the operator's
            // status.
            Err(error)
                if error
                    .api_error()
                    .is_some_and(|api_error| [403, 404, 405].contains(&api_error.status.code)) =>
            {
                let is_forbidden =
                    error.api_error().is_some_and(|api_error| api_error.status.code == 403);
                // If the status is not readable either, report the missing right to list.
                self.operator_status_sessions()
                    .await
                    .map_err(|status_error| if is_forbidden { error } else { status_error })?
            }
            Err(error) => return Err(error),
        };
        set_kind(&mut items, &Source::Operator.kind());
        items.retain(|item| is_in_scope(item, &options.scope));
        if let Some(selector) = &options.fields {
            let conditions = parse_field_selector(selector)?;
            items.retain(|item| conditions.iter().all(|condition| condition.matches(item)));
        }
        Ok(items)
    }

    /// Returns the sessions in the status of the operator.
    async fn operator_status_sessions(&self) -> Result<Vec<Value>, Error> {
        let path = format!("/apis/{GROUP}/v1/mirrordoperators/operator");
        let operator: Value =
            self.request(&cluster_request(Verb::Get), Method::GET, &path, None).await?;
        let sessions =
            operator.pointer("/status/sessions").and_then(Value::as_array).ok_or_else(|| {
                Error::setup(
                    "the status of mirrord's operator lists no sessions: is the operator running?",
                )
            })?;
        Ok(sessions.iter().map(session_object).collect())
    }

    /// Deletes a session through the operator.
    pub(super) async fn delete_operator_session(
        &self,
        namespace: &str,
        id: &SessionId,
        options: &DeleteOptions<'_>,
    ) -> Result<(), Error> {
        // IDs of the operator are not namespaced, so check that the session is in the namespace. A
        // requester without the right to read sessions skips the check.
        if !namespace.is_empty() {
            match self.session(namespace, id).await {
                Err(error) if !error.api_error().is_some_and(ApiError::is_rbac) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        let Some(number) = numeric_id(id.name()) else {
            return Err(Error::Unaddressable { id: id.clone() });
        };
        let info = RequestInfo {
            verb: Verb::Delete,
            namespace: Some(namespace.to_owned()).filter(|name| !name.is_empty()),
            id: Some(id.clone()),
        };
        let path = Source::Operator.path(&Scope::All, Some(&number.to_string()));
        self.delete_path(info, &path, options).await
    }

    /// Deletes all sessions of the cluster, the only collection that the operator can delete.
    pub async fn delete_all_operator_sessions(
        &self,
        options: &DeleteOptions<'_>,
    ) -> Result<(), Error> {
        let path = Source::Operator.path(&Scope::All, None);
        self.delete_path(cluster_request(Verb::DeleteCollection), &path, options).await
    }

    async fn delete_path(
        &self,
        info: RequestInfo,
        path: &str,
        options: &DeleteOptions<'_>,
    ) -> Result<(), Error> {
        // The operator is not documented to honour `dryRun`. If it ignores it, a dry run deletes
        // the session.
        if options.effect == Effect::DryRun {
            return Err(Error::setup(
                "mirrord's operator is not known to support server-side dry runs: use --dry-run=client",
            ));
        }
        // The operator's sessions have no UIDs, so the precondition does not apply.
        let body = DeleteOptions { uid: None, ..*options }.to_body();
        let response: Value = self
            .request(&info, Method::DELETE, path, Some(&body))
            .await
            .map_err(|error| self.route_error(&info, error))?;
        // The operator may report a failure in the body of a successful response.
        if response["kind"] == "Status" && response["status"] == "Failure" {
            let code = response["code"].as_u64().and_then(|code| code.try_into().ok());
            let failure = Status::read(code.unwrap_or(500), response.to_string().as_bytes());
            let error = self.api_error(info.clone(), failure);
            return Err(self.route_error(&info, error));
        }
        Ok(())
    }

    /// Converts a 404 of a missing API route to the error that fits an existing operator.
    ///
    /// Either the session does not exist, or this version of the operator cannot delete sessions.
    fn route_error(&self, info: &RequestInfo, error: Error) -> Error {
        let Some(api_error) = error.api_error().filter(|api_error| api_error.is_not_installed())
        else {
            return error;
        };
        // mirrord uses the same condition to detect a missing route.
        let has_route = api_error.status.is_status && !api_error.status.reason.contains("parse");
        match &info.id {
            Some(id) if has_route => self.api_error(info.clone(), Status::not_found(id)),
            _ => Error::setup(
                "this version of mirrord's operator cannot stop sessions: ask an administrator to upgrade it",
            ),
        }
    }
}

/// Converts a session of the operator's status to the form that lists have.
fn session_object(session: &Value) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "Session",
        "metadata": { "name": session["id"], "namespace": session["namespace"] },
        "spec": { "session": session },
    })
}

/// Returns the number by which the operator's API identifies the session.
fn numeric_id(id: &str) -> Option<u64> {
    let digits = strip_operator_prefix(id);
    let is_hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}

fn is_in_scope(item: &Value, scope: &Scope) -> bool {
    let namespace = item.pointer("/spec/session/namespace");
    match scope {
        Scope::All => true,
        Scope::Namespace(name) => namespace.and_then(Value::as_str) == Some(name),
    }
}

/// Condition of a field selector.
///
/// The operator evaluates few conditions and ignores the others.
struct FieldCondition<'a> {
    pointer: String,
    value: &'a str,
    is_equality: bool,
}

impl FieldCondition<'_> {
    fn matches(&self, item: &Value) -> bool {
        let value = item.pointer(&self.pointer).and_then(Value::as_str);
        (value.unwrap_or_default() == self.value) == self.is_equality
    }
}

fn parse_field_selector(selector: &str) -> Result<Vec<FieldCondition<'_>>, Error> {
    let parts = selector.split(',').filter(|part| !part.is_empty());
    let conditions = parts.map(|part| {
        let (path, value, is_equality) = split_condition(part).ok_or_else(|| {
            Error::setup(format!("invalid selector: '{selector}'; can't understand '{part}'"))
        })?;
        let pointer = format!("/{}", path.replace('.', "/"));
        Ok(FieldCondition { pointer, value, is_equality })
    });
    conditions.collect()
}

fn split_condition(part: &str) -> Option<(&str, &str, bool)> {
    if let Some((path, value)) = part.split_once("!=") {
        return Some((path, value, false));
    }
    let (path, value) = part.split_once('=')?;
    Some((path, value.strip_prefix('=').unwrap_or(value), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_ids_as_numbers() {
        let cases = [
            ("b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("mc-b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("mc-copy-b537fef3e6b4042d", Some(0xb537_fef3_e6b4_042d)),
            ("ff", Some(0xff)),
            ("", None),
            ("mc-", None),
            ("+1", None),
            ("nonsense", None),
            ("11111111111111111", None),
        ];
        for (id, expected) in cases {
            assert_eq!(numeric_id(id), expected, "{id:?}");
        }
    }

    #[test]
    fn evaluates_field_selectors() {
        let item = json!({ "spec": { "session": { "key": "avi", "target": "deployment/a" } } });
        let cases = [
            ("spec.session.key=avi", Some(true)),
            ("spec.session.key==bob", Some(false)),
            ("spec.session.key!=bob,spec.session.target=deployment/a", Some(true)),
            ("spec.session.nothing=", Some(true)),
            ("", Some(true)),
            ("nonsense", None),
        ];
        for (selector, expected) in cases {
            let conditions = parse_field_selector(selector).ok();
            let matches =
                conditions.map(|all| all.iter().all(|condition| condition.matches(&item)));
            assert_eq!(matches, expected, "{selector:?}");
        }
    }
}
