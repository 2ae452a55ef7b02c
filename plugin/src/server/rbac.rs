//! Requests about roles, bindings and ConfigMaps.

use http::Method;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{
    client::Server,
    options::{Scope, cluster_request},
    url::encode,
};
use crate::error::{Error, RequestInfo, Verb};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";

/// Roles and bindings that apply to a scope.
#[derive(Clone, Debug, Default)]
pub struct RbacObjects {
    /// ClusterRoles of the cluster.
    pub cluster_roles: Vec<ClusterRole>,
    /// Roles in the namespaces of the scope.
    pub roles: Vec<Role>,
    /// ClusterRoleBindings of the cluster.
    pub cluster_role_bindings: Vec<ClusterRoleBinding>,
    /// RoleBindings in the namespaces of the scope.
    pub role_bindings: Vec<RoleBinding>,
}

impl Server {
    /// Returns a ClusterRole, or `None` if it does not exist.
    pub async fn cluster_role(&self, name: &str) -> Result<Option<Value>, Error> {
        self.get_optional(None, &format!("{RBAC}/clusterroles/{}", encode(name))).await
    }

    /// Returns a ConfigMap, or `None` if it does not exist.
    pub async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Value>, Error> {
        let path = format!("/api/v1/namespaces/{}/configmaps/{}", encode(namespace), encode(name));
        self.get_optional(Some(namespace), &path).await
    }

    /// Returns all roles and bindings that apply to the scope.
    pub async fn rbac_objects(&self, scope: &Scope) -> Result<RbacObjects, Error> {
        let namespaced = match scope.namespace() {
            Some(namespace) => format!("{RBAC}/namespaces/{}", encode(namespace)),
            None => RBAC.to_owned(),
        };
        let cluster_role_bindings = format!("{RBAC}/clusterrolebindings");
        Ok(RbacObjects {
            cluster_roles: self.list_typed(None, &format!("{RBAC}/clusterroles")).await?,
            roles: self.list_typed(Some(scope), &format!("{namespaced}/roles")).await?,
            cluster_role_bindings: self.list_typed(None, &cluster_role_bindings).await?,
            role_bindings: self
                .list_typed(Some(scope), &format!("{namespaced}/rolebindings"))
                .await?,
        })
    }

    async fn list_typed<T: DeserializeOwned>(
        &self,
        scope: Option<&Scope>,
        path: &str,
    ) -> Result<Vec<T>, Error> {
        let info = RequestInfo {
            namespace: scope.and_then(Scope::namespace).map(ToOwned::to_owned),
            ..cluster_request(Verb::List)
        };
        let items = self.list_objects(&info, path, None).await?;
        let typed = items.into_iter().map(serde_json::from_value);
        typed
            .collect::<Result<_, _>>()
            .map_err(|error| Error::Unexpected { host: self.host.clone(), what: error.to_string() })
    }

    async fn get_optional(
        &self,
        namespace: Option<&str>,
        path: &str,
    ) -> Result<Option<Value>, Error> {
        let info = RequestInfo {
            namespace: namespace.map(ToOwned::to_owned),
            ..cluster_request(Verb::Get)
        };
        match self.request(&info, Method::GET, path, None).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
