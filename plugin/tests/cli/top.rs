//! `top` without a terminal.

use crate::fake::Fake;

#[test]
fn rejects_a_pipe() {
    let server = Fake::new().start();
    let message = server.run("top").fails();
    assert!(message.starts_with("error: top needs a terminal"), "{message}");
    assert!(server.all_requests().is_empty());
}
