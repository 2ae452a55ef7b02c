//! Table of kubeconfigs. The words in capitals are placeholders.

/// Case of the table.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) cluster: &'static str,
    pub(super) user: &'static str,
    /// Rest of the kubeconfig.
    pub(super) rest: &'static str,
    /// Whether kubectl lists the session.
    pub(super) kubectl: bool,
    /// Part of the plugin's error message, or an empty text if it lists the session.
    pub(super) error: &'static str,
}

const CA: &str = "server: URL, certificate-authority-data: CA_DATA";
const TOKEN: &str = "token: TOKEN";
/// Version and mode of a plugin.
pub(super) const V1: &str = "apiVersion: client.authentication.k8s.io/v1, interactiveMode: Never";

const fn ok(name: &'static str, cluster: &'static str, user: &'static str) -> Case {
    Case { name, cluster, user, rest: "", kubectl: true, error: "" }
}

/// Case that works here, and not with kubectl.
const fn better(name: &'static str, cluster: &'static str, user: &'static str) -> Case {
    Case { kubectl: false, ..ok(name, cluster, user) }
}

const fn fails(
    name: &'static str,
    cluster: &'static str,
    user: &'static str,
    error: &'static str,
) -> Case {
    Case { error, ..better(name, cluster, user) }
}

/// Case with further settings or entries in the file.
const fn with(rest: &'static str, case: Case) -> Case {
    Case { rest, ..case }
}

