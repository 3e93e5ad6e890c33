//! A server on `local:` is killed under load, and comes back with its clock two minutes behind.
//!
//! The first protocol ordered intents by the wall clock, and skipped those below a mark: 27 of
//! 11,192 acknowledged commits were lost, and all of a transaction of 900 keys in 6 of 8 tries. Now
//! nothing has to be published after an acknowledgement, and commit times continue from the newest
//! that was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aft_api::{Begin, OPS_LEN_MAX, Op};
use aft_e2e::client::{CallError, Client};
use aft_e2e::server::{Server, local};
use aft_e2e::wall_clock::WallClock;
use tokio::task::JoinSet;

use crate::{read_fresh, run, values};

/// The number of kills; after each one the clock is two minutes further behind.
const LIVES: i64 = 6;
const BACK_S: i64 = 120;
const WRITERS: u64 = 8;
/// Keys per writer: few, so that most commits overwrite.
const KEYS: u64 = 20;
const LIFE: Duration = Duration::from_millis(1_200);
/// The number of keys of the transaction that is acknowledged just before the kill.
const LARGE: usize = 900;
/// Settings with which sweeps run all the time.
const SETTINGS: &[(&str, &str)] = &[("AFT_NODE__SWEEP_INTERVAL_MS", "200")];

/// One writer's record of its keys: for each, the number that was acknowledged last, and the last
/// one that was tried, which may have been stored as well.
#[derive(Debug, Clone, Default)]
struct Account {
    acknowledged: Vec<u64>,
    tried: Vec<u64>,
    commits: u64,
}

fn key(writer: u64, at: u64) -> String {
    format!("key/{writer}/{at}")
}

/// Writes the writer's keys in pairs until `stop` is set or the server dies, each time with the
/// next number.
async fn write_pairs(
    client: Client,
    writer: u64,
    from: u64,
    stop: Arc<AtomicBool>,
    mut account: Account,
) -> Account {
    let mut number = from;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let pair = [number % KEYS, (number + KEYS / 2) % KEYS];
        let ops = pair.iter().map(|at| Op::put(key(writer, *at), number.to_string())).collect();
        pair.iter().for_each(|at| account.tried[*at as usize] = number);
        // Every other write has a request ID.
        let request_id = number.is_multiple_of(2).then(|| format!("request-{writer}-{number}"));
        match client.execute(&Begin { ops, request_id, ..Begin::default() }).await {
            Ok(reply) => {
                assert!(reply.committed, "{reply:?}");
                pair.iter().for_each(|at| account.acknowledged[*at as usize] = number);
                account.commits += 1;
            }
            Err(CallError::NoAnswer(_) | CallError::NotSent(_)) => return account,
            Err(CallError::Refused(problem)) => panic!("{problem:?}"),
        }
    }
    account
}

#[test]
fn a_clock_that_is_set_back_loses_nothing() {
    let Some(clock) = WallClock::or_skip() else { return };
    run(async {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let store = local(directory.path());
        let environment = [clock.environment(), SETTINGS.to_vec()].concat();
        let fresh =
            Account { acknowledged: vec![0; KEYS as usize], tried: vec![0; KEYS as usize], commits: 0 };
        let mut accounts = vec![fresh; WRITERS as usize];
        for life in 0..LIVES {
            clock.set(-BACK_S * life);
            let server = Server::start_in(&store, &[], &environment);
            let client = Client::new(server.address());
            let stop = Arc::new(AtomicBool::new(false));
            let mut writers = JoinSet::new();
            for (writer, account) in accounts.into_iter().enumerate() {
                let from = account.tried.iter().max().copied().unwrap_or(0);
                let writing = write_pairs(client.clone(), writer as u64, from, Arc::clone(&stop), account);
                writers.spawn(async move { (writer, writing.await) });
            }
            tokio::time::sleep(LIFE).await;
            let ops = (0..LARGE).map(|at| Op::put(format!("large/{at}"), life.to_string())).collect();
            let large = client.execute(&Begin { ops, ..Begin::default() }).await;
            assert!(large.expect("an undisturbed server answers").committed);
            server.kill();
            stop.store(true, Ordering::Relaxed);
            // The large transaction was acknowledged just before the kill; the writers end with it.
            let mut ended = writers.join_all().await;
            ended.sort_by_key(|(writer, _)| *writer);
            accounts = ended.into_iter().map(|(_, account)| account).collect();

            clock.set(-BACK_S * (life + 1));
            check(&store, &environment, &mut accounts, life).await;
        }
        let commits: u64 = accounts.iter().map(|account| account.commits).sum();
        println!("{commits} acknowledged commits over {LIVES} kills, none lost");
        assert!(commits > 100 * LIVES as u64, "{commits} commits are too little load to show anything");
    });
}

/// Checks what a new process reads: for each key the number that was acknowledged, or a later one
/// whose commit got no answer; and all keys of the large transaction. Looks twice, with sweeps in
/// between: the second look must not find older numbers.
async fn check(store: &str, environment: &[(&str, &str)], accounts: &mut [Account], life: i64) {
    let server = Server::start_in(store, &[], environment);
    let client = Client::new(server.address());
    for look in 0..2 {
        for (writer, account) in accounts.iter_mut().enumerate() {
            let keys: Vec<String> = (0..KEYS).map(|at| key(writer as u64, at)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            for (at, value) in read_fresh(&client, &keys).await.into_iter().enumerate() {
                let text =
                    value.map(|value| String::from_utf8(value.to_vec()).expect("numbers were written"));
                let found: u64 = text.map_or(0, |text| text.parse().expect("numbers were written"));
                let (least, most) = (account.acknowledged[at], account.tried[at]);
                assert!(
                    found == least || (found > least && found <= most),
                    "life {life}, look {look}: {} holds {found}; {least} was acknowledged, {most} tried",
                    keys[at]
                );
                account.acknowledged[at] = found;
            }
        }
        let ops = (0..LARGE).map(|at| Op::get(format!("large/{at}"))).collect::<Vec<_>>();
        assert!(ops.len() <= OPS_LEN_MAX);
        let large = client.execute(&Begin { ops, ..Begin::default() }).await;
        let large = values(large.expect("an undisturbed server answers"));
        let expected = life.to_string();
        let missing = large.iter().filter(|value| value.as_deref() != Some(expected.as_bytes())).count();
        assert_eq!(missing, 0, "life {life}, look {look}: keys of an acknowledged transaction are lost");
        let before = client.metric("aft_sweeps_total").await;
        crate::until("two more sweeps", Duration::from_secs(20), async || {
            client.metric("aft_sweeps_total").await >= before + 2.0
        })
        .await;
    }
    server.kill();
}
