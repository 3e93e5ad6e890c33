//! A store that delays, drops, duplicates and lands late.
