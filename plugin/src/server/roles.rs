//! Roles and bindings, as far as this plugin reads them.

use http::Method;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Scope, Server, everywhere, wire::encoded};
use crate::error::{Error, RequestInfo, Verb};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// All the roles and bindings of a scope.
#[derive(Clone, Debug, Default)]
pub struct Everything {
    /// Roles of the cluster.
    pub cluster_roles: Vec<ClusterRole>,
    /// Roles of the scope's namespaces.
    pub roles: Vec<Role>,
    /// Bindings of the cluster.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// Bindings of the scope's namespaces.
    pub role_bindings: Vec<RoleBinding>,
}

impl Server {
    /// A ClusterRole, if there is one of that name.
    pub async fn cluster_role(&self, name: &str) -> Result<Option<Value>, Error> {
        self.maybe(None, &format!("{RBAC}/clusterroles/{}", encoded(name))).await
    }

    /// A ConfigMap, if there is one of that name.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let (place, name) = (encoded(namespace), encoded(name));
        let path = format!("/api/v1/namespaces/{place}/configmaps/{name}");
        self.maybe(Some(namespace), &path).await
    }

    /// All the roles and bindings that count in the scope.
    pub async fn roles(&self, scope: &Scope) -> Result<Everything, Error> {
        let namespaced = match scope.namespace() {
            Some(namespace) => format!("{RBAC}/namespaces/{}", encoded(namespace)),
            None => RBAC.to_owned(),
        };
        Ok(Everything {
            cluster_roles: self.all(None, &format!("{RBAC}/clusterroles")).await?,
            roles: self.all(Some(scope), &format!("{namespaced}/roles")).await?,
            cluster_role_bindings: self.all(None, &format!("{RBAC}/clusterrolebindings")).await?,
            role_bindings: self.all(Some(scope), &format!("{namespaced}/rolebindings")).await?,
        })
    }

    async fn all<T: DeserializeOwned>(
        &self,
        scope: Option<&Scope>,
        path: &str,
    ) -> Result<Vec<T>, Error> {
        let asked = RequestInfo {
            namespace: scope.and_then(Scope::namespace).map(ToOwned::to_owned),
            ..everywhere(Verb::List)
        };
        let items = self.pages(&asked, path, None).await?;
        let read = items.into_iter().map(serde_json::from_value);
        read.collect::<Result<_, _>>()
            .map_err(|error| Error::Unexpected { host: self.host.clone(), what: error.to_string() })
    }

    async fn maybe(&self, namespace: Option<&str>, path: &str) -> Result<Option<Value>, Error> {
        let asked =
            RequestInfo { namespace: namespace.map(ToOwned::to_owned), ..everywhere(Verb::Get) };
        match self.request(&asked, Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
