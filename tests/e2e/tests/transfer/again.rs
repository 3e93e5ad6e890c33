//! An export or an import to a place where something is already: ours is updated, and what is
//! somebody else's stays.

use std::path::Path;

use aft_e2e::server::{Server, local};

use crate::objects::{client_of, put, see};
use crate::{ANY, S3, aft, report, temporary, text};

/// Returns the files below a directory with their contents, without the manifest.
fn files(root: &Path) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("it is there") {
            let path = entry.expect("it can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(root).expect("it lies below").display().to_string();
            if name != "aft-manifest.jsonl" {
                found.push((name, std::fs::read_to_string(&path).expect("it is text")));
            }
        }
    }
    found.sort();
    found
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_second_export_writes_what_changed_and_removes_what_is_gone() {
    let (store, place) = (temporary(), temporary());
    let url = local(store.path());
    let server = Server::start_with(&url, &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await);
    for key in ["same", "changes", "goes", "folder/goes", "becomes", "was/a/folder"] {
        put(&s3, "b-1", key, format!("first {key}")).await;
    }
    drop(server);
    let root = place.path().join("there");
    let export = ["export", "b-1", text(&root), "--store", &url];
    let first = report(&export, &[]);
    assert_eq!((&first["written"], &first["removed"]), (&6.into(), &0.into()), "{first:#}");
    assert_eq!(files(&root).len(), 6);
    // Somebody else's file, in a folder of ours.
    std::fs::write(root.join("folder/foreign"), "foreign").unwrap();

    let server = Server::start_with(&url, &S3);
    let s3 = client_of(&server.s3_url().await);
    put(&s3, "b-1", "changes", "second").await;
    for key in ["goes", "folder/goes", "becomes", "was/a/folder"] {
        s3.delete_object().bucket("b-1").key(key).send().await.expect("it is deleted");
    }
    // A file becomes a folder, and a folder a file.
    put(&s3, "b-1", "becomes/a/folder", "now").await;
    put(&s3, "b-1", "was", "now").await;
    drop(server);
    let second = report(&export, &[]);
    assert_eq!(
        (&second["written"], &second["skipped"], &second["removed"]),
        (&3.into(), &1.into(), &4.into()),
        "{second:#}"
    );
    let expected = pairs(&[
        ("becomes/a/folder", "now"),
        ("changes", "second"),
        ("folder/foreign", "foreign"),
        ("same", "first same"),
        ("was", "now"),
    ]);
    assert_eq!(files(&root), expected);

    // A file that somebody changed or removed is written again.
    std::fs::write(root.join("same"), "meddled").unwrap();
    std::fs::remove_file(root.join("was")).unwrap();
    let third = report(&export, &[]);
    assert_eq!((&third["written"], &third["skipped"]), (&2.into(), &2.into()), "{third:#}");
    assert_eq!(files(&root), expected);

    // A key whose file somebody else has: nothing is written at all.
    let server = Server::start_with(&url, &S3);
    let s3 = client_of(&server.s3_url().await);
    put(&s3, "b-1", "folder/foreign", "ours").await;
    put(&s3, "b-1", "changes", "third").await;
    drop(server);
    aft(&export).assert_refused(&["folder/foreign", "no export wrote it", "nothing was written"]);
    assert_eq!(files(&root), expected);
    // Another bucket has no business there, and another store is no store.
    aft(&["export", "b-2", text(&root), "--store", &url])
        .assert_refused(&["the bucket b-1", "another place"]);
    aft(&["export", "b-1", text(&root), "--store", "local:/no/such/store"])
        .assert_refused(&["no store here"]);
}

#[tokio::test]
async fn a_second_export_to_a_bucket_does_the_same() {
    let store = temporary();
    let url = local(store.path());
    let target = Server::start_with("memory:", &[&S3[..], &["--bucket", "t-1"]].concat());
    let there = client_of(&target.s3_url().await);
    let keys = async || {
        let listed = there.list_objects_v2().bucket("t-1").send().await.expect("it lists");
        let keys = listed.contents().iter().filter_map(|object| object.key().map(str::to_owned));
        keys.collect::<Vec<_>>()
    };
    put(&there, "t-1", "p/foreign", "foreign").await;
    let server = Server::start_with(&url, &[&S3[..], &["--bucket", "b-1"]].concat());
    let s3 = client_of(&server.s3_url().await);
    for key in ["same", "changes", "goes"] {
        put(&s3, "b-1", key, format!("first {key}")).await;
    }
    drop(server);
    let place = format!("s3://t-1/p?endpoint={}", target.s3_url().await);
    let export = ["export", "b-1", &place, "--store", &url];
    let first = report(&export, &ANY);
    assert_eq!((&first["written"], &first["removed"]), (&3.into(), &0.into()), "{first:#}");
    let server = Server::start_with(&url, &S3);
    let s3 = client_of(&server.s3_url().await);
    put(&s3, "b-1", "changes", "second").await;
    s3.delete_object().bucket("b-1").key("goes").send().await.expect("it is deleted");
    drop(server);
    let second = report(&export, &ANY);
    assert_eq!(
        (&second["written"], &second["skipped"], &second["removed"]),
        (&1.into(), &1.into(), &1.into()),
        "{second:#}"
    );
    assert_eq!(keys().await, ["p/aft-manifest.jsonl", "p/changes", "p/foreign", "p/same"]);
    assert_eq!(see(&there, "t-1", "p/changes").await.bytes, b"second");
    // An object that somebody changed there is written again; one of somebody else stays.
    put(&there, "t-1", "p/same", "meddled").await;
    let third = report(&export, &ANY);
    assert_eq!((&third["written"], &third["skipped"]), (&1.into(), &1.into()), "{third:#}");
    assert_eq!(see(&there, "t-1", "p/same").await.bytes, b"first same");
    let server = Server::start_with(&url, &S3);
    put(&client_of(&server.s3_url().await), "b-1", "foreign", "ours").await;
    drop(server);
    aft(&export).assert_refused(&["foreign", "no export wrote it"]);
    assert_eq!(see(&there, "t-1", "p/foreign").await.bytes, b"foreign");
}

