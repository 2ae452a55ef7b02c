//! The webhook process: serves admission and the aggregated API to the API server, and runs the
//! controller.
//!
//! `mirrord-sessions-core` decides; this crate does the I/O around its decisions.

mod admission;
mod apiserver;
mod args;
mod auditor;
#[cfg(test)]
mod budgets;
mod certs;
mod clock;
mod controller;
mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
mod leader_election;
mod leader_tasks;
mod list_watch;
mod metrics;
mod probes;
mod redaction;
mod router;
mod server;
mod sessions;
mod stored_objects;
#[cfg(test)]
mod testing;

use std::{io::IsTerminal, net::SocketAddr, sync::Arc, time::Duration};

use admission::Admission;
use anyhow::anyhow;
use apiserver::{Api, front_proxy::FrontProxy};
pub use args::{Args, AuditorRole, Events, LogFormat};
use certs::{CertResolver, CertificateFiles, FILES_INTERVAL, FilesError, SelfSigned};
use futures::FutureExt;
use kube::Client;
use metrics::Metrics;
use mirrord_sessions_core::sessions::Tracker;
use probes::Probes;
use router::Router;
use server::{Server, client_certificates::server_config, health::Health};
use sessions::{
    EndedSessionStore, SessionWatch, Store, join_rights::JoinAuthorizer, policy_watch,
    targets::TargetLookup,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
};
use tracing::info;
use tracing_subscriber::{
    EnvFilter, filter::filter_fn, layer::SubscriberExt, util::SubscriberInitExt,
};

/// Limit for readiness to wait for trackers. Admission must not depend on trackers for longer.
const TRACKERS_GRACE: Duration = Duration::from_secs(15);

/// Serves until SIGTERM or SIGINT, then drains.
///
/// # Errors
/// Returns an error that keeps the process from serving, with its cause and the remedy in one line.
pub async fn run(args: Args) -> anyhow::Result<()> {
    start_logging(&args)?;
    auditor::validate(&args)?;
    let client = Client::try_default().await.map_err(|error| {
        anyhow!("no way to the API server; run inside a cluster, or with a kubeconfig: {error}")
    })?;
    if args.dry_run {
        return Box::pin(auditor::dry_run(&client, &args)).await;
    }
    serve(args, client).await
}

/// Serves the endpoints beside the watches, the certificates and the tasks of the leader.
async fn serve(args: Args, client: Client) -> anyhow::Result<()> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let resolver = CertResolver::new(Arc::clone(&provider));
    let health = Arc::new(Health::default());
    let metrics = Arc::new(Metrics::default());
    let (store, ended) = Store::with_retention(args.ended_session_ttl());
    let front_proxy = Arc::new(FrontProxy::default());
    let probes = Probes::new(Arc::clone(&health), Arc::clone(&metrics));
    let router = router(&args, &client, &store, &front_proxy, &probes, &metrics);
    let stop = stop_signal(args.shutdown_delay, Arc::clone(&health))?.shared();
    let listener = bind(args.listen).await?;
    info!(
        address = %listener.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let tls = server_config(provider, resolver.clone())?;
    let stopped = async {
        stop.clone().await;
        store.shut_down();
    };
    let server = Server::https(router, tls, metrics.connections());
    let server = Box::pin(server.serve(listener, stopped, args.drain_timeout));
    let probes = serve_probes(args.probe_listen, probes).await?;
    let leader = leader_tasks::run(client.clone(), &args, &metrics, &*store, stop.clone());
    let caches =
        keep_caches(&args, client.clone(), Arc::clone(&store), ended, &front_proxy, &health);
    tokio::select! {
        _ = futures::future::join(server, Box::pin(leader)) => {
            info!("stopped");
            Ok(())
        }
        result = Box::pin(keep_certificates(&args, client, &resolver, &health)) => result,
        () = Box::pin(probes) => Ok(()),
        () = Box::pin(caches) => Ok(()),
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|error| anyhow!("{address} can't be listened on: {error}"))
}

