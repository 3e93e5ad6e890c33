//! Goal: the OpenAPI document, the routes and the codes agree. Method: each is compared with the
//! others.

use std::collections::BTreeSet;

use crate::support::Server;
use aft_api::{Action, Begin, Code, Format, IfOpen, Isolation};
use aft_door_native::{OPENAPI, ROUTES};
use serde_json::Value;

fn document() -> Value {
    serde_json::from_str(OPENAPI).expect("the document is JSON")
}

#[test]
fn the_document_and_the_router_have_the_same_routes() {
    let document = document();
    let mut documented = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            documented.insert((method.to_uppercase(), path.clone()));
        }
    }
    let routes: BTreeSet<_> =
        ROUTES.iter().map(|(method, path)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(documented, routes);
}

#[tokio::test]
async fn every_documented_route_is_served() {
    let server = Server::start().await;
    let served = server.call("GET", "/openapi.json", &[], "").await;
    assert_eq!(served.body, OPENAPI);
    for (method, path) in ROUTES {
        let path = path.replace("{transaction}", "x").replace("{key}", "a/b").replace("{id}", "a/b");
        let answer = server.call(method, &path, &[], "").await;
        let error = answer.header("aft-error");
        assert!(!matches!(error, Some("no_such_path" | "method_not_allowed")), "{method} {path}: {answer:?}");
    }
}

#[test]
fn every_code_is_documented_with_its_status_and_action() {
    let document = document();
    let responses = document["components"]["responses"].as_object().unwrap();
    let codes: BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(responses.keys().map(String::as_str).collect::<BTreeSet<_>>(), codes);
    for code in Code::ALL {
        let response = &responses[code.as_str()];
        assert_eq!(response["x-status"], code.status(), "{code:?}");
        assert_eq!(response["x-action"], serde_json::to_value::<Action>(code.action()).unwrap(), "{code:?}");
    }
    let listed = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    assert_eq!(listed.as_array().unwrap().len(), Code::ALL.len());
}

/// Goal: the document lists the values of each enumeration of an opening, in the order of their
/// protobuf numbers.
#[test]
fn the_values_of_enumerations_are_documented() {
    let document = document();
    let properties = &document["components"]["schemas"]["Begin"]["properties"];
    let json = |begin: Begin, name: &str| {
        let body: Value = serde_json::from_slice(&Format::Json.encode(&begin)).unwrap();
        body.get(name).cloned()
    };
    let if_open = |number| Begin { if_open: number, ..Begin::default() };
    let isolation = |number| Begin { isolation: number, ..Begin::default() };
    // Number 0 is the value of an opening without the property.
    assert_eq!(json(if_open(0), "if_open"), None);
    assert_eq!(properties["if_open"]["default"], "run");
    assert_eq!(json(if_open(1), "if_open").unwrap(), properties["if_open"]["enum"][1]);
    assert_eq!((IfOpen::try_from(1).is_ok(), IfOpen::try_from(2).is_ok()), (true, false));
    assert_eq!(json(isolation(0), "isolation"), None);
    assert_eq!(properties["isolation"].get("default"), None, "0 is not a level");
    let levels = properties["isolation"]["enum"].as_array().unwrap();
    for (number, level) in (1..).zip(levels) {
        assert_eq!(&json(isolation(number), "isolation").unwrap(), level);
    }
    assert!(Isolation::try_from(levels.len() as i32 + 1).is_err(), "all of them are listed");
}

#[test]
fn references_in_the_document_resolve() {
    fn check(document: &Value, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(reference)) = object.get("$ref") {
                    let target = reference.strip_prefix('#').expect("references are within the document");
                    assert!(document.pointer(target).is_some(), "{reference}");
                }
                object.values().for_each(|value| check(document, value));
            }
            Value::Array(array) => array.iter().for_each(|value| check(document, value)),
            _ => {}
        }
    }
    check(&document(), &document());
}
