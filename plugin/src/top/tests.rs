use ratatui::{Terminal, backend::TestBackend};
use serde_json::json;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn session(namespace: &str, name: &str, user: &str, target: &str, started: i64) -> Value {
    json!({
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{name}"),
            "creationTimestamp": at(started).to_string(),
        },
        "spec": { "user": user, "target": target },
        "status": { "state": "running", "ports": [{ "port": 80, "type": "steal" }] },
    })
}

fn three_sessions() -> Top {
    let top = Top::new(None, at(100));
    update(
        top,
        Event::Listed(vec![
            session("a", "one", "carl", "pod/z", 10),
            session("b", "two", "avi", "pod/y", 30),
            session("b", "x-three", "bo\u{1b}[2J", "pod/x", 20),
        ]),
    )
}

fn press_keys(mut top: Top, keys: &str) -> Top {
    for key in keys.chars() {
        let press = match key {
            '\n' => Press::Enter,
            '^' => Press::Escape,
            '<' => Press::Backspace,
            '+' => Press::PageDown,
            '-' => Press::PageUp,
            letter => Press::Letter(letter),
        };
        top = update(top, Event::Press(press));
    }
    top
}

fn names(top: &Top) -> Vec<&str> {
    top.visible_sessions().iter().map(|((_, name), _)| name.as_str()).collect()
}

fn selected(top: &Top) -> &str {
    top.selected.as_ref().map_or("", |(_, name)| name)
}

fn screen(top: &Top) -> String {
    let mut terminal = Terminal::new(TestBackend::new(140, 12)).unwrap();
    terminal.draw(|frame| view::render(top, frame)).unwrap();
    terminal.backend().to_string()
}

#[test]
fn sorts_and_reverses() {
    let cases: [(&str, [&str; 3]); 6] = [
        ("", ["one", "two", "x-three"]),
        ("s", ["x-three", "two", "one"]),
        ("ss", ["two", "x-three", "one"]),
        ("sss", ["one", "x-three", "two"]),
        ("ssss", ["one", "two", "x-three"]),
        ("r", ["x-three", "two", "one"]),
    ];
    for (keys, expected) in cases {
        assert_eq!(names(&press_keys(three_sessions(), keys)), expected, "{keys:?}");
    }
}

#[test]
fn selection_follows_its_session() {
    let cases = [
        ("", "one"),
        ("j", "two"),
        ("jjjj", "x-three"),
        ("jk", "one"),
        ("kk", "one"),
        ("G", "x-three"),
        ("Gg", "one"),
        ("+", "x-three"),
        ("G-", "one"),
        ("jr", "two"),
    ];
    for (keys, expected) in cases {
        assert_eq!(selected(&press_keys(three_sessions(), keys)), expected, "{keys:?}");
    }
    let top = press_keys(three_sessions(), "j");
    let top = update(top, Event::Changed(session("a", "aaa", "new", "pod/a", 5)));
    assert_eq!(selected(&top), "two");
    // When the selected session ends, the next row takes its place.
    let top = update(top, Event::Deleted(session("b", "two", "", "", 0)));
    assert_eq!(selected(&top), "x-three");
    let top = update(top, Event::Deleted(session("b", "x-three", "", "", 0)));
    assert_eq!(selected(&top), "one");
    let top = update(top, Event::Listed(Vec::new()));
    assert_eq!(top.selected, None);
    assert_eq!(press_keys(top, "jkGg+-\nx").mode, Mode::List);
}

#[test]
fn filters_while_typing() {
    let top = press_keys(three_sessions(), "/PO");
    assert_eq!(top.mode, Mode::Filter);
    assert_eq!(names(&top).len(), 3);
    let top = press_keys(top, "<<avi");
    assert_eq!((names(&top), selected(&top)), (vec!["two"], "two"));
    let kept = press_keys(top.clone(), "\n");
    assert_eq!((kept.mode.clone(), names(&kept)), (Mode::List, vec!["two"]));
    assert_eq!(names(&press_keys(kept, "^")).len(), 3);
    // Letters of other commands are text in the filter.
    let top = press_keys(top, "qxsr");
    assert_eq!((top.action.clone(), names(&top)), (None, vec![]));
    assert_eq!(names(&press_keys(top, "^")).len(), 3);
}

#[test]
fn stops_a_session_only_after_yes() {
    let confirming = press_keys(three_sessions(), "jx");
    let key = ("b".to_owned(), "two".to_owned());
    assert_eq!(confirming.mode, Mode::Confirm(key.clone()));
    for keys in ["n", "\n", "^", "q", "x"] {
        let cancelled = press_keys(confirming.clone(), keys);
        assert_eq!((cancelled.mode, cancelled.action), (Mode::List, None), "{keys:?}");
    }
    let stopped = press_keys(confirming.clone(), "y");
    let action = Action::Stop(key.clone(), Some("uid-two".to_owned()));
    assert_eq!(stopped.action, Some(action));
    let updated = update(stopped.clone(), Event::Stopped(key.clone(), Ok(())));
    assert!(screen(&updated).contains("stopped two in b"));
    let updated = update(stopped, Event::Stopped(key, Err("Forbidden \u{1b}[2J".to_owned())));
    assert!(screen(&updated).contains("Forbidden \\x1b[2J"));
    // The session ended before the answer.
    let gone = update(confirming, Event::Deleted(session("b", "two", "", "", 0)));
    assert_eq!(gone.mode, Mode::List);
    assert_eq!(press_keys(gone, "y").action, None);
}

