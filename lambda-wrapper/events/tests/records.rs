//! Goal: a batch is split into events of one record, and the outcomes are folded into the answer
//! that makes its service deliver the failed records again, and only those. Method: samples, and
//! random outcomes against a model of each service.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in helpers too")]

mod common;

use aft_lambda_events::{Basis, Batch, Folded, Outcome, Path, Record, Rules, Source};
use common::{event, invocation, of, set, with};
use proptest::prelude::*;
use serde_json::{Value, json};

fn reporting() -> Rules {
    Rules { batch_item_failures: true, ..Rules::default() }
}

fn split(rules: &Rules, event: &Value) -> Option<Batch> {
    Batch::split(rules, &invocation(event.to_string().as_bytes()))
}

#[test]
fn records_become_events_of_their_own() {
    for (sample, source) in [
        ("sqs", Source::Sqs),
        ("sqs-batch", Source::Sqs),
        ("sqs-attribute", Source::Sqs),
        ("sqs-fifo", Source::SqsFifo),
        ("kinesis", Source::Kinesis),
        ("dynamodb-streams", Source::DynamoDbStreams),
    ] {
        let event = event(sample);
        let batch = split(&Rules::default(), &event).unwrap();
        assert_eq!(batch.source(), source);
        let records = event["Records"].as_array().unwrap();
        assert_eq!(batch.records().len(), records.len(), "{sample}");
        for (record, written) in batch.records().iter().zip(records) {
            let alone: Value = serde_json::from_slice(&record.event).unwrap();
            assert_eq!(alone, json!({ "Records": [written] }), "{sample}");
            assert_eq!(*record.identity.as_ref().unwrap(), of(&alone), "{sample}");
        }
        let ids: Vec<_> = batch
            .records()
            .iter()
            .map(|record| record.identity.clone().unwrap().request_id.unwrap())
            .collect();
        match of(&event).records {
            known if known.is_empty() => assert_eq!(ids, [of(&event).request_id.unwrap()]),
            known => assert_eq!(ids, known, "{sample}"),
        }
    }
}