#[tokio::test]
async fn an_import_replaces_only_what_an_import_wrote() {
    let (store, place) = (temporary(), temporary());
    let url = local(store.path());
    let source = place.path().join("b-1");
    std::fs::create_dir(&source).unwrap();
    for name in ["imported", "written", "tagged"] {
        std::fs::write(source.join(name), "from the source").unwrap();
    }
    let server = Server::start_with(&url, &[&S3[..], &["--bucket", "b-1"]].concat());
    put(&client_of(&server.s3_url().await), "b-1", "written", "by a client").await;
    drop(server);
    let import = ["import", text(&source), "--store", &url];
    let ran = aft(&import);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    for part in ["imported 2 objects", "left 1 as they are", "\"written\"", "--overwrite"] {
        assert!(ran.stdout.contains(part), "{part}: {ran:#?}");
    }
    // A change of the tags makes it somebody else's.
    let server = Server::start_with(&url, &S3);
    let s3 = client_of(&server.s3_url().await);
    assert_eq!(see(&s3, "b-1", "written").await.bytes, b"by a client");
    let tag = aws_sdk_s3::types::Tag::builder().key("k").value("v").build().expect("a tag");
    let tags = aws_sdk_s3::types::Tagging::builder().tag_set(tag).build().expect("tags");
    s3.put_object_tagging().bucket("b-1").key("tagged").tagging(tags).send().await.expect("it is tagged");
    drop(server);
    for name in ["imported", "tagged"] {
        std::fs::write(source.join(name), "changed there").unwrap();
    }
    let ran = aft(&import);
    assert_eq!(ran.code, Some(1), "{ran:#?}");
    assert!(ran.stdout.contains("imported 1 objects") && ran.stdout.contains("left 2 as"), "{ran:#?}");
    let ran = aft(&[&import[..], &["--overwrite"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    let server = Server::start_with(&url, &S3);
    let s3 = client_of(&server.s3_url().await);
    assert_eq!(see(&s3, "b-1", "imported").await.bytes, b"changed there");
    assert_eq!(see(&s3, "b-1", "tagged").await.bytes, b"changed there");
    assert_eq!(see(&s3, "b-1", "written").await.bytes, b"from the source");
}

#[test]
fn arguments_that_cannot_be_meant_are_rejected() {
    let (store, place) = (temporary(), temporary());
    let url = local(store.path());
    let source = text(place.path());
    aft(&["import", "gs://photos", "--store", &url]).assert_refused(&["gs://", "s3://BUCKET/PREFIX"]);
    aft(&["import", "/no/such/directory", "--store", &url]).assert_refused(&["/no/such/directory"]);
    aft(&["import", source, "--store", &url, "--bucket", "A_B"]).assert_refused(&["A_B", "--bucket"]);
    aft(&["import", source, "--store", "memory:"]).assert_refused(&["memory:"]);
    // A place with an export that did not end, or with a manifest that leads out of it.
    let manifest = |name: &str, text: &str| std::fs::write(place.path().join(name), text).unwrap();
    let header =
        r#"{"aft_export":1,"store":"s","bucket":"b-1","snapshot":"","objects":1,"bytes":1,"program":"p"}"#;
    let line = r#"{"key":"k","name":"../k","size":1,"etag":"e","version":"v","modified_ms":1}"#;
    manifest("aft-manifest.partial.jsonl", &format!("{header}\n"));
    aft(&["import", source, "--store", &url]).assert_refused(&["did not end", "aft export"]);
    std::fs::remove_file(place.path().join("aft-manifest.partial.jsonl")).unwrap();
    manifest("aft-manifest.jsonl", &format!("{header}\n{line}\n"));
    aft(&["import", source, "--store", &url]).assert_refused(&["../k"]);
    manifest("aft-manifest.jsonl", &format!("{header}\n"));
    aft(&["import", source, "--store", &url]).assert_refused(&["cut off"]);
}
