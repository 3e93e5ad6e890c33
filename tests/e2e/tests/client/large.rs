//! Values and results of any size, and handlers of events.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aft_client::{Begun, Client, Error, Op, Request, Transaction, ValueStream};
use aft_e2e::server::Server;

use crate::client;

/// A value of several parts in the store.
const LARGE: usize = 9 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n / 7) as u8).collect()
}

async fn all(stream: Option<ValueStream>) -> Vec<u8> {
    let mut stream = stream.expect("there is a value");
    let mut read = Vec::new();
    while let Some(piece) = stream.next().await.expect("no piece is missing") {
        read.extend_from_slice(&piece);
    }
    assert_eq!(stream.size(), Some(read.len() as u64));
    read
}

#[tokio::test]
async fn large_values_are_written_from_sources_and_read_in_parts() {
    let server = Server::start("memory:");
    let client = client(server.address());
    let large = bytes(LARGE);
    let ran = client.put_stream("l", std::io::Cursor::new(large.clone()), Some(LARGE as u64)).await.unwrap();
    client.put_stream("unsized", std::io::Cursor::new(large.clone()), None).await.unwrap();
    for key in ["l", "unsized"] {
        let stream = client.stream(key).await.unwrap();
        assert_eq!(all(stream).await, large, "{key}");
    }
    assert_eq!(client.stream("l").await.unwrap().map(|stream| stream.version().to_owned()), ran.version);
    assert!(client.stream("nothing").await.unwrap().is_none());
    let part = client.get_range("l", 5_000_000, 1_000).await.unwrap().expect("it has a value");
    assert_eq!((part.bytes.as_ref(), part.size), (&large[5_000_000..5_001_000], LARGE as u64));
    let end = client.get_range("l", LARGE as u64 - 3, 1_000).await.unwrap().expect("it has a value");
    assert_eq!(end.bytes, large[LARGE - 3..]);
    assert!(matches!(client.get_range("l", LARGE as u64, 1).await, Err(Error::Invalid(_))));
    assert_eq!(client.get_range("nothing", 0, 1).await.unwrap(), None);

    // In a transaction: its own writes, whether they wait in the client or on the server.
    let Begun::Open(t) = client.begin(Request::unnamed()).await.unwrap() else { panic!("it is new") };
    t.put("small", "0123456789").await.unwrap();
    t.put_stream("large", std::io::Cursor::new(large.clone()), Some(LARGE as u64)).await.unwrap();
    assert_eq!(t.get_range("small", 2, 3).await.unwrap().unwrap().bytes, "234");
    assert!(matches!(t.get_range("small", 10, 1).await, Err(Error::Invalid(_))));
    assert_eq!(t.get_range("large", 7, 70).await.unwrap().unwrap().bytes, large[7..77]);
    assert_eq!(all(t.stream("small").await.unwrap()).await, b"0123456789");
    assert_eq!(all(t.stream("large").await.unwrap()).await, large);
    assert!(t.stream("nothing").await.unwrap().is_none());
    t.commit("").await.unwrap();
    assert_eq!(all(client.stream("large").await.unwrap()).await, large);

    client.execute("e", vec![Op::put("k", "v")], "done").await.unwrap();
    assert_eq!(all(client.result_stream("e").await.unwrap()).await, b"done");
    assert!(client.result_stream("nothing").await.unwrap().is_none());
}

#[tokio::test]
async fn a_handler_takes_effect_once_for_each_event() {
    #[derive(Clone)]
    struct Order {
        id: String,
        item: &'static str,
    }
    let server = Server::start("memory:");
    let client = client(server.address());
    let called = Arc::new(AtomicU32::new(0));
    let counted = called.clone();
    let handler = client
        .once(
            |order: &Order| order.id.clone(),
            move |t: Transaction, order: Order| {
                counted.fetch_add(1, Ordering::Relaxed);
                async move {
                    t.put(format!("orders/{}", order.id), order.item).await?;
                    Ok::<_, Error>(format!("{} is sold", order.item))
                }
            },
        )
        .scope("orders");
    for (id, item, result, calls) in
        [("1", "tea", "tea is sold", 1), ("1", "milk", "tea is sold", 1), ("2", "milk", "milk is sold", 2)]
    {
        let sold = handler.call(Order { id: id.into(), item }).await.unwrap();
        assert_eq!((sold.as_ref(), called.load(Ordering::Relaxed)), (result.as_bytes(), calls), "{id}");
    }
    assert_eq!(client.get("orders/1").await.unwrap().unwrap().bytes, "tea");
    assert!(client.request(Request::named("1").scope("orders")).await.unwrap().is_some());
    assert_eq!(client.request("1").await.unwrap(), None, "the scope is kept");
}

/// Kills the server between the read and the commit of a run that only reads, and starts another.
#[tokio::test]
async fn a_pure_read_outlives_its_server() {
    let directory = tempfile::tempdir().unwrap();
    let server = Server::on(directory.path());
    let address = server.address().to_string();
    Client::new(&format!("http://{address}")).unwrap().put("k", "v").await.unwrap();
    let mut server = Some(server);
    let client = Client::new(&format!("http://{address}")).unwrap();
    let store = format!("local:{}", directory.path().display());
    let begun = std::time::Instant::now();
    let mut called = 0;
    let ran = client.run(Request::unnamed(), |t| {
        called += 1;
        if let Some(server) = server.take() {
            return futures::future::Either::Left(async move {
                t.get("k").await?;
                server.kill();
                Ok::<_, Error>("first".into())
            });
        }
        futures::future::Either::Right(async move {
            let value = t.get("k").await?;
            Ok(value.expect("it was put").bytes)
        })
    });
    let restart = async {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let listen = address.clone();
        tokio::task::spawn_blocking(move || Server::start_with(&store, &["--listen", &listen])).await.unwrap()
    };
    let (ran, _server) = tokio::join!(ran, restart);
    let ran: bytes::Bytes = ran.unwrap().result;
    assert_eq!((ran, called), ("v".into(), 2));
    assert!(begun.elapsed() < std::time::Duration::from_secs(30), "{:?}", begun.elapsed());
}
