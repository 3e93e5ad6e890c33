//! Measures the cost of credentials: one-key GETs through the router, without a socket, with open
//! access and with books of several sizes.
//!
//! `cargo run --release -p aft-door-native --example access_cost`

use std::sync::Arc;
use std::time::{Duration, Instant};

use aft_access::{Access, Book, Credential, Limits, Rights, TokenHash};
use aft_desk::Desk;
use aft_door_native::{Door, Meters, router};
use aft_node::NodeSettings;
use aft_store::Store as _;
use aft_store_memory::MemoryStore;
use axum::Router;
use axum::body::Body;
use axum::http::Request;
use tower::ServiceExt as _;

/// The number of calls in one measurement.
const CALLS: u32 = 2_000;
/// The number of measurements, of which the least counts: other programs use this machine too.
const ROUNDS: usize = 15;

fn credential(number: usize) -> Credential {
    Credential {
        name: format!("tenant-{number}"),
        tokens: vec![TokenHash::of(token(number).as_bytes())],
        access_keys: Vec::new(),
        certificate: None,
        prefix: "k".into(),
        rights: Rights::ALL,
        expires_ms: None,
        limits: Limits { calls_per_s: Some(u64::MAX), bytes_per_s: Some(u64::MAX), ..Limits::NONE },
    }
}

/// Returns a token of the usual length.
fn token(number: usize) -> String {
    format!("aft_{number:064x}")
}

async fn server(access: Access) -> Router {
    let store = MemoryStore::new();
    let settings = NodeSettings::new(&store.capabilities());
    let node = aft_node::start(Arc::new(store), settings).await.expect("the settings are sound");
    let desk = Desk::new(node, Arc::new(access), aft_desk::Settings::default());
    router(Door::new(desk, aft_net::Settings::default(), Meters::install()))
}

async fn call(router: &Router, method: &str, authorization: &str) {
    let request = Request::builder().method(method).uri("/v1/keys/k").header("authorization", authorization);
    let request = request.body(Body::from("v")).expect("the request is well-formed");
    let answer = router.clone().oneshot(request).await.expect("the router answers");
    assert!(answer.status().is_success(), "{method}: {}", answer.status());
}

/// Measures the time of one call: the least of several means.
async fn measure(router: &Router, authorization: &str) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS {
        let since = Instant::now();
        for _ in 0..CALLS {
            call(router, "GET", authorization).await;
        }
        least = least.min(since.elapsed() / CALLS);
    }
    least
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let authorization = format!("Bearer {}", token(0));
    for tenants in [0, 1, 100, 1_000] {
        let access = match tenants {
            0 => Access::open(),
            _ => {
                let book = Book::new((0..tenants).map(credential).collect()).expect("all are different");
                Access::guarded(book).expect("there is randomness")
            }
        };
        let router = server(access).await;
        call(&router, "PUT", &authorization).await;
        println!("{tenants:>5} credentials: a GET takes {:?}", measure(&router, &authorization).await);
    }
}