#[test]
fn records_stay_as_they_were_written() {
    // The digits, the order of members and the escapes are the service's.
    let record = r#"{"messageId":"m","receiptHandle":"r","body":"\u00e4\/","z":1.10,"a":12345678901234567890123,"eventSource":"aws:sqs","eventSourceARN":"arn:aws:sqs:eu-west-1:210987654321:orders"}"#;
    let event = format!(r#"{{ "later": [1.0], "Records": [ {record} , {record} ] }}"#);
    let batch = Batch::split(&Rules::default(), &invocation(event.as_bytes())).unwrap();
    for of in batch.records() {
        let text = String::from_utf8(of.event.clone()).unwrap();
        assert!(
            text.contains(&format!("\"Records\":[{record}]")) && text.contains("\"later\":[1.0]"),
            "{text}"
        );
    }
}

#[test]
fn other_events_have_no_record_mode() {
    for sample in common::names() {
        let is_split = split(&Rules::default(), &event(&sample)).is_some();
        let expect = ["sqs", "kinesis", "dynamodb"].iter().any(|name| sample.starts_with(name));
        // A window carries its state from one batch to the next.
        assert_eq!(is_split, expect && sample != "kinesis-window", "{sample}");
    }
    assert!(Batch::split(&Rules::default(), &invocation(b"{")).is_none());
}

#[test]
fn a_record_may_be_rejected_alone() {
    let rules = Rules {
        request_id: Some(Path::new("Records[0].json(body).order_id").unwrap()),
        require: true,
        ..reporting()
    };
    let batch = split(&rules, &event("sqs-batch")).unwrap();
    let found: Vec<_> = batch
        .records()
        .iter()
        .map(|record| record.identity.as_ref().map(|identity| identity.basis))
        .collect();
    assert_eq!(found[..2], [Ok(Basis::Expression), Ok(Basis::Expression)]);
    assert!(found[2].is_err());
}

fn failed() -> Outcome {
    Outcome::Failed("the store is away".to_owned())
}

/// Returns the names in the list of failures.
fn items(folded: &Folded) -> Vec<String> {
    let Folded::Response(bytes) = folded else { panic!("{folded:?} is not a response") };
    let response: Value = serde_json::from_slice(bytes).unwrap();
    let list = response["batchItemFailures"].as_array().unwrap();
    list.iter().map(|item| item["itemIdentifier"].as_str().unwrap().to_owned()).collect()
}

fn names(event: &Value, pointer: &str) -> Vec<String> {
    let records = event["Records"].as_array().unwrap();
    records.iter().map(|record| record.pointer(pointer).unwrap().as_str().unwrap().to_owned()).collect()
}

#[test]
fn success_is_an_empty_list() {
    for sample in ["sqs", "sqs-fifo", "kinesis", "dynamodb-streams"] {
        for rules in [Rules::default(), reporting()] {
            let batch = split(&rules, &event(sample)).unwrap();
            let mut outcomes = vec![Outcome::Committed; batch.records().len()];
            outcomes[0] = Outcome::AlreadyCommitted;
            assert_eq!(
                batch.fold(&outcomes),
                Folded::Response(br#"{"batchItemFailures":[]}"#.to_vec()),
                "{sample}"
            );
        }
    }
}

#[test]
fn a_standard_queue_gets_each_failure() {
    let event = event("sqs-batch");
    let ids = names(&event, "/messageId");
    let batch = split(&reporting(), &event).unwrap();
    assert!(batch.may_run_next(&[failed()]), "order does not count");
    assert_eq!(items(&batch.fold(&[failed(), Outcome::Committed, Outcome::NotRun])), [&*ids[0], &*ids[2]]);
}

#[test]
fn a_fifo_group_stops_at_its_first_failure() {
    let event = event("sqs-fifo");
    let ids = names(&event, "/messageId");
    let batch = split(&reporting(), &event).unwrap();
    // The first and the third message are of one group.
    assert!(batch.may_run_next(&[failed()]), "the second is of another group");
    assert!(!batch.may_run_next(&[failed(), Outcome::Committed]), "the third waits for the first");
    assert!(batch.may_run_next(&[Outcome::Committed, failed()]));
    assert_eq!(items(&batch.fold(&[failed(), Outcome::Committed, Outcome::NotRun])), [&*ids[0], &*ids[2]]);
    // Even one that has committed must not be deleted before an earlier one: order is the queue's.
    assert_eq!(
        items(&batch.fold(&[failed(), Outcome::Committed, Outcome::AlreadyCommitted])),
        [&*ids[0], &*ids[2]]
    );
    assert_eq!(items(&batch.fold(&[Outcome::Committed, failed(), Outcome::Committed])), [&*ids[1]]);
}

#[test]
fn a_shard_goes_on_at_its_first_failure() {
    for (sample, pointer) in
        [("kinesis", "/kinesis/sequenceNumber"), ("dynamodb-streams", "/dynamodb/SequenceNumber")]
    {
        let event = event(sample);
        let numbers = names(&event, pointer);
        let batch = split(&reporting(), &event).unwrap();
        assert!(!batch.may_run_next(&[failed()]), "{sample}");
        assert!(batch.may_run_next(&[Outcome::AlreadyCommitted]), "{sample}");
        let mut outcomes = vec![Outcome::NotRun; numbers.len()];
        outcomes[0] = Outcome::Committed;
        assert_eq!(items(&batch.fold(&outcomes)), [&*numbers[1]], "{sample}");
        outcomes[0] = failed();
        assert_eq!(items(&batch.fold(&outcomes)), [&*numbers[0]], "{sample}");
    }
}

#[test]
fn a_mapping_that_reports_nothing_must_fail_as_a_whole() {
    let batch = split(&Rules::default(), &event("sqs-batch")).unwrap();
    let Folded::Error(bytes) = batch.fold(&[Outcome::Committed, failed(), Outcome::NotRun]) else {
        panic!("a list would count as success")
    };
    let document: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document["errorType"], "Aft.RecordsFailed");
    let message = document["errorMessage"].as_str().unwrap();
    for part in ["2 of 3 records", "the store is away", "AFT_BATCH_ITEM_FAILURES=true"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_function_may_report_its_record_itself() {
    for response in [
        r#"{"batchItemFailures":[{"itemIdentifier":"m-1"}]}"#,
        r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#,
        r#"{"batchItemFailures":[null]}"#,
        r#"{"batchItemFailures":"m-1"}"#,
        r#"{"batchItemFailures":{}}"#,
    ] {
        assert!(Record::is_failed_by(response.as_bytes()), "{response}");
    }
    for response in [
        r#"{"batchItemFailures":[]}"#,
        r#"{"batchItemFailures":null}"#,
        "{}",
        "null",
        "",
        "text",
        "7",
        "[]",
        "{",
    ] {
        assert!(!Record::is_failed_by(response.as_bytes()), "{response}");
    }
}

#[test]
#[should_panic(expected = "every record has an outcome")]
fn an_outcome_must_not_be_forgotten() {
    let batch = split(&reporting(), &event("sqs-batch")).unwrap();
    let _ = batch.fold(&[Outcome::Committed]);
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Outcome::Committed),
        Just(Outcome::AlreadyCommitted),
        Just(failed()),
        Just(Outcome::NotRun)
    ]
}

proptest! {
    /// The service keeps its promise: no failed record is lost, order is kept where it counts, and
    /// nothing else comes again from a standard queue.
    #[test]
    fn no_failure_is_lost(
        sample in proptest::sample::select(vec!["sqs-batch", "sqs-fifo", "kinesis"]),
        run in proptest::collection::vec((outcome(), 0..3_usize), 1..12),
    ) {
        let record = event(sample)["Records"][0].clone();
        let records: Vec<_> = run.iter().enumerate().map(|(at, (_, group))| with(&record, |record| {
            match sample {
                "kinesis" => {
                    record["eventID"] = json!(format!("shard:{at:03}"));
                    record["kinesis"]["sequenceNumber"] = json!(format!("{at:03}"));
                }
                _ => {
                    record["messageId"] = json!(format!("{at:03}"));
                    record["attributes"]["MessageGroupId"] = json!(format!("group-{group}"));
                }
            }
        })).collect();
        let event = json!({ "Records": records });
        let batch = split(&reporting(), &event).unwrap();
        let outcomes: Vec<Outcome> = run.iter().map(|(outcome, _)| outcome.clone()).collect();
        let reported = items(&batch.fold(&outcomes));
        let again = |at: usize| match sample {
            // Lambda goes on at the lowest number of the list.
            "kinesis" => reported.iter().min().is_some_and(|lowest| format!("{at:03}") >= *lowest),
            _ => reported.contains(&format!("{at:03}")),
        };
        for (at, (outcome, group)) in run.iter().enumerate() {
            prop_assert!(!outcome.is_failure() || again(at), "record {} is lost", at);
            let before = |is: &dyn Fn(usize) -> bool| run[..at].iter().any(|(outcome, of)| outcome.is_failure() && is(*of));
            let may_come_again = match sample {
                "sqs-batch" => outcome.is_failure(),
                "sqs-fifo" => outcome.is_failure() || before(&|of| of == *group),
                _ => outcome.is_failure() || before(&|_| true),
            };
            prop_assert_eq!(again(at), may_come_again, "record {}", at);
            if sample != "sqs-batch" {
                prop_assert_eq!(batch.may_run_next(&outcomes[..at]), !before(&|of| sample == "kinesis" || of == *group));
            }
        }
    }

    /// Whatever is cut off at the front, the rest has the same records.
    #[test]
    fn a_shorter_batch_has_the_same_records(from in 0..3_usize) {
        let event = event("kinesis");
        let whole = split(&Rules::default(), &event).unwrap();
        let rest = set(&event, "/Records", json!(event["Records"].as_array().unwrap()[from..]));
        let rest = split(&Rules::default(), &rest).unwrap();
        for (one, other) in whole.records()[from..].iter().zip(rest.records()) {
            prop_assert_eq!(&one.event, &other.event);
            prop_assert_eq!(&one.identity, &other.identity);
        }
    }
}
