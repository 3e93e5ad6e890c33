//! Writes what was measured: `docs/figures/` and the summary in `docs/benchmarks.md`.
