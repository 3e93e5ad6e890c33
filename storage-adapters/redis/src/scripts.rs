//! The scripts. To other clients, each appears to run completely or not at all, so that an object
//! and its index entries never disagree.
//!
//! `KEYS[1]` is the key of the store's identity; for writes, three keys for each name follow: its
//! object, its group's items, its space's groups. The answer is a list: a status, the server's time
//! in microseconds, and results that depend on the script.
//!
//! | status | meaning |
//! |---|---|
//! | 1 | done |
//! | 0 | not done: the name exists, or the tag differs |
//! | -1 | not done: the write came after its moment |
//! | -2 | not done: the store's identity differs, or is missing |
//!
//! *The moment* (`ARGV[1]` of writes) is the latest time at which the script may begin, in
//! microseconds of the server's clock. While the server is stopped or busy, a request waits in the
//! buffers of the network and of the server's socket. Neither closing nor resetting the connection
//! takes it back: the server still reads what its kernel has received. So only the server can
//! reject a request that is too late. `clock` describes how the moment is computed. `TIME` does not
//! change while a script runs, so a script that begins in time is in time as a whole.
//!
//! *The identity* (`ARGV[2]`) is compared because between two looks (`look`), the data at the other
//! end of a connection may be flushed, or replaced by those of another store, and a write to the
//! replacement must not be acknowledged.
//!
//! *Completely or not at all*: indexes are written before the object. If memory is full or a key
//! has another type, the first command fails, before anything was written; once a script has
//! written, it is not stopped for lack of memory. The append-only file holds a script's effects as
//! one transaction.
//!
//! *Other clients wait little.* The server serves no other client while a script runs. But a script
//! touches at most 1,000 names, for a few microseconds each, and 4 MiB of bodies, so it takes
//! milliseconds.

/// The status of a script that took effect.
pub(crate) const DONE: i64 = 1;
/// The status of a script whose condition did not hold.
pub(crate) const NOT_DONE: i64 = 0;
/// The status of a write that came after its moment.
pub(crate) const LATE: i64 = -1;
/// The status of a script that found another identity.
pub(crate) const ANOTHER_STORE: i64 = -2;

/// One of the scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// `ARGV`: moment, identity, group, item, stored.
    Put,
    /// `ARGV`: as for `Put`.
    Create,
    /// `ARGV`: moment, identity, group, item, stored, tag.
    Replace,
    /// `ARGV`: moment, identity, then group and item of each name.
    Delete,
    /// `ARGV`: moment, identity, group, item, tag.
    DeleteIf,
    /// `ARGV`: moment, identity, `1` if the first name is a record (which is created only if
    /// absent, and if it exists nothing is done), then group, item and stored of each name. After
    /// the time, the answer has the number of each name that failed, from 0, and its error.
    Commit,
    /// A page of names. `KEYS`: identity, the space's groups. `ARGV`: identity, the start of the
    /// keys of items, the two bounds of the groups, the group within which the page begins (empty:
    /// none) and the bound of its items, the largest number of names. After the time, the answer
    /// has [`SCAN_ALL`], [`SCAN_FULL`] or [`SCAN_TIRED`], the last group visited, and each group
    /// with a list of its items, or with the reason why they cannot be read.
    Scan,
}

/// The end of a page that has all remaining names.
pub(crate) const SCAN_ALL: i64 = 0;
/// The end of a page with as many names as it may have; more follow.
pub(crate) const SCAN_FULL: i64 = 1;
/// The end of a page for which too many groups had no items; the next one continues after the last
/// group visited.
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

    /// Returns the script's text for the server.
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

/// The start of every script.
const CLOCK: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
";

/// The start of every script that writes. The checks come before anything is written.
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

// If the first name of a commit fails, the whole script fails, before anything was written. Any
// other name fails alone, since some names are written by then.
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

// GETRANGE in `holds` counts from 0 and includes its end.
const _: () = assert!(crate::layout::HEAD_BYTES == 17);
