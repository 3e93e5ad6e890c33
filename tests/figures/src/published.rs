//! The paper's own numbers: figures 2 to 7 and table 2 of Sreekanti et al., "A Fault-Tolerance Shim
//! for Serverless Computing", EuroSys 2020.
//!
//! Its figure 2 compares with DynamoDB's batched and unbatched writes. Figures 5 and 6 do not
//! compare with plain access, and figure 9 has no number, only "no discernible effect".

use crate::data::Published;
use crate::plan::{
    AFT, AFT_AT_ONCE, AFT_IN_ORDER, NO_CACHE, PLAIN, PLAIN_AT_ONCE, PLAIN_IN_ORDER, TRANSACTIONS,
};

fn latency(store: &str, way: &str, x: f64, p50_ms: f64, p99_ms: f64) -> Published {
    Published {
        store: store.to_owned(),
        way: way.to_owned(),
        x,
        p50_ms: Some(p50_ms),
        p99_ms: Some(p99_ms),
        transactions_per_s: None,
        own_write: None,
        fractured: None,
    }
}

fn anomalies(of: Published, own_write: u64, fractured: u64) -> Published {
    Published { own_write: Some(own_write), fractured: Some(fractured), ..of }
}

/// Returns the paper's numbers for `figure`; empty if it has none.
pub(crate) fn of(figure: &str) -> Vec<Published> {
    let series = |store: &str, way: &str, points: &[(f64, f64, f64)]| {
        points.iter().map(|(x, p50, p99)| latency(store, way, *x, *p50, *p99)).collect::<Vec<_>>()
    };
    let (dynamo, redis) = ("DynamoDB", "Redis");
    match figure {
        "io-latency" => [
            series(dynamo, AFT_IN_ORDER, &[(1.0, 10.2, 17.2), (5.0, 13.4, 28.6), (10.0, 17.6, 56.9)]),
            series(dynamo, AFT_AT_ONCE, &[(1.0, 9.9, 15.3), (5.0, 10.9, 18.3), (10.0, 12.3, 25.5)]),
            series(dynamo, PLAIN_IN_ORDER, &[(1.0, 3.03, 5.45), (5.0, 14.9, 580.0), (10.0, 35.6, 696.0)]),
            series(dynamo, PLAIN_AT_ONCE, &[(1.0, 3.08, 7.49), (5.0, 4.65, 11.7), (10.0, 6.82, 15.2)]),
        ]
        .concat(),
        "end-to-end" => vec![
            anomalies(latency("S3", PLAIN, 0.0, 199.0, 649.0), 595, 836),
            anomalies(latency("S3", AFT, 0.0, 245.0, 742.0), 0, 0),
            anomalies(latency(dynamo, PLAIN, 0.0, 69.1, 137.0), 537, 779),
            anomalies(latency(dynamo, AFT, 0.0, 68.8, 141.0), 0, 0),
            anomalies(latency(dynamo, TRANSACTIONS, 0.0, 81.1, 351.0), 0, 115),
            anomalies(latency(redis, PLAIN, 0.0, 33.6, 72.5), 215, 383),
            anomalies(latency(redis, AFT, 0.0, 39.8, 87.8), 0, 0),
        ],
        "cache" => [
            series(dynamo, TRANSACTIONS, &[(1.0, 78.1, 158.0), (1.5, 98.7, 723.0), (2.0, 116.0, 1140.0)]),
            series(dynamo, NO_CACHE, &[(1.0, 69.9, 147.0), (1.5, 68.6, 145.0), (2.0, 67.6, 149.0)]),
            series(dynamo, AFT, &[(1.0, 63.6, 139.0), (1.5, 60.3, 132.0), (2.0, 57.8, 132.0)]),
            series(redis, NO_CACHE, &[(1.0, 44.9, 99.5), (1.5, 45.0, 98.5), (2.0, 45.7, 99.9)]),
            series(redis, AFT, &[(1.0, 42.7, 92.0), (1.5, 42.7, 97.5), (2.0, 44.4, 92.5)]),
        ]
        .concat(),
        "read-share" => {
            let over = |p50: [f64; 6], p99: [f64; 6]| {
                (0..6).map(|nth| (20.0 * nth as f64, p50[nth], p99[nth])).collect::<Vec<_>>()
            };
            let on_dynamo =
                over([56.5, 58.1, 59.3, 60.8, 61.0, 58.1], [130.0, 135.0, 122.0, 123.0, 123.0, 124.0]);
            let on_redis = over([40.4, 42.6, 42.2, 42.1, 43.1, 42.2], [94.3, 100.0, 100.0, 94.2, 96.7, 94.1]);
            [series(dynamo, AFT, &on_dynamo), series(redis, AFT, &on_redis)].concat()
        }
        "length" => {
            let over = |p50: [f64; 6], p99: [f64; 6]| {
                let functions = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
                (0..6).map(|nth| (functions[nth], p50[nth], p99[nth])).collect::<Vec<_>>()
            };
            let on_dynamo =
                over([43.0, 70.3, 123.0, 175.0, 221.0, 270.0], [101.0, 141.0, 216.0, 280.0, 334.0, 403.0]);
            let on_redis =
                over([27.0, 49.8, 96.6, 144.0, 191.0, 239.0], [69.6, 115.0, 176.0, 238.0, 291.0, 352.0]);
            [series(dynamo, AFT, &on_dynamo), series(redis, AFT, &on_redis)].concat()
        }
        "clients" => [(dynamo, 40.0, 600.0), (redis, 45.0, 900.0)]
            .map(|(store, x, per_s)| Published {
                transactions_per_s: Some(per_s),
                p50_ms: None,
                p99_ms: None,
                ..latency(store, AFT, x, 0.0, 0.0)
            })
            .into(),
        _ => Vec::new(),
    }
}
