use super::*;
use crate::sessions::fixtures::{four_trackers, session};

#[test]
fn records_relisted_trackers_as_changes() {
    let mut index = four_trackers();
    let mut other = session("a", "y").session(15);
    other.metadata.uid = Some("another".into());
    let other = Arc::new(Tracker::new(&other).unwrap());
    index.replace(
        vec![
            session("a", "x").tracker(3),
            session("b", "x").tracker(14),
            other,
            session("c", "x").tracker(12),
        ],
        20,
    );
    let changes: Vec<String> = index
        .changes_from(index.sequence_after(10).unwrap())
        .unwrap()
        .map(|change| {
            let version = |tracker: &Option<Arc<Tracker>>| {
                tracker.as_ref().map_or("-".into(), |tracker| tracker.version.to_string())
            };
            format!(
                "{} {}: {} → {}",
                change.version,
                change.key().unwrap().name,
                version(&change.before),
                version(&change.after)
            )
        })
        .collect();
    assert_eq!(
        changes,
        ["12 x: - → 12", "14 x: 6 → 14", "15 y: 4 → -", "15 y: - → 15", "20 x: 5 → -"]
    );
    assert_eq!(index.version(), 20);
    // Applying a known version again records no change.
    index.apply(session("c", "x").tracker(12));
    assert_eq!(index.next_sequence(), 5);
}