/// Returns the server of probes, which serves until the process ends.
async fn serve_probes(
    address: Option<SocketAddr>,
    probes: Probes,
) -> anyhow::Result<impl Future<Output = ()>> {
    let listener = match address {
        Some(address) => Some(bind(address).await?),
        None => None,
    };
    if let Some(listener) = &listener {
        info!(probes = %listener.local_addr()?, "serving probes and metrics");
    }
    Ok(async move {
        let forever = std::future::pending;
        match listener {
            Some(listener) => {
                Server::probes(probes).serve(listener, forever(), Duration::ZERO).await;
            }
            None => forever().await,
        }
    })
}

/// Creates the router over the session state of the process.
fn router(
    args: &Args,
    client: &Client,
    store: &Arc<Store>,
    front_proxy: &Arc<FrontProxy>,
    probes: &Probes,
    metrics: &Arc<Metrics>,
) -> Router {
    let join_authorizer = Arc::new(JoinAuthorizer::new(client.clone()));
    let admission =
        Admission::new(Arc::clone(store), TargetLookup::new(client.clone()), Arc::clone(metrics));
    let trackers =
        Api::new(Arc::clone(store), Arc::clone(front_proxy), join_authorizer, client.clone())
            .with_report_period(args.report_period);
    Router::new(probes.clone(), admission, trackers)
}

/// Keeps the caches in sync with the cluster: sessions, policies, ended sessions, front proxy.
async fn keep_caches(
    args: &Args,
    client: Client,
    store: Arc<Store>,
    ended: UnboundedReceiver<Arc<Tracker>>,
    front_proxy: &FrontProxy,
    health: &Health,
) {
    let grace = async {
        tokio::time::sleep(TRACKERS_GRACE).await;
        health.skip_trackers();
        std::future::pending::<()>().await;
    };
    let policies =
        policy_watch::run(client.clone(), &args.cluster_name, Arc::clone(&store), health);
    let ended_sessions =
        EndedSessionStore::new(client.clone(), &args.namespace, Arc::clone(&store));
    let store_of_reasons = Arc::clone(&store);
    let reasons = store_of_reasons.remove_expired_reasons();
    // Sessions are watched without trackers too: requesters are warned of concurrent sessions.
    let sessions =
        SessionWatch::new(client.clone(), store, Arc::clone(&ended_sessions)).run(health);
    if !args.trackers {
        health.skip_trackers();
        tokio::join!(policies, sessions, reasons);
        return;
    }
    tokio::join!(
        policies,
        sessions,
        reasons,
        ended_sessions.run(ended),
        front_proxy.run(client, health),
        grace,
    );
}

/// Keeps the serving certificate current. Ends only with an error: without a certificate the server
/// is of no use.
async fn keep_certificates(
    args: &Args,
    client: Client,
    resolver: &CertResolver,
    health: &Health,
) -> anyhow::Result<()> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        return files
            .keep_loaded(resolver, health, FILES_INTERVAL)
            .await
            .map_err(|error: FilesError| error.into());
    }
    let self_signed = SelfSigned::new(client, &args.namespace, &args.service, args.trackers);
    self_signed.keep(resolver, health).await;
    Ok(())
}

/// Returns a future that completes `delay` after a stop signal, when the API server has had time to
/// notice that the process is unready.
fn stop_signal(delay: Duration, health: Arc<Health>) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        health.start_draining();
        info!(delay_seconds = delay.as_secs(), "received a stop signal");
        tokio::time::sleep(delay).await;
    })
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| anyhow!("--log {:?} is not a filter: {error}", args.log))?;
    // kube's client logs a response that it cannot parse as a whole, with keys and secrets in it.
    let log_without_objects = filter_fn(|metadata| !metadata.target().starts_with("kube_client"));
    let format = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter).with(log_without_objects);
    match args.log_format {
        LogFormat::Json => registry.with(format.json()).init(),
        LogFormat::Text => registry.with(format.with_ansi(std::io::stderr().is_terminal())).init(),
    }
    Ok(())
}
