//! Goal: both encodings carry every message, the JSON is as documented, and a malformed body is
//! rejected with its position. Method: written examples, and random messages and bytes.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![
        ".{0,8}".prop_map(Op::get),
        ".{0,8}".prop_map(Op::delete),
        (".{0,8}", vec(any::<u8>(), 0..40), option::of(".{0,8}")).prop_map(|(key, value, content_type)| {
            Op::of(OpKind::Put(Put { key, value: value.into(), content_type }))
        }),
        ".{0,8}".prop_map(Op::check),
        (".{0,8}", any::<i64>()).prop_map(|(key, by)| Op::add(key, by)),
    ];
    let condition = prop_oneof![
        any::<bool>().prop_map(OpIf::Absent),
        ".{0,8}".prop_map(OpIf::Version),
        vec(any::<u8>(), 0..40).prop_map(|value| OpIf::Value(value.into())),
    ];
    (kind, option::of(condition)).prop_map(|(op, condition)| Op { condition, ..op })
}

fn bytes() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn begin() -> impl Strategy<Value = Begin> {
    (
        option::of(".{0,8}"),
        option::of(".{0,8}"),
        option::of(any::<u64>()),
        0..2i32,
        option::of(".{0,8}"),
        (any::<bool>(), 0..3i32, option::of(any::<u32>())),
        vec(op(), 0..5),
        option::of(any::<bool>()),
        bytes(),
    )
        .prop_map(|(request_id, scope, ms, if_open, text, level, ops, commit, result)| Begin {
            request_id,
            scope,
            fingerprint: text.clone(),
            timeout_ms: ms,
            wait_ms: ms,
            if_open,
            session: text,
            retention_s: ms,
            ops,
            commit,
            result,
            fresh: level.0,
            isolation: level.1,
            conflicts: level.2,
        })
}

fn reply() -> impl Strategy<Value = Reply> {
    let read = (".{0,8}", bytes(), option::of(".{0,8}"), option::of(".{0,8}"))
        .prop_map(|(key, value, version, content_type)| Read { key, value, version, content_type });
    (option::of(".{0,8}"), vec(read, 0..4), any::<bool>(), bytes()).prop_map(
        |(text, results, flag, result)| Reply {
            transaction: text.clone(),
            expires_at: text.clone(),
            results,
            committed: flag,
            replayed: !flag,
            result_size: result.as_ref().map(|bytes| bytes.len() as u64),
            result,
            version: text.clone(),
            session: text,
        },
    )
}

