//! A simulated serverless platform, whose faults are drawn from a seed.

pub(crate) mod fate;
