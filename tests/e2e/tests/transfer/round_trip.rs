//! An object of any key, size and kind comes back as it was: through a directory and through a
//! bucket, with and without the manifest.

use aft_e2e::client::Client;
use aft_e2e::real_store::RealStore;
use aft_e2e::server::{Server, local};
use aft_services::Service;
use hyper::Method;

use crate::objects::{client_of, fill, see_all};
use crate::{ANY, S3, aft, report, temporary, text};

#[tokio::test]
async fn objects_of_all_kinds_survive_every_way() {
    let (one, two, three, four) = (temporary(), temporary(), temporary(), temporary());
    let place = temporary();
    let server = Server::start_with(&local(one.path()), &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await);
    let keys = fill(&s3, "b-1").await;
    let before = see_all(&s3, "b-1", &keys).await;

    // From the endpoint, as from any bucket, into a store.
    let endpoint = server.s3_url().await;
    let source = format!("s3://b-1?endpoint={endpoint}");
    let imported = report(&["import", &source, "--store", &local(two.path())], &ANY);
    let count = keys.len() as u64;
    assert_eq!(
        (&imported["imported"], &imported["not_verified"]),
        (&count.into(), &0.into()),
        "{imported:#}"
    );
    assert_eq!((&imported["bucket"], &imported["bucket_is_new"]), (&"b-1".into(), &true.into()));
    // Once more: there is nothing left to do.
    let again = report(&["import", &source, "--store", &local(two.path())], &ANY);
    assert_eq!((&again["imported"], &again["skipped"]), (&0.into(), &count.into()), "{again:#}");

    // Below a prefix, keys are those below it, with or without a slash at its end.
    for prefix in ["folder", "folder/"] {
        let part = temporary();
        let source = format!("s3://b-1/{prefix}?endpoint={endpoint}");
        let store = local(part.path());
        let imported = report(&["import", &source, "--store", &store, "--bucket", "b-4"], &ANY);
        assert_eq!(imported["imported"], 2, "{imported:#}");
        let server = Server::start_with(&store, &S3);
        let (there, keys) = (client_of(&server.s3_url().await), ["file", "sub/file"].map(str::to_owned));
        let seen = see_all(&there, "b-4", &keys).await;
        assert_eq!(seen[0].1.bytes, b"3: folder/file");
    }

    // From that store into a directory, and from there into another store, under another name.
    let directory = place.path().join("there");
    let exported = report(&["export", "b-1", text(&directory), "--store", &local(two.path())], &[]);
    assert_eq!((&exported["objects"], &exported["written"]), (&count.into(), &count.into()), "{exported:#}");
    let outside: Vec<_> = std::fs::read_dir(place.path()).expect("it is there").collect();
    assert_eq!(outside.len(), 1, "nothing is written outside the directory: {outside:?}");
    assert_eq!(std::fs::read(directory.join("folder/sub/file")).unwrap(), b"4: folder/sub/file");
    assert_eq!(std::fs::read(directory.join("100%25")).unwrap(), b"7: 100%");
    let restored =
        report(&["import", text(&directory), "--store", &local(three.path()), "--bucket", "b-2"], &[]);
    assert_eq!(
        (&restored["imported"], &restored["not_verified"]),
        (&count.into(), &0.into()),
        "{restored:#}"
    );

    // From that store into a bucket below a prefix, and from there into a third store.
    s3.create_bucket().bucket("b-3").send().await.expect("it is made");
    let target = format!("s3://b-3/deep/er?endpoint={endpoint}");
    let exported = report(&["export", "b-2", &target, "--store", &local(three.path())], &ANY);
    assert_eq!(exported["written"], count, "{exported:#}");
    let restored = report(&["import", &target, "--store", &local(four.path())], &ANY);
    assert_eq!(
        (&restored["imported"], &restored["not_verified"]),
        (&count.into(), &0.into()),
        "{restored:#}"
    );
    drop(server);

    for (store, bucket) in [(&two, "b-1"), (&three, "b-2"), (&four, "b-2")] {
        let server = Server::start_with(&local(store.path()), &S3);
        let s3 = client_of(&server.s3_url().await);
        let after = see_all(&s3, bucket, &keys).await;
        for (was, is) in before.iter().zip(&after) {
            let shown = (was.1.without_bytes(), is.1.without_bytes());
            assert!(was == is, "{:?} in {bucket}: {shown:#?}", was.0);
        }
    }
}