proptest! {
    #[test]
    fn requests_round_trip(begin in begin()) {
        for format in [Format::Json, Format::Protobuf] {
            prop_assert_eq!(&format.decode_request::<Begin>(&format.encode(&begin)).unwrap(), &begin);
        }
    }

    #[test]
    fn replies_round_trip(reply in reply()) {
        for format in [Format::Json, Format::Protobuf] {
            prop_assert_eq!(&format.decode::<Reply>(&format.encode(&reply)).unwrap(), &reply);
        }
    }

    #[test]
    fn random_bytes_decode_or_are_rejected_at_a_position_in_the_body(body in vec(any::<u8>(), 0..200)) {
        let body = Bytes::from(body);
        for format in [Format::Json, Format::Protobuf] {
            if let Err(why) = format.decode_request::<Begin>(&body) {
                prop_assert!(why.position <= body.len());
            }
        }
    }

    #[test]
    fn corrupted_bodies_decode_or_are_rejected_at_a_position_in_the_body(begin in begin(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        for format in [Format::Json, Format::Protobuf] {
            let mut body = format.encode(&begin).to_vec();
            if body.is_empty() {
                continue;
            }
            let at = at.index(body.len());
            body[at] = byte;
            let body = Bytes::from(body);
            if let Err(why) = format.decode_request::<Begin>(&body) {
                prop_assert!(why.position <= body.len());
            }
        }
    }
}

#[test]
fn json_is_as_documented() {
    let body = br#"{
        "request_id": "order-7", "scope": "checkout", "if_open": "wait", "fresh": true, "retention_s": 60, "isolation": "serializable", "conflicts": 3,
        "ops": [{"get": "a/b"}, {"value": "AQI=", "put": "c"}, {"put": "d", "text": "hi", "content_type": "text/plain"}, {"delete": "e"},
            {"put": "f", "text": "hi", "if_absent": true}, {"if_version": "1.0-00", "delete": "g"}, {"check": "h", "if_value": "aGk="}, {"add": "i", "by": -2}],
        "commit": true, "result": "b2s"
    }"#;
    let begin: Begin = Format::Json.decode_request(&Bytes::from_static(body)).unwrap();
    assert_eq!(
        begin,
        Begin {
            request_id: Some("order-7".into()),
            scope: Some("checkout".into()),
            if_open: IfOpen::Wait as i32,
            fresh: true,
            isolation: Isolation::Serializable as i32,
            conflicts: Some(3),
            retention_s: Some(60),
            ops: vec![
                Op::get("a/b"),
                Op::put("c", &[1u8, 2][..]),
                Op::of(OpKind::Put(Put {
                    key: "d".into(),
                    value: "hi".into(),
                    content_type: Some("text/plain".into())
                })),
                Op::delete("e"),
                Op::put("f", "hi").if_absent(),
                Op::delete("g").if_version("1.0-00"),
                Op::check("h").if_value("hi"),
                Op::add("i", -2),
            ],
            commit: Some(true),
            result: Some("ok".into()),
            ..Begin::default()
        }
    );
    let reply = Reply {
        results: vec![
            Read {
                key: "a".into(),
                value: Some("hi".into()),
                version: Some("1.0-00".into()),
                content_type: None,
            },
            Read { key: "b".into(), ..Read::default() },
        ],
        committed: true,
        ..Reply::default()
    };
    assert_eq!(
        Format::Json.encode(&reply),
        r#"{"results":[{"key":"a","value":"aGk=","version":"1.0-00"},{"key":"b","value":null}],"committed":true}"#
    );
}

/// Clients of other versions use these bytes: a change of this test is a change of the API.
#[test]
fn protobuf_is_as_documented() {
    let batch = Batch {
        ops: vec![Op::get("a"), Op::put("b", "x"), Op::delete("c")],
        commit: Some(true),
        result: None,
    };
    assert_eq!(
        &Format::Protobuf.encode(&batch)[..],
        b"\x0a\x03\x0a\x01a\x0a\x08\x12\x06\x0a\x01b\x12\x01x\x0a\x03\x1a\x01c\x10\x01"
    );
}

