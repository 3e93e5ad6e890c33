//! Bad settings and servers when a store is opened: each is reported with its remedy, and without
//! the password.

use aft_store::Store as _;
use aft_store::conformance;
use aft_store_redis::{Options, RedisStore};
use aft_store_tests::aft_in;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fake::{FINE, Fake};
use crate::{admin, open, server, tell, url};

async fn cannot_open(url: &str, options: &Options, words: &[&str]) {
    let why = RedisStore::open(url, options).await.expect_err("it cannot be opened").to_string();
    for word in words.iter().chain(&["redis://127.0.0.1:"]) {
        assert!(why.contains(word), "{word:?} is missing in {why}");
    }
    assert!(!why.contains("hunter2"), "{why}");
}

/// Starts a server that answers every connection with `bytes`, and returns its URL.
async fn saying(bytes: &'static [u8]) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port of the kernel's choice");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 100]).await;
            let _ = stream.write_all(bytes).await;
            open.push(stream);
        }
    });
    format!("redis://127.0.0.1:{port}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_reported() {
    let Some(server) = server() else { return };
    let (fine, none) = (url(&server), Options::default());
    let port = server.port();
    cannot_open("redis://127.0.0.1:1", &none, &["onnection refused"]).await;
    cannot_open(&format!("redis://127.0.0.1:{port}?db=99"), &none, &["99", "no database of this number"])
        .await;
    let needless = Options::with_password("hunter2");
    cannot_open(&fine, &needless, &["no password: leave it out"]).await;

    let mut admin = admin(&server);
    tell::<()>(&mut admin, "CONFIG SET requirepass hunter2hunter2");
    cannot_open(&fine, &none, &["NOAUTH", "AFT_REDIS_PASSWORD"]).await;
    cannot_open(&fine, &needless, &["WRONGPASS", "AFT_REDIS_PASSWORD"]).await;
    let wrong = format!("redis://default:hunter2@127.0.0.1:{port}");
    cannot_open(&wrong, &Options::with_password("hunter2hunter2"), &["WRONGPASS"]).await;
    let good = format!("redis://:hunter2hunter2@127.0.0.1:{port}");
    let store = open(&good).await;
    assert!(!format!("{store:?} {}", store.url()).contains("hunter2"), "{store:?}");
    RedisStore::open(&fine, &Options::with_password("hunter2hunter2")).await.expect("the password is right");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_are_not_a_usable_redis_are_reported() {
    let none = Options::default();
    let http = saying(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    cannot_open(&http, &none, &["does not speak Redis"]).await;
    cannot_open(&saying(b"SSH-2.0-OpenSSH_9.2\r\n").await, &none, &["does not speak Redis"]).await;
    cannot_open(&saying(b"$5\r\nhello\r\n").await, &none, &["does not speak Redis"]).await;
    cannot_open(&saying(b"").await, &none, &["no first answer within 3s"]).await;
    let fake = Fake::start(FINE).await;
    RedisStore::open(&fake.url(), &none)
        .await
        .expect("a store can be opened on the fake, so that the cases below show something");
    for (info, words) in [
        ("redis_version:5.0.14\r\nredis_mode:standalone\r\n", ["5.0.14", "too old"]),
        ("redis_version:7.0.15\r\nredis_mode:cluster\r\n", ["Redis Cluster", "name one that is not"]),
        ("redis_version:7.0.15\r\nredis_mode:sentinel\r\n", ["Sentinel", "name the server"]),
        ("nonsense\r\n", ["version", "is it a Redis"]),
    ] {
        cannot_open(&Fake::start(info).await.url(), &none, &words).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_would_lose_data_are_rejected_or_cause_a_warning() {
    let Some(server) = server() else { return };
    let (fine, none, mut admin) = (url(&server), Options::default(), admin(&server));
    let store = open(&fine).await;
    assert!(
        store.cautions().is_empty() && store.capabilities().durability.starts_with("fsynced by the server (")
    );

    for (settings, durability) in [
        ("CONFIG SET no-appendfsync-on-rewrite yes", "not while it rewrites"),
        ("CONFIG SET appendfsync everysec", "a second or two later"),
        ("CONFIG SET appendfsync no", "whenever its system does"),
        ("CONFIG SET appendonly no", "memory only"),
    ] {
        tell::<()>(&mut admin, settings);
        let store = open(&fine).await;
        assert!(
            store.capabilities().durability.contains(durability),
            "{settings}: {:?}",
            store.capabilities()
        );
        let said = store.cautions().join("\n");
        assert!(said.contains("not known to be fsynced") && said.contains(durability), "{settings}: {said}");
    }
    // The binary prints the same.
    let ran = aft_in(&["store", "init", &fine], &[]);
    assert_eq!(ran.code, Some(0), "{ran:#?}");
    assert!(
        ran.stdout.contains("nothing needs to be made") && ran.stdout.contains("memory only"),
        "{ran:#?}"
    );
    assert!(ran.stderr.contains("not known to be fsynced"), "{ran:#?}");

    tell::<()>(&mut admin, "CONFIG SET maxmemory 100mb");
    tell::<()>(&mut admin, "CONFIG SET maxmemory-policy allkeys-lru");
    cannot_open(&fine, &none, &["allkeys-lru", "set maxmemory-policy noeviction"]).await;
    aft_in(&["serve", "--store", &fine, "--listen", "127.0.0.1:0"], &[])
        .assert_refused(&["allkeys-lru", "noeviction"]);
    tell::<()>(&mut admin, "CONFIG SET maxmemory-policy volatile-lru");
    assert!(open(&fine).await.cautions().iter().any(|said| said.contains("volatile-lru")));
    tell::<()>(&mut admin, "CONFIG SET maxmemory-policy noeviction");
    tell::<()>(&mut admin, "REPLICAOF 127.0.0.1 1");
    cannot_open(&fine, &none, &["is a replica", "primary"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_with_the_documented_rights_alone_suffices() {
    let Some(server) = server() else { return };
    let mut admin = admin(&server);
    // The rights that the remedy of NOPERM lists.
    let rights =
        "+get +set +del +exists +getrange +zadd +zrem +zrangebylex +evalsha +script|load +time +info";
    tell::<()>(&mut admin, &format!("ACL SETUSER shop on >hunter2hunter2 ~shop/* {rights}"));
    let url = |prefix: &str| format!("redis://shop:hunter2hunter2@127.0.0.1:{}/{prefix}", server.port());
    let store = open(&url("shop")).await;
    let durability = store.capabilities().durability;
    assert!(durability.contains("CONFIG GET is not allowed"), "{durability}");
    assert!(store.cautions().iter().any(|said| said.contains("not known to be fsynced")));
    conformance::probe(store).await.assert_passed();
    // This user has no rights on another store's keys.
    cannot_open(&url("other"), &Options::default(), &["NOPERM", "allow this user"]).await;
    tell::<()>(&mut admin, "ACL SETUSER shop -info");
    cannot_open(&url("shop"), &Options::default(), &["NOPERM", "INFO"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_take_a_password_and_show_none() {
    let Some(server) = server() else { return };
    tell::<()>(&mut admin(&server), "CONFIG SET requirepass hunter2hunter2");
    let (fine, port) = (url(&server), server.port());
    let given = [("AFT_REDIS_PASSWORD", "hunter2hunter2")];
    let check = |arguments: &[&str], environment: &[(&str, &str)]| {
        let ran = aft_in(arguments, environment);
        assert!(!format!("{ran:?}").contains("hunter2"), "{ran:#?}");
        ran
    };
    check(&["store", "probe", &fine], &[]).assert_refused(&["NOAUTH", "AFT_REDIS_PASSWORD"]);
    let ran = check(&["store", "init", &fine], &given);
    assert!(ran.code == Some(0) && ran.stdout.contains("nothing needs to be made"), "{ran:#?}");
    let in_url = format!("redis://:hunter2hunter2@127.0.0.1:{port}");
    let ran = check(&["store", "init", &in_url], &[]);
    assert!(ran.code == Some(0) && ran.stdout.contains("nothing needs to be made"), "{ran:#?}");
    let ran = check(&["store", "probe", &in_url], &[]);
    assert!(ran.code == Some(0) && ran.stdout.contains("0 failed"), "{ran:#?}");
    let arguments =
        ["bench", "standard", "--store", &in_url, "--transactions", "50", "--keys", "20", "--json"];
    let ran = check(&arguments, &[]);
    assert!(ran.code == Some(0), "{ran:#?}");
    println!("{}", ran.stdout);
}
