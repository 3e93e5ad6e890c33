//! Prepares and opens the stores that run on a server: S3, DynamoDB and Redis.

use std::sync::Arc;

use aft_bench::standard::StoreTarget;
use aft_services::Server;
use aft_store::Store;
use aft_store_dynamodb::DynamoDbStore;
use aft_store_redis::RedisStore;
use aft_store_s3::S3Store;

use crate::plan::Kind;
use crate::site::{Failed, Site};

/// The name of the bucket and of the table.
const NAME: &str = "figures";

/// Makes the bucket or the table, where the store needs one.
///
/// # Errors
/// Returns why it could not be made.
pub(crate) async fn prepare(site: &Site) -> Result<(), Failed> {
    match site.kind {
        Kind::S3 => server(site).create_bucket(NAME).map_err(|why| why.to_string()),
        Kind::DynamoDb => {
            let made = DynamoDbStore::init(&url(site, "plain"), &dynamodb_options(server(site))).await;
            made.map(drop).map_err(|why| why.to_string())
        }
        Kind::Memory | Kind::Local | Kind::Redis => Ok(()),
    }
}

/// Opens the store for one purpose, with its own transactions if it has them. Each purpose has a
/// prefix of its own.
///
/// # Errors
/// Returns why the store could not be opened.
pub(crate) async fn open(site: &Site, purpose: &str) -> Result<StoreTarget, Failed> {
    let (url, server) = (url(site, purpose), server(site));
    let store: Arc<dyn Store> = match site.kind {
        Kind::S3 => {
            let options = aft_store_s3::Options::with_keys(server.access_key(), server.secret_key());
            Arc::new(S3Store::open(&url, &options).await.map_err(|why| why.to_string())?)
        }
        Kind::DynamoDb => {
            let opened = DynamoDbStore::open(&url, &dynamodb_options(server)).await;
            return opened.map(aft_bench_targets::dynamodb).map_err(|why| why.to_string());
        }
        Kind::Redis => {
            let opened = RedisStore::open(&url, &aft_store_redis::Options::default()).await;
            Arc::new(opened.map_err(|why| why.to_string())?)
        }
        Kind::Memory | Kind::Local => unreachable!("an embedded store has no server"),
    };
    Ok(store.into())
}

fn url(site: &Site, purpose: &str) -> String {
    let server = server(site);
    let (endpoint, region) = (server.endpoint(), server.region());
    match site.kind {
        Kind::S3 => format!("s3://{NAME}/{purpose}?endpoint={endpoint}&region={region}"),
        Kind::DynamoDb => format!("dynamodb://{NAME}/{purpose}?endpoint={endpoint}&region={region}"),
        Kind::Redis => format!("redis://127.0.0.1:{}/{purpose}", server.port()),
        Kind::Memory | Kind::Local => unreachable!("an embedded store has no server"),
    }
}

fn server(site: &Site) -> &Server {
    site.service.as_ref().expect("it was started with the site")
}

fn dynamodb_options(server: &Server) -> aft_store_dynamodb::Options {
    aft_store_dynamodb::Options::with_keys(server.access_key(), server.secret_key())
}