/// A value of the native API has a tag that is no digest: it is not taken for a wrong one, and the
/// manifest of an export has its MD5.
#[tokio::test]
async fn values_of_the_native_api_come_along() {
    let (one, two, place) = (temporary(), temporary(), temporary());
    let server = Server::start_with(&local(one.path()), &[&S3[..], &["--bucket", "b-1"]].concat());
    let source = format!("s3://b-1?endpoint={}", server.s3_url().await);
    let client = Client::new(server.address());
    let put = client.raw(Method::PUT, "/v1/keys/b-1/native", &[("content-type", "text/css")], "native").await;
    assert_eq!(put.expect("it answers").status(), 200);
    let imported = report(&["import", &source, "--store", &local(two.path())], &ANY);
    assert_eq!((&imported["imported"], &imported["not_verified"]), (&1.into(), &1.into()), "{imported:#}");
    let again = report(&["import", &source, "--store", &local(two.path())], &ANY);
    assert_eq!(again["skipped"], 1, "{again:#}");
    drop(server);
    report(&["export", "b-1", text(place.path()), "--store", &local(one.path())], &[]);
    let target = local(two.path());
    let import = ["import", text(place.path()), "--store", &target, "--bucket", "b-2"];
    let restored = report(&import, &[]);
    assert_eq!((&restored["imported"], &restored["not_verified"]), (&1.into(), &0.into()), "{restored:#}");
    assert_eq!(report(&import, &[])["skipped"], 1);
    // A file that is not what the manifest says is not restored.
    std::fs::write(place.path().join("native"), "naTive").unwrap();
    let ran = aft(&["import", text(place.path()), "--store", &target, "--bucket", "b-3"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("\"native\""), "{ran:#?}");
    let server = Server::start_with(&target, &S3);
    let s3 = client_of(&server.s3_url().await);
    let got = s3.get_object().bucket("b-2").key("native").send().await.expect("it is there");
    assert_eq!(got.content_type(), Some("text/css"));
    assert_eq!(got.body.collect().await.expect("all of it arrives").to_vec(), b"native");
    s3.head_object().bucket("b-3").key("native").send().await.expect_err("it was not restored");
}

/// Nothing can be uploaded in parts where keys are read atomic, and no write can be conditional.
#[tokio::test]
async fn objects_come_into_a_read_atomic_store() {
    let Some(store) = RealStore::start_read_atomic(Service::Redis) else { return };
    let server = Server::start_with("memory:", &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await);
    let keys = fill(&s3, "b-1").await;
    let before = see_all(&s3, "b-1", &keys).await;
    let source = format!("s3://b-1?endpoint={}", server.s3_url().await);
    let import = ["import", &source, "--store", &store.url()];
    let imported = report(&import, &ANY);
    let count = keys.len() as u64;
    assert_eq!(
        (&imported["imported"], &imported["not_verified"]),
        (&count.into(), &0.into()),
        "{imported:#}"
    );
    assert_eq!(report(&import, &ANY)["skipped"], count);
    let there = store.serve(&S3);
    let there = client_of(&there.s3_url().await);
    for (key, was) in &before {
        let got = there.get_object().bucket("b-1").key(key).send().await.expect("it is there");
        assert_eq!(got.e_tag(), Some(was.etag.as_str()), "{key:?} keeps its tag");
        let bytes = got.body.collect().await.expect("all of it arrives").to_vec();
        assert!(bytes == was.bytes, "{key:?} has other bytes");
    }
}

#[tokio::test]
async fn a_directory_of_somebody_else_becomes_a_bucket() {
    let (store, place) = (temporary(), temporary());
    let source = place.path().join("photos");
    std::fs::create_dir_all(source.join("2026/ä")).unwrap();
    std::fs::write(source.join("2026/ä/one.jpg"), "one").unwrap();
    std::fs::write(source.join("empty"), "").unwrap();
    std::fs::write(source.join("large"), vec![3; 2_000_000]).unwrap();
    let store_url = local(store.path());
    let import = ["import", text(&source), "--store", &store_url];
    let imported = report(&import, &[]);
    assert_eq!((&imported["imported"], &imported["bucket"]), (&3.into(), &"photos".into()), "{imported:#}");
    // A file that changes is imported again, since an import wrote the object.
    std::fs::write(source.join("empty"), "not any more").unwrap();
    let again = report(&import, &[]);
    assert_eq!((&again["imported"], &again["skipped"]), (&1.into(), &2.into()), "{again:#}");
    // A link is not followed, and is reported.
    std::os::unix::fs::symlink("/etc/hostname", source.join("link")).unwrap();
    let linked = aft(&import);
    assert_eq!(linked.code, Some(1), "{linked:#?}");
    assert!(linked.stdout.contains("\"link\""), "{linked:#?}");
    let server = Server::start_with(&store_url, &S3);
    let s3 = client_of(&server.s3_url().await);
    let keys = ["2026/ä/one.jpg", "empty", "large"].map(str::to_owned);
    let seen = see_all(&s3, "photos", &keys).await;
    assert_eq!(seen[1].1.bytes, b"not any more");
    assert_eq!(seen[0].1.etag, "\"f97c5d29941bfb1b2fdab0874906ab82\"", "the MD5 of its bytes");
    // The server has the store now.
    aft(&import).assert_refused(&["another process holds the lock", "server must be stopped"]);
}
