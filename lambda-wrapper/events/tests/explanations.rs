//! Goal: an explanation says what was recognised, the key, what it is stable over, and how to
//! change it, in 80 columns. Method: every sample, and the whole text of one.

mod common;

use aft_lambda_events::{Path, Rules, explain};
use common::{event, names, of, try_of, with};
use serde_json::json;

#[test]
fn every_sample_is_explained_within_80_columns() {
    let long = json!("x".repeat(3_000));
    let mut identities: Vec<_> = names().iter().map(|name| of(&event(name))).collect();
    identities.push(of(&with(&event("http-api"), |event| event["rawPath"] = long.clone())));
    identities.push(of(&with(&event("sqs"), |event| event["Records"][0]["messageId"] = long)));
    for identity in identities {
        let text = explain(&identity);
        for line in text.lines() {
            assert!(line.chars().count() <= 80 && line.trim_end() == line, "{line:?}");
        }
        let joined: String = text.split_whitespace().collect();
        let stripped = |text: &str| text.split_whitespace().collect::<String>();
        for part in [identity.request_id.as_deref().unwrap(), &identity.scope]
            .into_iter()
            .chain(identity.why.iter().map(String::as_str))
        {
            assert!(joined.contains(&stripped(part)), "{part} is missing in\n{text}");
        }
        for label in [
            "source",
            "recognised by",
            "request ID",
            "scope",
            "retention",
            "fingerprint",
            "stable over",
            "but not over",
            "why",
            "to change it",
        ] {
            assert!(text.lines().any(|line| line.starts_with(label)), "{label} is missing in\n{text}");
        }
    }
}

#[test]
fn the_whole_text() {
    let text = explain(&of(&event("sqs")));
    let fingerprint = text.lines().find(|line| line.starts_with("fingerprint")).unwrap().to_owned();
    let expect = format!(
        "\
source        a standard queue of SQS
recognised by in every record: eventSource aws:sqs, eventSourceARN, messageId,
              receiptHandle, body
request ID    sqs:7d3d9c4c-3ce8-579c-9f6b-7afa4f19ad13
scope         function=210987654321:eu-west-1:orders
              from=arn:aws:sqs:eu-west-1:210987654321:orders
retention     15 days. A queue keeps a message for at most 14 days, and hides it
              for at most 12 h (AWS).
{fingerprint}
stable over   Every delivery of a message from its queue, however often it
              becomes visible again.
but not over  A message that its producer sends again, and one that comes back
              from a dead-letter queue: each has a new message ID.
why           The request ID is the one that a standard queue of SQS gives.
to change it  AFT_REQUEST_ID: a JMESPath expression, such as
              powertools_json(body).order_id. AFT_REQUEST_ID_REQUIRED=true:
              reject events in which it finds nothing.
              AFT_FINGERPRINT: an expression for what retries must repeat.
              AFT_RETENTION: another retention.
"
    );
    assert_eq!(text, expect);
}

#[test]
fn a_set_retention_is_said() {
    let rules = Rules { retention: Some(std::time::Duration::from_secs(7_200)), ..Rules::default() };
    let text = explain(&try_of(&rules, &event("sqs")).unwrap());
    assert!(text.contains("retention     2 h. As the settings say."), "{text}");
}

#[test]
fn an_expression_is_stable_over_repetitions() {
    let rules = Rules { request_id: Some(Path::new("order_id").unwrap()), ..Rules::default() };
    let text = explain(&try_of(&rules, &event("direct")).unwrap());
    assert!(text.contains("stable over   Every delivery and every repetition"), "{text}");
    assert!(text.contains("AFT_REQUEST_ID (order_id) selects"), "{text}");
}

#[test]
fn a_batch_is_stable_as_it_was_cut() {
    let text = explain(&of(&event("sqs-batch")));
    assert!(text.contains("stable over   Deliveries of the same records in the same order."), "{text}");
    assert!(text.contains("but not over  A batch that is cut differently"), "{text}");
}

#[test]
fn fifo_queues_and_http_have_their_own_remedies() {
    assert!(explain(&of(&event("sqs-fifo"))).contains("AFT_FIFO_DEDUPLICATION_ID=true"));
    assert!(explain(&of(&event("http-api"))).contains("AFT_CALLER"));
    assert!(!explain(&of(&event("sqs"))).contains("AFT_CALLER"));
}
