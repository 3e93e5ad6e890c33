//! The writes: scripts that the server runs, each whole or not at all as far as anybody sees, so that an item and its places in the indexes are never apart.
//!
//! `KEYS`: for each name its object, its group's items, its space's groups. `ARGV[1]`: the last moment at which the script may begin, in
//! milliseconds by the server's clock.
//!
//! | answer | meaning |
//! |---|---|
//! | 1 | done |
//! | 0 | not done: the name exists, or the tag is another |
//! | below 0 | not done: it was too late; the number is the server's time, negated |
//!
//! *Why a last moment.* A request lies in the buffers of the network and of the server's socket as long as the server is stopped or busy. Neither
//! closing nor resetting the connection takes it back: what the kernel has received is read first. So only the server itself can say that a call's
//! time is over. Its clock is asked when a connection is made, and whenever it says *too late*.
//!
//! *Why whole.* Indexes are written before the object: the first command is the one that fails where memory is full or a key is of another type, and
//! then nothing was written; once a script has written, memory no longer stops it. The append-only file holds a script's effects as one transaction.

/// Which script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// `ARGV`: moment, group, item, stored.
    Put,
    /// The same.
    Create,
    /// `ARGV`: moment, group, item, stored, tag.
    Replace,
    /// `ARGV`: moment, then group and item of each name.
    Delete,
    /// `ARGV`: moment, group, item, tag.
    DeleteIf,
}

impl Script {
    pub(crate) const ALL: [Script; 5] =
        [Script::Put, Script::Create, Script::Replace, Script::Delete, Script::DeleteIf];

    /// Its text for a server.
    pub(crate) fn text(self) -> String {
        let body = match self {
            Script::Put => PUT,
            Script::Create => CREATE,
            Script::Replace => REPLACE,
            Script::Delete => DELETE,
            Script::DeleteIf => DELETE_IF,
        };
        format!("{PRELUDE}{body}")
    }
}

const PRELUDE: &str = "
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if now > tonumber(ARGV[1]) then return -now end

local function put(object, items, groups, group, item, stored)
  redis.call('ZADD', items, 0, item)
  redis.call('ZADD', groups, 0, group)
  redis.call('SET', object, stored)
  return 1
end

local function delete(object, items, groups, group, item)
  redis.call('DEL', object)
  redis.call('ZREM', items, item)
  if redis.call('EXISTS', items) == 0 then redis.call('ZREM', groups, group) end
  return 1
end

local function holds(object, tag)
  return redis.call('GETRANGE', object, 0, 16) == tag
end
";

const PUT: &str = "
return put(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3], ARGV[4])
";

const CREATE: &str = "
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
return put(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3], ARGV[4])
";

const REPLACE: &str = "
if not holds(KEYS[1], ARGV[5]) then return 0 end
return put(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3], ARGV[4])
";

const DELETE: &str = "
for at = 0, #KEYS / 3 - 1 do
  delete(KEYS[at * 3 + 1], KEYS[at * 3 + 2], KEYS[at * 3 + 3], ARGV[at * 2 + 2], ARGV[at * 2 + 3])
end
return 1
";

const DELETE_IF: &str = "
if not holds(KEYS[1], ARGV[4]) then return 0 end
return delete(KEYS[1], KEYS[2], KEYS[3], ARGV[2], ARGV[3])
";

// GETRANGE above counts from 0 and includes its end.
const _: () = assert!(crate::layout::HEAD_BYTES == 17);
