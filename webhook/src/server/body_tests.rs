use futures::StreamExt;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::*;

/// The largest sum of all bodies.
const MAX_HELD: usize = LIMITS.total + LIMITS.reserve + LIMITS.small_reserve;

fn peer(host: u8) -> Peer {
    Peer::from_address(std::net::Ipv4Addr::new(192, 0, 2, host).into())
}

/// Returns a body of these chunks, each after a delay.
fn paced(
    chunks: Vec<(Duration, usize)>,
) -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    StreamBody::new(futures::stream::iter(chunks).then(|(delay, size)| async move {
        sleep(delay).await;
        Ok(Frame::data(Bytes::from(vec![b' '; size])))
    }))
}

/// Returns a body of 4.9 MB that arrives at once, followed by a trickle at the minimum rate.
fn trickle() -> impl Body<Data = Bytes, Error = Infallible> + Send + 'static {
    let mut chunks = vec![(Duration::ZERO, 4_900_000)];
    chunks.extend([(Duration::from_millis(100), 6 << 10); 50]);
    paced(chunks)
}

#[tokio::test(start_paused = true)]
async fn ends_slow_bodies() {
    let bodies = Bodies::new(BODY_TIMEOUT);
    let start = Instant::now();
    let read = bodies.read(peer(1), MAX_BODY, paced(vec![(Duration::from_mins(1), 1)])).await;
    assert!(matches!(read, Err(BodyError::BelowRate)), "{read:?}");
    assert_eq!(start.elapsed(), MINIMUM_RATE.pause);
    // A body just above the minimum rate has a time limit.
    let slow = paced(vec![(Duration::from_secs(1), 70 << 10); 20]);
    let read = bodies.read(peer(1), MAX_BODY, slow).await;
    assert!(matches!(read, Err(BodyError::TooSlow(_))), "{read:?}");
    assert_eq!(bodies.state().budget.held(), 0);
}

/// Slow bodies that fill the budget delay a review by less than a second, whether it comes from
/// the same peer or from another.
#[tokio::test(start_paused = true)]
async fn slow_bodies_give_way_to_reviews() {
    for host in [1, 9] {
        let bodies = Arc::new(Bodies::new(BODY_TIMEOUT));
        let attackers: Vec<_> = (0..20)
            .map(|number| {
                let bodies = Arc::clone(&bodies);
                tokio::spawn(async move {
                    bodies.read(peer(1 + number % 3), MAX_BODY, trickle()).await.map(|_| ())
                })
            })
            .collect();
        sleep(Duration::from_millis(10)).await;
        let held = bodies.state().budget.held();
        assert!(held > LIMITS.total * 3 / 4 && held <= MAX_HELD, "{held}");
        for _ in 0..10 {
            let start = Instant::now();
            let read = bodies.read(peer(host), MAX_BODY, paced(vec![(Duration::ZERO, 1 << 20)]));
            let body = read.await.unwrap();
            assert_eq!(bodies.decide(body, <[u8]>::len).await, 1 << 20);
            assert!(start.elapsed() <= LIMITS.slow_after, "{:?}", start.elapsed());
            assert!(bodies.state().budget.held() <= MAX_HELD);
        }
        for attacker in attackers {
            // Those that lost their place have failed, and the rest has ended.
            let _ = attacker.await.unwrap();
        }
        let state = bodies.state();
        assert_eq!((state.budget.held(), state.readers.len()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn concurrent_large_reviews_wait_for_each_other() {
    let bodies = Arc::new(Bodies::new(BODY_TIMEOUT));
    let reviews = (0..40).map(|_| {
        let bodies = Arc::clone(&bodies);
        tokio::spawn(async move {
            let chunks = vec![(Duration::from_millis(10), 1 << 20); 2];
            let body = bodies.read(peer(1), MAX_BODY, paced(chunks)).await?;
            Ok::<_, BodyError>(bodies.decide(body, <[u8]>::len).await)
        })
    });
    let mut failed = 0;
    for review in reviews.collect::<Vec<_>>() {
        failed += usize::from(review.await.unwrap().is_err());
    }
    assert_eq!(failed, 0);
}