#[test]
fn quits_on_request() {
    assert_eq!(press_keys(three_sessions(), "q").action, Some(Action::Quit));
    assert_eq!(press_keys(three_sessions(), "\nq").action, None);
    for keys in ["", "/", "x", "\n"] {
        let top = update(press_keys(three_sessions(), keys), Event::Press(Press::Interrupt));
        assert_eq!(top.action, Some(Action::Quit), "{keys:?}");
    }
}

#[test]
fn draws_the_list() {
    let text = screen(&three_sessions());
    for expected in [
        "3 sessions in all namespaces, by ID",
        "SESSION ID",
        "NAMESPACE",
        "bo\\x1b[2J",
        "Port: 80, Type: steal",
        "90s",
        "q: quit",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let later = update(three_sessions(), Event::Time(at(190)));
    assert!(screen(&later).contains("3m"), "{}", screen(&later));
    let here = update(Top::new(Some("shop"), at(0)), Event::Listed(Vec::new()));
    let text = screen(&here);
    assert!(text.contains("0 sessions in namespace shop"), "{text}");
    assert!(text.contains("No sessions found") && !text.contains("NAMESPACE"), "{text}");
    assert!(screen(&Top::new(None, at(0))).contains("Reading …"));
    let filtered = screen(&press_keys(three_sessions(), "/nothing"));
    assert!(filtered.contains("No session matches the filter"), "{filtered}");
    assert!(filtered.contains("0 of 3 sessions"), "{filtered}");
}

#[test]
fn shows_errors_until_recovery() {
    let top = update(three_sessions(), Event::WatchFailed("gone away".to_owned()));
    assert!(screen(&top).contains("gone away"));
    assert_eq!(names(&top).len(), 3, "the known sessions remain");
    let top = update(top, Event::Changed(session("a", "one", "x", "y", 1)));
    assert!(!screen(&top).contains("gone away"));
}

#[test]
fn draws_details_and_confirmation() {
    let text = screen(&press_keys(three_sessions(), "\n"));
    for expected in ["Session ID:   one", "Target:       pod/z", "Esc: back"] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let text = screen(&press_keys(three_sessions(), "x"));
    assert!(text.contains("Stop one of carl on a/pod/z?"), "{text}");
}

#[test]
fn draws_screens_of_any_size() {
    for (width, height) in [(1, 1), (2, 40), (200, 2), (20, 5)] {
        for keys in ["", "\n", "x", "/"] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            let top = press_keys(three_sessions(), keys);
            terminal.draw(|frame| view::render(&top, frame)).unwrap();
        }
        assert!(view::rows(height) <= usize::from(height));
    }
}

#[test]
fn ignores_answers_that_are_too_early() {
    let press = |press| Event::Press(press);
    let soon = Duration::from_millis(50);
    let late = Duration::from_secs(1);
    let confirming = press_keys(three_sessions(), "x");
    for (name, top, event, shown_for, expected) in [
        ("typed at once", &confirming, press(Press::Letter('y')), soon, true),
        ("another key", &confirming, press(Press::Letter('z')), soon, true),
        ("typed later", &confirming, press(Press::Letter('y')), late, false),
        ("Ctrl-C", &confirming, press(Press::Interrupt), soon, false),
        ("no key", &confirming, Event::Time(at(1)), soon, false),
        ("no question", &three_sessions(), press(Press::Letter('y')), soon, false),
    ] {
        assert_eq!(top.is_too_early(&event, shown_for), expected, "{name}");
    }
}

#[test]
fn confirmation_keeps_its_session() {
    let mut another = session("b", "two", "eve", "pod/y", 40);
    another["metadata"]["uid"] = json!("uid-another");
    for keys in ["jx", "j\n"] {
        let confirming = press_keys(three_sessions(), keys);
        for event in [Event::Listed(vec![another.clone()]), Event::Changed(another.clone())] {
            let top = update(confirming.clone(), event);
            assert_eq!(top.mode, Mode::List, "{keys:?}");
            assert_eq!(press_keys(top, "y").action, None, "{keys:?}");
        }
        let same = session("b", "two", "avi", "pod/other", 30);
        assert_eq!(update(confirming.clone(), Event::Changed(same)).mode, confirming.mode);
    }
}

#[test]
fn deselects_sessions_that_leave_the_filter() {
    let top = press_keys(three_sessions(), "/pod\nj");
    let top = update(top, Event::Changed(session("b", "two", "avi", "job/y", 30)));
    assert_eq!((names(&top), selected(&top)), (vec!["one", "x-three"], "x-three"));
    let text = screen(&top);
    assert!(text.contains("Esc: all"), "{text}");
}

#[test]
fn draws_rows_far_down() {
    let many = (0..1000).map(|n| session("a", &format!("s{n:04}"), "u", "pod/x", 1));
    let top = update(Top::new(None, at(100)), Event::Listed(many.collect()));
    let text = screen(&press_keys(top.clone(), "G"));
    assert!(text.contains("s0999") && text.contains("s0991"), "{text}");
    assert!(!text.contains("s0990"), "{text}");
    let text = screen(&top);
    assert!(text.contains("s0000") && text.contains("s0008"), "{text}");
    assert!(!text.contains("s0009"), "{text}");
}

/// Many events at once must not scan all sessions each.
#[test]
fn handles_thousands_of_deletions() {
    let all: Vec<Value> =
        (0..4000).map(|n| session("a", &format!("s{n:04}"), "u", "pod/x", 1)).collect();
    let mut top =
        press_keys(update(Top::new(None, at(100)), Event::Listed(all.clone())), "/pod\nG");
    let start = std::time::Instant::now();
    for object in all.into_iter().take(3999) {
        top = update(top, Event::Deleted(object));
    }
    assert_eq!((names(&top), selected(&top)), (vec!["s3999"], "s3999"));
    let took = start.elapsed();
    assert!(took < Duration::from_secs(20), "{took:?}");
}
