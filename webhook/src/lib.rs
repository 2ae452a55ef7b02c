//! The webhook process: serves admission to the API server.
//!
//! Decisions are `mirrord-sessions-core`'s; what is here does the I/O around them.

mod admission;
mod apiserver;
mod args;
mod auditor;
mod certs;
mod controller;
mod events;
#[cfg(fuzzing)]
pub mod fuzzing;
mod leader_election;
mod leader_tasks;
mod metrics;
mod server;
mod sessions;
mod stored_objects;

use std::{io::IsTerminal, sync::Arc};

use anyhow::anyhow;
use apiserver::{Api, front_proxy::FrontProxy};
pub use args::{Args, AuditorRole, LogFormat};
use certs::{CertificateFiles, CertificateSlot, FILES_INTERVAL, FilesError, SelfMade};
use futures::FutureExt;
use metrics::Metrics;
use mirrord_sessions_core::sessions::Tracker;
use server::{Patience, health::Health, router::Router};
use sessions::{Feed, Records, Store, policy_watch};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::mpsc::UnboundedReceiver,
};
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// How long readiness waits for trackers. Admission must not depend on them for longer.
const TRACKERS_GRACE: std::time::Duration = std::time::Duration::from_secs(15);

/// Serves until SIGTERM or SIGINT, and drains.
///
/// # Errors
/// What keeps the process from serving, with what to do about it; the whole of it in its own words,
/// since the errors below tell their sources themselves.
pub async fn run(args: Args) -> anyhow::Result<()> {
    start_logging(&args)?;
    if args.dry_run {
        return Box::pin(auditor::dry_run(&args)).await;
    }
    // A mistake on the command line is told at once, not when this replica leads.
    auditor::history(&args)?;
    let slot = CertificateSlot::new();
    let health = Arc::new(Health::default());
    let metrics = Arc::new(Metrics::default());
    let stop = stop_signal(args.shutdown_delay, Arc::clone(&health))?.shared();
    let listener = TcpListener::bind(args.listen)
        .await
        .map_err(|error| anyhow!("{} can't be listened on: {error}", args.listen))?;
    info!(
        address = %listener.local_addr()?,
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let client = match kube::Client::try_default().await {
        Ok(client) => Some(client),
        Err(error) => {
            warn!(%error, "no way to the API server: neither trackers nor policies are served");
            None
        }
    };
    let (store, ended) = Store::keeping(args.keeps());
    let front_proxy = Arc::new(FrontProxy::default());
    let api = Api::new(Arc::clone(&store), Arc::clone(&front_proxy), client.clone())
        .with_pace(args.report_period);
    let server = Box::pin(server::serve(
        listener,
        slot.server_config()?,
        Router::new(Arc::clone(&health), Arc::clone(&metrics), api),
        Patience::default(),
        async {
            stop.clone().await;
            store.close();
        },
        args.drain_timeout,
    ));
    let leading = Box::pin(leader_tasks::lead(&args, &metrics, &*store, stop.clone()));
    tokio::select! {
        _ = futures::future::join(server, leading) => {
            info!("stopped");
            Ok(())
        }
        ended = Box::pin(keep_certificates(&args, &slot, &health)) => ended,
        () = Box::pin(keep_views(&args, client, Arc::clone(&store), ended, &front_proxy, &health)) => Ok(()),
    }
}

/// Keeps what trackers are served from and who may see them, for ever. Without a way to the API
/// server stamping is served alone.
async fn keep_views(
    args: &Args,
    client: Option<kube::Client>,
    store: Arc<Store>,
    ended: UnboundedReceiver<Arc<Tracker>>,
    front_proxy: &FrontProxy,
    health: &Health,
) {
    let Some(client) = client else {
        health.give_trackers_up();
        return std::future::pending().await;
    };
    let grace = async {
        tokio::time::sleep(TRACKERS_GRACE).await;
        health.give_trackers_up();
        std::future::pending::<()>().await;
    };
    let policies =
        policy_watch::follow(client.clone(), &args.cluster_name, Arc::clone(&store), health);
    let records = Records::new(client.clone(), &args.namespace, Arc::clone(&store));
    // Who starts a run is told of others on its target also where no trackers are served.
    let feed = Feed::new(client.clone(), store, Arc::clone(&records)).run(health);
    if !args.trackers {
        health.give_trackers_up();
        tokio::join!(policies, feed);
        return;
    }
    tokio::join!(policies, feed, records.run(ended), front_proxy.follow(client, health), grace,);
}

/// Ends only with an error: a server without a certificate is of no use.
async fn keep_certificates(
    args: &Args,
    slot: &CertificateSlot,
    health: &Health,
) -> anyhow::Result<()> {
    if let (Some(certificate), Some(key)) = (&args.tls_cert_file, &args.tls_private_key_file) {
        let files = CertificateFiles { certificate: certificate.clone(), key: key.clone() };
        return files
            .keep_loaded(slot, health, FILES_INTERVAL)
            .await
            .map_err(|error: FilesError| error.into());
    }
    let client = kube::Client::try_default().await.map_err(|error| {
        anyhow!("no way to the API server; run inside a cluster, or with a kubeconfig: {error}")
    })?;
    SelfMade::new(client, &args.namespace, &args.service, args.trackers).keep(slot, health).await;
    Ok(())
}

/// Done when the process was told to stop, and the API server has had time to notice.
fn stop_signal(
    delay: std::time::Duration,
    health: Arc<Health>,
) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        health.start_draining();
        info!(delay_seconds = delay.as_secs(), "told to stop");
        tokio::time::sleep(delay).await;
    })
}

fn start_logging(args: &Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&args.log)
        .map_err(|error| anyhow!("--log {:?} is not a filter: {error}", args.log))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
    }
    Ok(())
}