/// Kubeconfigs, as tests of client-go and its documentation have them.
pub(super) const CASES: [Case; 50] = [
    ok("a token", CA, TOKEN),
    ok(
        "client certificate as data",
        CA,
        "client-certificate-data: CERT_DATA, client-key-data: KEY_DATA",
    ),
    ok(
        "relative files",
        "server: URL, certificate-authority: ca.crt",
        "client-certificate: client.crt, client-key: ./client.key",
    ),
    ok("authority with comments", "server: URL, certificate-authority: commented.crt", TOKEN),
    ok("data with line breaks", "server: URL, certificate-authority-data: \"CA_LINES\"", TOKEN),
    ok("token file with a line break", CA, "tokenFile: token"),
    ok("token file over token", CA, "token: wrong, tokenFile: token"),
    ok("token over a missing token file", CA, "token: TOKEN, tokenFile: missing"),
    fails("missing token file", CA, "tokenFile: missing", "cannot be read"),
    fails("wrong token", CA, "token: wrong", "the credentials of user \"u\" of the kubeconfig"),
    fails("token with a line break within", CA, "token: \"a\\nb\"", "contains a line break"),
    better("token with a final line break", CA, "token: \"TOKEN\\n\""),
    fails(
        "user name and password",
        CA,
        "username: a, password: b",
        "You must be logged in to the server",
    ),
    fails(
        "token and password",
        CA,
        "token: TOKEN, username: a, password: b",
        "more than one authentication method",
    ),
    ok("plugin", CA, "exec: {V1, command: ./login, args: [token]}"),
    ok("plugin on the path", CA, "exec: {V1, command: login, args: [token]}"),
    ok(
        "plugin v1beta1",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: ./login, args: [token, v1beta1]}",
    ),
    better(
        "plugin v1alpha1",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1alpha1, command: ./login, args: [token, v1alpha1]}",
    ),
    better(
        "plugin without interactiveMode",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, args: [token]}",
    ),
    ok(
        "plugin with IfAvailable and no terminal",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: IfAvailable, command: ./login, args: [token]}",
    ),
    fails(
        "plugin with Always and no terminal",
        CA,
        "exec: {apiVersion: client.authentication.k8s.io/v1, interactiveMode: Always, command: ./login, args: [token]}",
        "standard input is not a terminal",
    ),
    fails(
        "plugin of another version",
        CA,
        "exec: {V1, command: ./login, args: [token, v1beta1]}",
        "is configured to use API version",
    ),
    ok(
        "plugin with variables",
        CA,
        "exec: {V1, command: ./login, args: [env], env: [{name: LOGIN_TOKEN, value: TOKEN}]}",
    ),
    ok(
        "plugin with cluster",
        "server: URL, certificate-authority-data: CA_DATA, extensions: [{name: client.authentication.k8s.io/exec, extension: {audience: a}}]",
        "exec: {V1, command: ./login, args: [cluster], provideClusterInfo: true}",
    ),
    fails(
        "plugin without cluster",
        CA,
        "exec: {V1, command: ./login, args: [cluster]}",
        "failed with exit code 1",
    ),
    ok("plugin with certificate", CA, "exec: {V1, command: ./login, args: [certificate]}"),
    ok("plugin with an expired answer", CA, "exec: {V1, command: ./login, args: [expired]}"),
    better("plugin with a final line break", CA, "exec: {V1, command: ./login, args: [newline]}"),
    fails("plugin that fails", CA, "exec: {V1, command: ./login}", "failed with exit code 7"),
    fails(
        "missing plugin",
        CA,
        "exec: {V1, command: no-such-login, installHint: brew install it}",
        "\"no-such-login\" of user \"u\" of the kubeconfig is not installed: the command was not found: brew install it",
    ),
    ok(
        "certificate over plugin",
        CA,
        "client-certificate: client.crt, client-key: client.key, exec: {V1, command: no-such-login}",
    ),
    fails(
        "removed provider",
        CA,
        "auth-provider: {name: gcp, config: null}",
        "use the credential plugin \"gke-gcloud-auth-plugin\"",
    ),
    ok("impersonation", CA, "client-certificate: admin.crt, client-key: admin.key, as: DEV"),
    ok(
        "impersonation with groups",
        CA,
        "client-certificate: admin.crt, client-key: admin.key, as: x, as-groups: ['system:masters'], as-uid: '7', as-user-extra: {'example.com/a b': [c, d]}",
    ),
    fails("impersonation without rights", CA, "token: TOKEN, as: x", "cannot impersonate"),
    fails(
        "groups without user",
        CA,
        "token: TOKEN, as-groups: [x]",
        "without impersonating a user",
    ),
    ok("no verification", "server: URL, insecure-skip-tls-verify: true", TOKEN),
    ok(
        "no verification in the words of YAML 1.1",
        "server: URL, insecure-skip-tls-verify: yes",
        TOKEN,
    ),
    ok(
        "server name",
        "server: URL, certificate-authority-data: CA_DATA, tls-server-name: localhost",
        TOKEN,
    ),
    fails(
        "wrong server name",
        "server: URL, certificate-authority-data: CA_DATA, tls-server-name: example.com",
        TOKEN,
        "is not valid (it is for ",
    ),
    ok("own certificate as authority", "server: URL, certificate-authority: apiserver.crt", TOKEN),
    fails(
        "other authority",
        "server: URL, certificate-authority: client.crt",
        TOKEN,
        "is signed by an unknown authority",
    ),
    fails(
        "authority that is none",
        "server: URL, certificate-authority: token",
        TOKEN,
        "contains no certificate",
    ),
    better(
        "data and file",
        "server: URL, certificate-authority-data: CA_DATA, certificate-authority: ca.crt",
        TOKEN,
    ),
    ok(
        "slash, compression and unknown fields",
        "server: URL/, certificate-authority-data: CA_DATA, disable-compression: true, new: {a: 1}",
        "token: TOKEN, new: [1]",
    ),
    better("server without scheme", "server: 'HOST', certificate-authority-data: CA_DATA", TOKEN),
    fails(
        "dead proxy",
        "server: 'https://example.invalid', proxy-url: 'http://127.0.0.1:1', certificate-authority-data: CA_DATA",
        TOKEN,
        "the proxy http://127.0.0.1:1 refused the connection",
    ),
    with(
        "extensions: [{name: x, extension: {a: 1}}]\npreferences: {colors: true}\nbase: &base {server: URL}\n",
        ok("anchors and extensions", "<<: *base, certificate-authority-data: CA_DATA", TOKEN),
    ),
    with("ODD", ok("odd entries that are not used", CA, TOKEN)),
    with("WRONG", better("entries of the wrong type that are not used", CA, TOKEN)),
];
