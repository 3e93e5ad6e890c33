//! Workloads, load generator and the demo.
