//! A server that speaks as much of Redis's protocol as opening a store needs, and otherwise gives
//! the answers that the test sets.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// INFO of a server on which a store can be opened.
pub(crate) const FINE: &str = "redis_version:7.0.15\r\nredis_mode:standalone\r\nrole:master\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\naof_enabled:0\r\n";

/// The initial time of its clock, in microseconds.
pub(crate) const START_US: i64 = 1_700_000_000_000_000;
const IDENTITY: &str = "0123456789abcdef0123456789abcdef";

/// The answer to each command after the handshake.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    /// The answer of an empty server that works.
    Fine,
    /// The answer is these bytes.
    Bytes(&'static [u8]),
    /// The server ends the connection.
    Cut,
}

/// A running fake, which ends with the runtime.
#[derive(Debug, Clone)]
pub(crate) struct Fake {
    port: u16,
    says: Arc<Mutex<Says>>,
    /// The names of the received commands, without those of the handshake.
    seen: Arc<Mutex<Vec<String>>>,
    /// The latest time at which the last received write may begin, in microseconds.
    moment: Arc<Mutex<i64>>,
    /// The time to which the clock was set, in microseconds, and the instant at which that
    /// happened.
    clock: Arc<Mutex<(i64, Instant)>>,
}

impl Fake {
    pub(crate) async fn start(info: &'static str) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of the kernel's choice");
        let port = listener.local_addr().expect("it is bound").port();
        let fake = Fake {
            port,
            says: Arc::new(Mutex::new(Says::Fine)),
            seen: Arc::default(),
            moment: Arc::default(),
            clock: Arc::new(Mutex::new((START_US, Instant::now()))),
        };
        let serving = fake.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream, info));
            }
        });
        fake
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn says(&self, says: Says) {
        *self.says.lock().expect("no thread panics while it holds the lock") = says;
    }

    /// Returns the commands since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("no thread panics while it holds the lock"))
    }

    pub(crate) fn moment(&self) -> i64 {
        *self.moment.lock().expect("no thread panics while it holds the lock")
    }

    /// Sets the clock.
    pub(crate) fn shows(&self, us: i64) {
        *self.clock.lock().expect("no thread panics while it holds the lock") = (us, Instant::now());
    }

    fn clock(&self) -> i64 {
        let (us, set) = *self.clock.lock().expect("no thread panics while it holds the lock");
        us + set.elapsed().as_micros() as i64
    }

    async fn serve(self, mut stream: TcpStream, info: &'static str) {
        let mut buffer = Vec::new();
        loop {
            let Some((words, len)) = parse(&buffer) else {
                let mut chunk = vec![0; 64 << 10];
                match stream.read(&mut chunk).await {
                    Ok(read) if read > 0 => buffer.extend_from_slice(&chunk[..read]),
                    Ok(_) | Err(_) => return,
                }
                continue;
            };
            // Commands of the handshake are always answered; all others as the test has set.
            buffer.drain(..len);
            let name = String::from_utf8_lossy(&words[0]).to_uppercase();
            let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len()).into_bytes();
            let clock = self.clock();
            let answer = match name.as_str() {
                "TIME" => {
                    let (seconds, micros) = (clock / 1_000_000, clock % 1_000_000);
                    [b"*2\r\n".to_vec(), bulk(&seconds.to_string()), bulk(&micros.to_string())].concat()
                }
                "CONFIG" => b"*0\r\n".to_vec(),
                "SET" => b"+OK\r\n".to_vec(),
                "GET" if words[1].ends_with(b"/identity") => bulk(IDENTITY),
                "INFO" => bulk(info),
                "SCRIPT" => bulk(&"a".repeat(40)),
                _ => {
                    let number = |at: usize| String::from_utf8_lossy(&words[at]).parse::<i64>();
                    let keys = if name == "EVALSHA" { number(2).expect("a count of keys") } else { 0 };
                    // A scan's script has two keys; a write's has three for each name and one more.
                    if keys > 2 {
                        let moment = number(3 + keys as usize).expect("a moment behind the keys");
                        *self.moment.lock().expect("no thread panics while it holds the lock") = moment;
                    }
                    self.seen.lock().expect("no thread panics while it holds the lock").push(name.clone());
                    let says = self.says.lock().expect("no thread panics while it holds the lock").clone();
                    match (says, name.as_str()) {
                        (Says::Fine, "GET") => b"$-1\r\n".to_vec(),
                        (Says::Fine, "ZRANGEBYLEX") => b"*0\r\n".to_vec(),
                        (Says::Fine, _) if keys == 2 => {
                            format!("*4\r\n:1\r\n:{clock}\r\n:0\r\n$0\r\n\r\n").into_bytes()
                        }
                        (Says::Fine, _) => format!("*2\r\n:1\r\n:{clock}\r\n").into_bytes(),
                        (Says::Bytes(bytes), _) => bytes.to_vec(),
                        (Says::Cut, _) => return,
                    }
                }
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Returns the first command in the buffer and its length; none if it is not complete.
fn parse(buffer: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let (count, mut at) = number(buffer, 0)?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let (len, start) = number(buffer, at)?;
        words.push(buffer.get(start..start + len)?.to_vec());
        at = start + len + 2;
    }
    (buffer.len() >= at).then_some((words, at))
}

/// Returns the number in a line such as `*3` or `$17`, and the start of the next line.
fn number(buffer: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    let len = line.windows(2).position(|two| two == b"\r\n")?;
    let number = std::str::from_utf8(line.get(1..len)?).ok()?.parse().ok()?;
    Some((number, at + len + 2))
}
