//! `aft-simulation`: runs seeds, and replays one with its trace.
fn main() {
    let seed: u64 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let n: u64 = std::env::args().nth(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut all = std::collections::BTreeMap::new();
    for seed in seed..seed+n {
    let outcome = aft_simulation::simulate(seed, &aft_simulation::Options { bug: None, trace: n==1 });
    for line in &outcome.trace { println!("{line}"); }
    if let Some(v) = &outcome.violation { println!("seed {seed}: {v}"); }
    for (k,v) in outcome.counts { *all.entry(k).or_insert(0)+=v; }
    }
    println!("{all:?}");
}
