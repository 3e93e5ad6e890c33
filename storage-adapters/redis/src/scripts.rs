//! The scripts: each runs whole or not at all as far as anybody sees, so that an item and its
//! places in the indexes are never apart.
//!
//! `KEYS[1]` is the store's identity; then, for writes, come three keys for each name: its object,
//! its group's items, its space's groups. The answer is a list of a status, the server's time in
//! microseconds, and what else the script has to say.
//!
//! | status | meaning |
//! |---|---|
//! | 1 | done |
//! | 0 | not done: the name exists, or the tag is another |
//! | -1 | not done: it was too late |
//! | -2 | not done: the store's identity is another, or missing |
//!
//! *Why a last moment* (`ARGV[1]` of writes, in microseconds of the server's clock). A request lies
//! in the buffers of the network and of the server's socket as long as the server is stopped or
//! busy. Neither closing nor resetting the connection takes it back: what the kernel has received
//! is read first. So only the server itself can say that a call's time is over. `clock` says where
//! the moment comes from. `TIME` does not move while a script runs: a script that began in time is
//! in time as a whole.
//!
//! *Why the identity* (`ARGV[2]`). What a connection leads to may be flushed, or restored from
//! another store, between two looks (`look`), and a write to what replaced the store must not be
//! acknowledged.
//!
//! *Why whole.* Indexes are written before the object: the first command is the one that fails
//! where memory is full or a key is of another type, and then nothing was written; once a script
//! has written, memory no longer stops it. The append-only file holds a script's effects as one
//! transaction.
//!
//! *Why they do not hold up others.* The server serves nobody else while a script runs. A script
//! touches 1,000 names at most, some microseconds each, and 4 MiB of bodies: milliseconds.

/// The status of a script that did what it was asked.
pub(crate) const DONE: i64 = 1;
/// The status of a script whose condition did not hold.
pub(crate) const NOT_DONE: i64 = 0;
/// The status of a write that came too late.
pub(crate) const LATE: i64 = -1;
/// The status of a script that found another identity.
pub(crate) const ANOTHER_STORE: i64 = -2;

/// One of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// `ARGV`: moment, identity, group, item, stored.
    Put,
    /// The same.
    Create,
    /// `ARGV`: moment, identity, group, item, stored, tag.
    Replace,
    /// `ARGV`: moment, identity, then group and item of each name.
    Delete,
    /// `ARGV`: moment, identity, group, item, tag.
    DeleteIf,
    /// `ARGV`: moment, identity, `1` if the first name is created only where it is absent (and
    /// nothing is done where it is there), then group, item and stored of each name. After the
    /// time, the answer has the number of each name that failed, from 0, and its error.
    Commit,
    /// A page of names. `KEYS`: identity, the space's groups. `ARGV`: identity, the start of keys
    /// of items, the bounds of the groups, the group in which the page begins within (empty: none)
    /// and the bound of its items, the largest number of names. After the time, the answer has
    /// [`SCAN_ALL`], [`SCAN_FULL`] or [`SCAN_TIRED`], the last group looked at, and each group with
    /// a list of its items, or with the reason why they cannot be read.
    Scan,
}

/// A page that has all names that there are.
pub(crate) const SCAN_ALL: i64 = 0;
/// A page with as many names as it may have, and more follow.
pub(crate) const SCAN_FULL: i64 = 1;
/// A page that ended because too many groups had no items: it goes on after the last group looked
/// at.
pub(crate) const SCAN_TIRED: i64 = 2;

impl Script {
    pub(crate) const ALL: [Script; 7] = [
        Script::Put,
        Script::Create,
        Script::Replace,
        Script::Delete,
        Script::DeleteIf,
        Script::Commit,
        Script::Scan,
    ];

    /// Its text for a server.
    pub(crate) fn text(self) -> String {
        let (prelude, body) = match self {
            Script::Put => (WRITE, PUT),
            Script::Create => (WRITE, CREATE),
            Script::Replace => (WRITE, REPLACE),
            Script::Delete => (WRITE, DELETE),
            Script::DeleteIf => (WRITE, DELETE_IF),
            Script::Commit => (WRITE, COMMIT),
            Script::Scan => ("", SCAN),
        };
        format!("{CLOCK}{prelude}{body}")
    }
}

