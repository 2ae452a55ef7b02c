//! Fuzzes the AdmissionReviews of every endpoint, whose responses the API server must be able to
//! parse.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mirrord_sessions_webhook::fuzzing::{ENDPOINT_COUNT, review};
use serde_json::Value;

// The first byte, a digit in the seeds, selects the endpoint.
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
    // A denied object has no patch.
    assert!(response["allowed"] == true || response.get("patch").is_none(), "{answer}");
});
