//! Names that proxies rewrite in paths are sent in the query.

use aft_api::Code;
use aft_client::{Begun, Client, Error, Request};

use crate::fake::{Act, Fake, aft, no_content, problem};

#[tokio::test]
async fn every_call_names_its_thing_where_proxies_let_it_be() {
    let fake = Fake::start(|asked| match asked.line.contains("result") {
        true => Act::say(problem(Code::NotFound)),
        false if asked.line.starts_with("PUT /v1/transactions") => Act::say(no_content()),
        false => aft(asked),
    })
    .await;
    let client = Client::builder(&fake.url()).write_buffer_bytes_max(0).build().unwrap();
    let Begun::Open(t) = client.begin(Request::unnamed()).await.unwrap() else { panic!("it is new") };
    fake.take();
    let open = format!("/v1/transactions/{}", t.token());
    for (name, path) in [("a/b", true), ("a/../b", false), ("/a", false), ("a/", false), (".", false)] {
        let encoded = name.replace('/', "%2F");
        let at = |under: &str, one: &str| match path {
            true => format!("{under}/{name}"),
            false => format!("{one}={encoded}"),
        };
        let (key, own) = (at("/v1/keys", "/v1/key?name"), at("/keys", "/key?name"));
        let after = if path { '?' } else { '&' };
        client.get(name).await.unwrap();
        client.get_fresh(name).await.unwrap();
        client.put(name, "v").await.unwrap();
        client.delete(name).await.unwrap();
        t.get(name).await.unwrap();
        t.put(name, "v").await.unwrap();
        t.delete(name).await.unwrap();
        client.request(name).await.unwrap();
        client.request(Request::named(name).scope("s/t")).await.unwrap();
        client.result(name).await.unwrap();
        let expect = [
            format!("GET {key}"),
            format!("GET {key}{after}fresh=true"),
            format!("PUT {key}"),
            format!("DELETE {key}"),
            format!("GET {open}{own}"),
            format!("PUT {open}{own}"),
            format!("DELETE {open}{own}"),
            format!("GET {}", at("/v1/requests", "/v1/request?id")),
            format!("GET {}{after}scope=s/t", at("/v1/requests", "/v1/request?id")),
            format!("GET {}", at("/v1/results", "/v1/result?id")),
        ];
        assert_eq!(fake.take_lines(), expect, "{name}");
    }
}

#[tokio::test]
async fn blank_ids_are_rejected_before_anything_is_sent() {
    let fake = Fake::start(aft).await;
    let client = Client::new(&fake.url()).unwrap();
    for request in [Request::named(""), Request::named(" \n"), Request::named("r").scope("")] {
        let ran = client.run(request.clone(), |_| async { Ok::<_, Error>("") }).await;
        assert!(matches!(ran, Err(Error::Invalid(_))), "{ran:?}");
        assert!(matches!(client.begin(request.clone()).await, Err(Error::Invalid(_))));
        assert!(matches!(client.execute(request.clone(), vec![], "").await, Err(Error::Invalid(_))));
        assert!(matches!(client.request(request.clone()).await, Err(Error::Invalid(_))));
        assert!(matches!(client.result(request.clone()).await, Err(Error::Invalid(_))));
        assert!(matches!(client.result_stream(request).await, Err(Error::Invalid(_))));
    }
    let handler = client
        .once(|id: &Option<&'static str>| id.map(str::to_owned), |_, _| async { Ok::<_, Error>("ran") });
    for id in [None, Some(""), Some(" ")] {
        assert!(matches!(handler.call(id).await, Err(Error::Invalid(_))), "{id:?}");
    }
    assert!(fake.take().is_empty(), "nothing was sent");
    assert_eq!(handler.call(Some("e1")).await.unwrap(), "ran");
}