const CLOCK: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
";

const WRITE: &str = "
if now > tonumber(ARGV[1]) then return {-1, now} end
if redis.call('GET', KEYS[1]) ~= ARGV[2] then return {-2, now} end

local function put(at, group, item, stored)
  redis.call('ZADD', KEYS[at + 1], 0, item)
  redis.call('ZADD', KEYS[at + 2], 0, group)
  redis.call('SET', KEYS[at], stored)
end

local function delete(at, group, item)
  redis.call('DEL', KEYS[at])
  redis.call('ZREM', KEYS[at + 1], item)
  if redis.call('EXISTS', KEYS[at + 1]) == 0 then redis.call('ZREM', KEYS[at + 2], group) end
end

local function holds(object, tag)
  return redis.call('GETRANGE', object, 0, 16) == tag
end
";

const PUT: &str = "
put(2, ARGV[3], ARGV[4], ARGV[5])
return {1, now}
";

const CREATE: &str = "
if redis.call('EXISTS', KEYS[2]) == 1 then return {0, now} end
put(2, ARGV[3], ARGV[4], ARGV[5])
return {1, now}
";

const REPLACE: &str = "
if not holds(KEYS[2], ARGV[6]) then return {0, now} end
put(2, ARGV[3], ARGV[4], ARGV[5])
return {1, now}
";

const DELETE: &str = "
for at = 0, (#KEYS - 1) / 3 - 1 do
  delete(at * 3 + 2, ARGV[at * 2 + 3], ARGV[at * 2 + 4])
end
return {1, now}
";

const DELETE_IF: &str = "
if not holds(KEYS[2], ARGV[5]) then return {0, now} end
delete(2, ARGV[3], ARGV[4])
return {1, now}
";

// The first name of a commit fails with the script, before anything was written. One of the others
// fails alone, since some are written by then.
const COMMIT: &str = "
local answer, first = {1, now}, 0
if ARGV[3] == '1' then
  if redis.call('EXISTS', KEYS[2]) == 1 then return {0, now} end
  put(2, ARGV[4], ARGV[5], ARGV[6])
  first = 1
end
local function failed(at, said)
  if type(said) ~= 'table' or not said.err then return false end
  answer[#answer + 1] = at
  answer[#answer + 1] = said.err
  return true
end
for at = first, (#KEYS - 1) / 3 - 1 do
  local key, value = at * 3 + 2, at * 3 + 4
  local _ = failed(at, redis.pcall('ZADD', KEYS[key + 1], 0, ARGV[value + 1]))
    or failed(at, redis.pcall('ZADD', KEYS[key + 2], 0, ARGV[value]))
    or failed(at, redis.pcall('SET', KEYS[key], ARGV[value + 2]))
end
return answer
";

const SCAN: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {-2, now} end
local start, from, to, first, limit = ARGV[2], ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[7])
local answer, found, seen = {1, now, 0, first}, 0, 0

local function take(group, bound)
  local room = limit - found
  local items = redis.pcall('ZRANGEBYLEX', start .. group, bound, '+', 'LIMIT', 0, room + 1)
  if items.err then
    answer[#answer + 1] = group
    answer[#answer + 1] = items.err
    items = {}
  end
  if #items > room then
    items[#items] = nil
    answer[3] = 1
  end
  if #items > 0 then
    answer[#answer + 1] = group
    answer[#answer + 1] = items
  end
  answer[4] = group
  found, seen = found + #items, seen + 1
end

if first ~= '' then take(first, ARGV[6]) end
while answer[3] == 0 do
  local groups = redis.call('ZRANGEBYLEX', KEYS[2], from, to, 'LIMIT', 0, 100)
  for _, group in ipairs(groups) do
    if answer[3] == 0 and seen > limit then answer[3] = 2 end
    if answer[3] == 0 then take(group, '-') end
  end
  if #groups < 100 then break end
  from = '(' .. groups[#groups]
end
return answer
";

// GETRANGE above counts from 0 and includes its end.
const _: () = assert!(crate::layout::HEAD_BYTES == 17);
