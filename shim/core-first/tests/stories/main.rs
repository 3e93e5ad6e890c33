//! Stories: what the rules come to, one at a time. `scenarios` tells them in text, over a whole store that answers at once; the others play the store by hand, since they
//! need it slow, dead, damaged, or late.

#![expect(clippy::unwrap_used, reason = "a failed test says where")]

mod by_hand;
mod doubted;
mod heard;
mod mark;
mod room;
mod scenarios;
mod seen;
