//! Stories: what a node does in one course of events, told from outside.

mod reading;
mod shop;
mod writing;
