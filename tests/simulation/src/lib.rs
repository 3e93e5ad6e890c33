//! The simulator: a driver for aft-core with time, faults and a store of its own.
