//! AdmissionReviews, of every endpoint: what is answered is a review that the API server can read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_webhook::fuzzing::{ENDPOINT_COUNT, review};
use serde_json::Value;

// The first byte, a digit in the seeds, says to which endpoint.
fuzz_target!(|input: &[u8]| {
    let Some((endpoint, body)) = input.split_first() else {
        return;
    };
    let endpoint = usize::from(endpoint.wrapping_sub(b'0')) % ENDPOINT_COUNT;
    let Some(answer) = review(endpoint, body) else {
        return;
    };
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let response = &answer["response"];
    assert_eq!(answer["kind"], "AdmissionReview");
    assert!(response["uid"].is_string() && response["allowed"].is_boolean(), "{answer}");
    // Nothing is changed of what is refused.
    assert!(response["allowed"] == true || response.get("patch").is_none(), "{answer}");
});