#[test]
fn malformed_bodies_name_their_position() {
    let check = |format: Format, body: &[u8], position: usize, part: &str| {
        let why = format.decode_request::<Begin>(&Bytes::copy_from_slice(body)).unwrap_err();
        assert_eq!(why.position, position, "{why} in {:?}", body.escape_ascii().to_string());
        assert!(why.detail.contains(part), "{why}");
    };
    check(Format::Json, b"{", 0, "EOF");
    check(Format::Json, b"{\n  \"ops\": [,]}", 11 + 1, "expected value");
    check(Format::Json, br#"{"retension_s": 1}"#, 13, "unknown field `retension_s`");
    check(Format::Json, br#"{"if_open": "never"}"#, 18, "unknown variant `never`");
    check(Format::Json, br#"{"isolation": "unspecified"}"#, 26, "unknown variant `unspecified`");
    check(Format::Json, br#"{"ops": [{"put": "k"}]}"#, 20, "needs \"value\"");
    check(Format::Json, br#"{"ops": [{"get": "k", "text": "v"}]}"#, 33, "belong to \"put\" only");
    check(Format::Json, br#"{"ops": [{"get": "k", "put": "k"}]}"#, 32, "this one has two");
    check(Format::Json, br#"{"ops": [{"put": "k", "value": "?"}]}"#, 33, "not base64");
    check(Format::Json, br#"{"ops": [{}]}"#, 10, "needs \"get\"");
    check(Format::Json, br#"{"ops": [{"add": "k"}]}"#, 20, "needs \"by\"");
    check(Format::Json, br#"{"ops": [{"get": "k", "by": 1}]}"#, 29, "needs \"by\"");
    check(
        Format::Json,
        br#"{"ops": [{"check": "k", "if_absent": true, "if_version": "v"}]}"#,
        60,
        "only one of \"if_absent\"",
    );
    check(Format::Json, b"[]", 0, "expected an object");
    check(Format::Json, br#" ["request", "scope"]"#, 1, "at byte 1 there is a list");
    check(Format::Json, b"null", 0, "there is true, false or null");
    check(Format::Json, b"op", 0, "there is text that is not JSON");
    check(Format::Json, b"  ", 1, "EOF");
    check(Format::Json, br#"{"ops": [["k"]]}"#, 8, "expected an operation");
    check(Format::Json, br#"{"ops": {}}"#, 7, "expected a list of operations");
    check(Format::Json, br#"{"result": ["b2s="]}"#, 10, "expected base64 text");
    check(Format::Protobuf, b"\x0a\x05ab", 2, "at byte 2");
    check(Format::Protobuf, b"\x0a\x01\xff", 3, "UTF-8");
}

#[test]
fn malformed_json_names_its_field() {
    let check = |body: &str, start: &str| {
        let why = Format::Json.decode_request::<Begin>(&Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
        assert!(why.detail.starts_with(start), "{why}");
    };
    check(r#"{"commit": 1}"#, "`commit`: invalid type: integer `1`");
    check(r#"{"timeout_ms": -1}"#, "`timeout_ms`: invalid value");
    check(r#"{"isolation": null}"#, "`isolation`: expected value");
    check(r#"{"if_open": "never"}"#, "`if_open`: unknown variant `never`");
    check(r#"{"result": "?"}"#, "`result`: not base64");
    check(r#"{"ops": {}}"#, "`ops`: invalid type");
    check(r#"{"ops": [{"get": "k"}, {"value": "?", "put": "k"}]}"#, "`ops[1].value`: not base64");
    check(r#"{"ops": [{"get": 5}]}"#, "`ops[0].get`: invalid type");
    check(r#"{"ops": [{"get": "k"}, {"put": "k"}]}"#, "`ops[1]`: a \"put\" needs");
    // These name the field already.
    check(r#"{"opps": []}"#, "unknown field `opps`");
    check(r#"{"ops": [{"ops": 1}]}"#, "`ops[0]`: unknown field `ops`, expected one of `get`");
    check(r#"{"commit": true, "commit": true}"#, "duplicate field `commit`");
    // These are about the text.
    check(r#"{"timeout_ms": 1x}"#, "expected `,` or `}`");
    check("{} x", "trailing characters");
}

#[test]
fn too_many_operations_are_counted_before_they_take_memory() {
    for format in [Format::Json, Format::Protobuf] {
        let most = Batch { ops: vec![Op::get("k"); OPS_LEN_MAX], ..Batch::default() };
        assert_eq!(format.decode_request::<Batch>(&format.encode(&most)).unwrap(), most);
        let more = Batch { ops: vec![Op::get("k"); OPS_LEN_MAX + 5], ..Batch::default() };
        let why = format.decode_request::<Batch>(&format.encode(&more)).unwrap_err();
        assert!(why.detail.contains("at most 1000 operations; this one has 1005"), "{why}");
    }
}

#[test]
fn content_types_name_their_format() {
    for (text, format) in [
        ("application/json", Some(Format::Json)),
        ("Application/JSON; charset=utf-8", Some(Format::Json)),
        ("application/x-protobuf", Some(Format::Protobuf)),
        ("application/protobuf", Some(Format::Protobuf)),
        ("text/plain", None),
        ("", None),
    ] {
        assert_eq!(Format::of_content_type(text), format, "{text}");
    }
}

#[test]
fn problems_round_trip_and_none_is_a_500() {
    for code in Code::ALL {
        assert_ne!(code.status(), 500);
        let problem = Problem::new(*code, "why");
        let json = serde_json::to_string(&problem).unwrap();
        assert!(json.contains(&format!("\"code\":\"{}\"", code.as_str())), "{json}");
        assert_eq!(serde_json::from_str::<Problem>(&json).unwrap(), problem);
    }
}
