//! `top` without a terminal.

use crate::fake::Fake;

#[test]
fn a_pipe_is_no_screen() {
    let server = Fake::new().start();
    let message = server.run("top").failed();
    assert!(message.starts_with("error: top needs a terminal"), "{message}");
    assert!(server.seen().is_empty());
}
