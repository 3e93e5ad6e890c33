//! One setting for all memory, `[serve] memory_bytes_max`: every bound that is not set by itself
//! gets a share of it.
//!
//! ```text
//!   all ──┬─ a reserve for what has no bound of its own: code, connections, the tree's filters,
//!         │  what the allocator keeps
//!         └─ rest ─► large bodies 1/3 · index, values, transactions 1/8 each · memory tables 1/6
//!                    · the tree's blocks 1/12 · sweeping 1/24
//! ```

use crate::Failed;
use crate::settings::Settings;

/// The least setting. With less, one large value has no room on its way in: four parts of 8 MiB.
const LEAST: u64 = 192 << 20;
/// The least reserve, and the divisor that gives the reserve of a larger memory.
const RESERVE_LEAST: u64 = 64 << 20;
const RESERVE_SHARE: u64 = 8;
/// The memory of a request hash that a sweep holds.
const HASH_BYTES: u64 = 16;
/// The memory of all memory tables, in halves of one: five at once, each with half as much again.
const MEMTABLE_HALVES: u64 = 15;

/// Sets every bound that is not set to its share of `memory_bytes_max`, if that is set.
///
/// # Errors
/// Returns an error if `memory_bytes_max` is too small; the text names the least value.
pub(crate) fn share(settings: &mut Settings) -> Result<(), Failed> {
    let Some(all) = settings.number("serve", "memory_bytes_max") else { return Ok(()) };
    if all < LEAST {
        return Err(format!(
            "the setting serve.memory_bytes_max is {all}: at least {LEAST} ({} MiB) is needed",
            LEAST >> 20
        ));
    }
    let rest = all - RESERVE_LEAST.max(all / RESERVE_SHARE);
    settings.set_unless("node", "index_bytes_max", rest / 8);
    settings.set_unless("node", "value_cache_bytes_max", rest / 8);
    settings.set_unless("node", "transactions_bytes_max", rest / 8);
    settings.set_unless("node", "sweep_hashes_max", rest / 24 / HASH_BYTES);
    settings.set_unless("local", "cache_bytes_max", rest / 12);
    settings.set_unless("local", "memtable_bytes_max", rest / 6 * 2 / MEMTABLE_HALVES);
    settings.set_unless("doors", "bodies_bytes_max", rest / 3);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(all: u64) -> Settings {
        let mut settings = Settings::default();
        settings.set("serve", "memory_bytes_max", all);
        share(&mut settings).unwrap();
        settings
    }

    #[test]
    fn the_shares_add_up_to_the_whole() {
        for all in [LEAST, 256 << 20, 1 << 30, 64 << 30] {
            let settings = shared(all);
            let of = |section, name| settings.number(section, name).unwrap();
            let shares = of("node", "index_bytes_max")
                + of("node", "value_cache_bytes_max")
                + of("node", "transactions_bytes_max")
                + of("node", "sweep_hashes_max") * HASH_BYTES
                + of("local", "cache_bytes_max")
                + of("local", "memtable_bytes_max") * MEMTABLE_HALVES / 2
                + of("doors", "bodies_bytes_max");
            let rest = all - RESERVE_LEAST.max(all / RESERVE_SHARE);
            assert!(shares <= rest && shares + (1 << 20) >= rest, "{shares} of {rest}, {all} in all");
            assert!(of("doors", "bodies_bytes_max") >= 32 << 20, "room for one large value");
        }
    }

    #[test]
    fn a_bound_that_is_set_by_itself_stays() {
        let mut settings = Settings::default();
        settings.set("serve", "memory_bytes_max", 1 << 30);
        settings.set("node", "index_bytes_max", 7);
        share(&mut settings).unwrap();
        assert_eq!(settings.number("node", "index_bytes_max"), Some(7));
        let mut settings = Settings::default();
        share(&mut settings).unwrap();
        assert_eq!(settings, Settings::default());
    }

    #[test]
    fn too_little_is_rejected_by_name() {
        let mut settings = Settings::default();
        settings.set("serve", "memory_bytes_max", 1 << 20);
        let why = share(&mut settings).unwrap_err();
        assert!(why.contains("serve.memory_bytes_max") && why.contains("192 MiB"), "{why}");
    }
}
