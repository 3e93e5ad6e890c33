//! The requests of the small worlds, written as short texts: a letter for each key, upper case for
//! a value that is written, lower case for a read or a tombstone.

use aft_core::ids::Key;

use crate::draw::key;
use crate::script::{Action, Request, Step};

pub(super) fn k() -> Key {
    key(0)
}

pub(super) fn l() -> Key {
    key(1)
}

pub(super) fn m() -> Key {
    key(2)
}

/// Returns a request that writes in one batch, and commits: `"K"` and `"KL"` write values, `"k"`
/// and `"l"` tombstones.
pub(super) fn writes(id: u32, text: &str) -> Request {
    let actions = text.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'M' => Action::Put(m()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        'm' => Action::Delete(m()),
        other => panic!("unknown write {other:?}; use K, L, M for values and k, l, m for tombstones"),
    });
    let mut request = Request::new(id, vec![Step::Run(actions.collect()), Step::Commit]);
    request.eager = true;
    request
}

/// Returns the same request without a request ID; with one key it commits as a whole entry.
pub(super) fn plain(id: u32, text: &str) -> Request {
    Request { named: false, ..writes(id, text) }
}

/// Returns a serializable request of one batch with conditions or sums, which commits.
pub(super) fn conditional(id: u32, actions: Vec<Action>) -> Request {
    let program = vec![Step::Run(actions), Step::Commit];
    Request { eager: true, checked: true, ..Request::new(id, program) }
}

/// Returns a request that reads keys one after the other, each by a verb of its own; `*` lists all
/// keys in one page, `/` page by page, `~` their common prefixes.
pub(super) fn reads(text: &str) -> Request {
    let list = |limit, pages| Step::List { prefix: String::new(), limit, pages, delimiter: None };
    let mut program: Vec<Step> = text
        .chars()
        .map(|letter| match letter {
            'k' => Step::Run(vec![Action::Get(k())]),
            'l' => Step::Run(vec![Action::Get(l())]),
            'm' => Step::Run(vec![Action::Get(m())]),
            '*' => list(10, 1),
            '/' => list(1, 3),
            '~' => Step::List { prefix: String::new(), limit: 10, pages: 1, delimiter: Some("/".into()) },
            other => panic!("unknown read {other:?}; use k, l, m for gets and *, / or ~ for listings"),
        })
        .collect();
    program.push(Step::Commit);
    Request { named: false, ..Request::new(u32::MAX - 1, program) }
}

/// Returns the same request, fresh.
pub(super) fn fresh(text: &str) -> Request {
    Request { fresh: true, ..reads(text) }
}

/// Returns a serializable request that reads the keys in `text` one after the other, writes
/// `writes` in one batch, and commits.
pub(super) fn checked(text: &str, writes: &str) -> Request {
    let gets = text.chars().map(|letter| match letter {
        'k' => Step::Run(vec![Action::Get(k())]),
        'l' => Step::Run(vec![Action::Get(l())]),
        '*' => Step::list_all(),
        other => panic!("unknown read {other:?}; use k and l for gets and * for a listing"),
    });
    let puts = writes.chars().map(|letter| match letter {
        'K' => Action::Put(k()),
        'L' => Action::Put(l()),
        'k' => Action::Delete(k()),
        'l' => Action::Delete(l()),
        other => panic!("unknown write {other:?}; use K and L for values and k and l for tombstones"),
    });
    let mut program: Vec<Step> = gets.collect();
    let puts: Vec<Action> = puts.collect();
    program.extend((!puts.is_empty()).then_some(Step::Run(puts)));
    program.push(Step::Commit);
    Request { checked: true, ..Request::new(0, program) }
}
