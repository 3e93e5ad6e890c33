//! Tests of the text format.
//!
//! Goal: a written history is parsed back unchanged; a mistake is rejected with its line and a
//! remedy; nothing panics. Method: examples with the exact message, round trips of random
//! histories, random bytes, and random lines that are almost valid. The seed is printed.

use aft_history::{
    History, Key, Operation, Options, Outcome, Readers, RequestId, SessionId, Stamp, Transaction,
    TransactionId, Value, check, text,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

fn runner(cases: u32) -> TestRunner {
    let given = std::env::var("AFT_HISTORY_SEED").ok();
    let seed = given.map_or(0xAF7_u64, |given| given.parse().expect("AFT_HISTORY_SEED is a number"));
    println!("AFT_HISTORY_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

fn parse(text: &str) -> History {
    text::parse(text.as_bytes()).expect("the text is a history")
}

#[track_caller]
fn refuses(text: &str, message: &str) {
    match text::parse(text.as_bytes()) {
        Err(error) => assert_eq!(error.to_string(), message),
        Ok(history) => panic!("the text was accepted as {history:?}"),
    }
}

#[test]
fn reads_operations_comments_and_blank_lines() {
    let history = parse("# a story\n\n  w(1, 10 ,3,4)\t\r\nr(2,0,3,4)\n#@ unknown 4\nw(1,11,5,-1)");
    let [unknown, aborted] = history.transactions() else { panic!("{history:?}") };
    assert_eq!((unknown.id, unknown.session), (TransactionId::new(4), SessionId::new(3)));
    assert_eq!(unknown.outcome, Outcome::Unknown);
    let write = Operation::Write { key: Key(1), value: Value(10) };
    let read = Operation::Read { key: Key(2), value: Value::ABSENT };
    assert_eq!(unknown.operations, [write, read]);
    assert_eq!((aborted.outcome, aborted.id.number()), (Outcome::Aborted, None));
    assert_eq!(aborted.id.to_string(), "an aborted transaction of session 5");
}

#[test]
fn operations_of_one_transaction_need_not_be_neighbours() {
    let history = parse("w(1,10,0,0)\nw(1,11,1,1)\nw(2,20,0,0)\n");
    let lengths: Vec<_> = history.transactions().iter().map(|t| t.operations.len()).collect();
    assert_eq!(lengths, [2, 1]);
}

#[test]
fn aborted_operations_belong_to_the_last_one_declared_in_their_session() {
    let history =
        parse("w(1,9,1,-1)\n#@ aborted 5 1\nw(1,10,1,-1)\n#@ aborted 6 1\nw(1,11,1,-1)\nw(1,12,2,-1)\n");
    let told: Vec<_> =
        history.transactions().iter().map(|t| (t.id.number(), t.writes().next().unwrap().1)).collect();
    assert_eq!(told, [(None, Value(9)), (Some(5), Value(10)), (Some(6), Value(11)), (None, Value(12))]);
}

/// A regression test: the parser silently left out a transaction that wrote nothing but value 0.
#[test]
fn refuses_a_write_of_value_0() {
    let message = |line: u64| {
        format!(
            "line {line}: value 0 is written to k1; 0 is reserved and means never written: count values from 1, and \
             leave out a first transaction that writes 0 to every key"
        )
    };
    refuses("w(1,0,0,0)\n", &message(1));
    refuses("w(2,5,0,0)\nw(1,0,0,0)\n", &message(2));
    refuses("w(1,0,0,-1)\n", &message(1));
    refuses("w(1,7,0,0)\nr(1,7,1,1)\nw(1,0,2,2)\n", &message(3));
}

#[test]
fn refuses_malformed_operations() {
    refuses(
        "w(1,10,0,0)\nx(1,10,0,0)\n",
        "line 2: \"x(1,10,0,0)\" is not an operation; expected w(key,value,session,transaction) or \
         r(key,value,session,transaction), or a comment after '#'",
    );
    refuses("w(1,10,0)\n", "line 1: 3 numbers in the brackets; expected four: key,value,session,transaction");
    refuses("w(1,ten,0,0)\n", "line 1: value \"ten\" is not a number from 0 to 18446744073709551615");
    refuses("w(+1,1,0,0)\n", "line 1: key \"+1\" is not a number from 0 to 18446744073709551615");
    refuses(
        "w(1,1,0,-2)\n",
        "line 1: transaction \"-2\" is not a number from 0 to 9223372036854775807, or -1 for an aborted transaction",
    );
    refuses(
        "\n\nr(1,1,9223372036854775808,0)\n",
        "line 3: session \"9223372036854775808\" is not a number from 0 to 9223372036854775807",
    );
}

#[test]
fn refuses_contradictions() {
    refuses(
        "w(1,10,0,7)\nw(2,10,1,7)\n",
        "line 2: T7 is in session 1 here and in session 0 above; a transaction has one session, so give them \
         different numbers",
    );
    refuses(
        "w(1,10,0,0)\nr(1,10,1,1)\nw(1,10,2,2)\n",
        "line 3: value 10 of k1 is written here and in line 1; values must name their writer: write every value to \
         a key only once",
    );
    refuses(
        "#@ aborted 7 0\nw(1,10,0,7)\n",
        "line 2: T7 was declared aborted; its operations carry the transaction -1",
    );
    refuses(
        "w(1,10,0,7)\n#@ aborted 7 0\n",
        "line 2: directive aborted contradicts or repeats an earlier line about T7; keep only one of them",
    );
}

#[test]
fn refuses_wrong_directives() {
    refuses(
        "#@ unkown 7\n",
        "line 1: directive \"unkown\" is not known; the directives are unknown, aborted, stamp, request, began, committed and \
         session (begin a comment with '#' and a space)",
    );
    refuses(
        "w(1,10,0,7)\n#@ stamp 7\n",
        "line 2: directive stamp with 1 numbers; expected 2: #@ stamp TRANSACTION NUMBER",
    );
    refuses(
        "#@ unknown 7\nw(1,10,0,8)\n",
        "line 1: T7 has no operations anywhere in the text; correct its number, or declare it with '#@ session T S'",
    );
    refuses(
        "w(1,10,0,7)\n#@ stamp 7 1\n#@ stamp 7 2\n",
        "line 3: directive stamp contradicts or repeats an earlier line about T7; keep only one of them",
    );
}

#[test]
fn refuses_a_file_that_has_no_lines() {
    let bytes = vec![b'x'; 1 << 20];
    let error = text::parse(bytes.as_slice()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1: longer than 65536 bytes; is this a history? expected one operation per line"
    );
}

fn transactions() -> impl Strategy<Value = Vec<Transaction>> {
    let operation = (any::<bool>(), 0_u64..4, any::<u64>());
    let marks = (
        prop::option::of(any::<u128>()),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
        prop::option::of(any::<u64>()),
    );
    let part = (0_u8..3, 0_u64..3, marks, prop::collection::vec(operation, 0..5));
    prop::collection::vec(part, 0..8).prop_map(|parts| {
        let mut value = 0;
        let mut transactions = Vec::new();
        for (number, (outcome, session, marks, operations)) in (0..).zip(parts) {
            let mut transaction = Transaction::new(TransactionId::new(number), SessionId::new(session));
            transaction.outcome =
                [Outcome::Committed, Outcome::Aborted, Outcome::Unknown][usize::from(outcome)];
            let (stamp, request, begin_ms, commit_ms) = marks;
            transaction.stamp = stamp.map(Stamp);
            transaction.request = request.map(RequestId);
            (transaction.begin_ms, transaction.commit_ms) = (begin_ms, commit_ms);
            for (is_write, key, read) in operations {
                if is_write {
                    value += 1;
                    transaction.write(key, u64::MAX - value);
                } else {
                    transaction.read(key, read);
                }
            }
            transactions.push(transaction);
        }
        transactions
    })
}

#[test]
fn a_written_history_is_parsed_back() {
    let result = runner(2000).run(&transactions(), |transactions| {
        let history: History = transactions.into_iter().collect();
        let mut written = Vec::new();
        text::write(&mut written, &history).unwrap();
        prop_assert_eq!(text::parse(written.as_slice()).unwrap(), history);
        Ok(())
    });
    result.unwrap();
}

#[test]
fn nameless_aborted_transactions_survive() {
    let history = parse("#@ aborted 5 1\nw(1,10,1,-1)\nw(1,12,2,-1)\nr(1,0,2,-1)\n");
    let mut written = Vec::new();
    text::write(&mut written, &history).unwrap();
    let mut again = text::parse(written.as_slice()).unwrap().transactions().to_vec();
    again.reverse();
    assert_eq!(again, history.transactions());
}

#[test]
fn no_bytes_make_the_parser_panic() {
    let bytes = prop::collection::vec(any::<u8>(), 0..200);
    let result = runner(5000).run(&bytes, |bytes| {
        let _ = text::parse(bytes.as_slice());
        Ok(())
    });
    result.unwrap();
}

#[test]
fn no_lines_make_the_parser_or_the_checker_panic() {
    let number = prop::sample::select(vec![
        "0",
        "1",
        "2",
        "-1",
        "-2",
        "",
        " 1 ",
        "9223372036854775807",
        "18446744073709551615",
        "340282366920938463463374607431768211455",
        "340282366920938463463374607431768211456",
        "x",
    ]);
    let words = vec!["unknown", "aborted", "stamp", "request", "began", "committed", "session", "what", ""];
    let word = prop::sample::select(words);
    let operation =
        (prop::sample::select(vec!["w", "r", "#", "#@"]), prop::collection::vec(number.clone(), 2..6))
            .prop_map(|(letter, numbers)| format!("{letter}({})", numbers.join(",")));
    let directive = (word, prop::collection::vec(number, 0..4))
        .prop_map(|(word, numbers)| format!("#@ {word} {}", numbers.join(" ")));
    let lines = prop::collection::vec(prop_oneof![3 => operation, 2 => directive], 0..12);
    let checked = std::cell::Cell::new(0);
    let result = runner(20_000).run(&lines, |lines| {
        let text = lines.join("\n");
        match text::parse(text.as_bytes()) {
            Ok(history) => {
                for (readers, sessions) in [(Readers::Committed, false), (Readers::All, true)] {
                    let report =
                        check(&history, &Options { readers, sessions, ..Options::default() }).unwrap();
                    prop_assert!(report.to_string().starts_with("read atomic: "));
                }
                checked.set(checked.get() + 1);
            }
            Err(error) => {
                let line = usize::try_from(error.line).unwrap();
                prop_assert!((1..=lines.len()).contains(&line), "{}", error);
            }
        }
        Ok(())
    });
    result.unwrap();
    assert!(checked.get() > 1000, "only {} of the texts are histories", checked.get());
}
