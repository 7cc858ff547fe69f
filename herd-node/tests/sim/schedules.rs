//! Random schedules of every fault at once, by seed.

use std::env;
use std::time::Duration;

use rand::RngExt as _;

use crate::faults::{Fault, Faults};
use crate::graph::{Graph, SEED_GRAPH, random_graph};
use crate::network::Herd;

/// Long enough for silence to be noticed (5 s), dialled around (1 s) and made up for.
const SETTLE: Duration = Duration::from_secs(20);

/// Clients that report: few, so that they get into each other's way.
const CLIENTS: u32 = 12;

/// Faults that every batch of schedules must have seen.
const ALWAYS: [Fault; 12] = [
    Fault::FrameLost,
    Fault::StreamBroken,
    Fault::HalfOpen,
    Fault::OneWaySilence,
    Fault::FrameStalled,
    Fault::FrameSlowed,
    Fault::PipeFull,
    Fault::Flap,
    Fault::DuplicateStream,
    Fault::ClockStep,
    Fault::Redelivery,
    Fault::Forgetting,
];

/// Seeds to run: those of the environment, or as many as are asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let read = |name| env::var(name).ok().and_then(|text: String| text.parse().ok());
    match (read("SIM_SEED"), read("SIM_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, more) => 0..more.unwrap_or(count),
    }
}

/// What a crash does to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Crash {
    Never,
    LosesMemory,
    KeepsDisk,
}

/// Runs one herd through `steps` random steps and heals it.
fn run(seed: u64, graph: Graph<'_>, steps: u32, crash: Crash) -> Herd {
    suffer(Herd::new(seed, graph), steps, crash, &step)
}

fn suffer(mut herd: Herd, steps: u32, crash: Crash, step: &dyn Fn(&mut Herd, Crash)) -> Herd {
    let mut order: Vec<_> = (0..herd.size()).collect();
    for index in (1..order.len()).rev() {
        order.swap(index, herd.rng.random_range(0..=index));
    }
    for node in order {
        herd.start(node);
        let pause = herd.rng.random_range(0..200);
        herd.run(Duration::from_millis(pause));
    }
    for _ in 0..steps {
        step(&mut herd, crash);
        // Mostly one thing on top of another; now and then long enough for silence to tell.
        let pause = if herd.rng.random_ratio(1, 10) { 500..7000 } else { 0..60 };
        let pause = herd.rng.random_range(pause);
        herd.run(Duration::from_millis(pause));
    }
    herd.heal();
    herd.settle(SETTLE);
    herd
}

fn step(herd: &mut Herd, crash: Crash) {
    let node = herd.rng.random_range(0..herd.size());
    let edge = herd.rng.random_range(0..herd.edges());
    match herd.rng.random_range(0..28) {
        0..3 => {
            let cut = herd.rng.random();
            herd.set_cut(edge, cut);
        }
        3 => herd.silence(edge),
        4 | 5 => {
            let stalled = herd.rng.random();
            herd.set_stalled(edge, stalled);
        }
        6 => {
            let speed = herd.rng.random_range(50..4000);
            herd.set_speed(edge, Some(speed));
        }
        7 => herd.set_speed(edge, None),
        8 => herd.flap(edge),
        9 => herd.step_clock(node),
        10 | 11 => herd.redeliver(node),
        12 => {
            let client = herd.rng.random_range(0..CLIENTS);
            herd.forget(node, client);
        }
        13 => match crash {
            Crash::Never => {}
            Crash::KeepsDisk => herd.restart_with_disk(node),
            Crash::LosesMemory if herd.is_up(node) => herd.crash(node),
            Crash::LosesMemory => herd.start(node),
        },
        _ => {
            let client = herd.rng.random_range(0..CLIENTS);
            herd.report(node, client);
        }
    }
}

/// Runs schedules one after the other and checks each.
fn check_seeds(
    seeds: std::ops::Range<u64>,
    crash: Crash,
    work: impl Fn(u64) -> Herd + std::panic::RefUnwindSafe,
) -> Faults {
    let mut total = Faults::default();
    for seed in seeds {
        let result = std::panic::catch_unwind(|| {
            let herd = work(seed);
            herd.check_agreement();
            if crash != Crash::LosesMemory {
                herd.check_nothing_lost();
            }
            herd.faults
        });
        let faults = result.unwrap_or_else(|panic| {
            eprintln!("failed with SIM_SEED={seed}");
            std::panic::resume_unwind(panic)
        });
        total.add(&faults);
    }
    total
}

fn on_seed_graph(crash: Crash) -> Faults {
    check_seeds(seeds(300), crash, |seed| run(seed, SEED_GRAPH, 40, crash))
}

#[test]
fn cut_networks_heal_and_nothing_acknowledged_is_lost() {
    on_seed_graph(Crash::Never).check_happened(&ALWAYS);
}

#[test]
fn nodes_that_crash_and_come_back_agree_with_the_rest() {
    let faults = on_seed_graph(Crash::LosesMemory);
    faults.check_happened(&ALWAYS);
    faults.check_happened(&[Fault::Crash]);
}

#[test]
fn nodes_that_restart_from_their_disks_lose_nothing_acknowledged() {
    let faults = on_seed_graph(Crash::KeepsDisk);
    faults.check_happened(&ALWAYS);
    faults.check_happened(&[Fault::Restart]);
}

#[test]
fn herds_of_any_shape_lose_nothing_acknowledged() {
    let crash = Crash::KeepsDisk;
    let faults = check_seeds(seeds(120), crash, |seed| {
        let nodes = 3 + (seed % 10) as usize;
        run(seed, (nodes, &random_graph(seed, nodes)), 40, crash)
    });
    faults.check_happened(&ALWAYS);
}

/// As every other step, but clocks that are right stay right.
fn step_with_right_clocks(herd: &mut Herd, crash: Crash) {
    let clocks: Vec<_> = herd.nodes.iter().map(|node| node.ahead_millis).collect();
    step(herd, crash);
    for (node, ahead) in herd.nodes.iter_mut().zip(clocks) {
        node.ahead_millis = ahead;
    }
}

/// Longer than a stream that another one replaced goes on for: what it had in flight is sent again
/// when it ends, which may be after all nodes agree.
const REPLACED: Duration = Duration::from_secs(15);

/// A herd that suffers, heals, and then sees all its clients expire.
fn expire(seed: u64) -> Herd {
    let retention = Duration::from_mins(10);
    let mut herd = Herd::new(seed, SEED_GRAPH);
    herd.retention = Some(retention);
    for node in &mut herd.nodes {
        node.ahead_millis %= 30_000;
    }
    let mut herd = suffer(herd, 40, Crash::KeepsDisk, &step_with_right_clocks);
    herd.check_agreement();
    herd.check_nothing_lost();
    herd.run(REPLACED);
    let sent = herd.records_sent;
    herd.run(retention + Duration::from_mins(3));
    assert_eq!(herd.records_sent, sent, "expiry costs no traffic");
    for state in herd.states() {
        let gone = state.expired() + state.table().len() as u64;
        assert!(state.expired() > 0 && gone >= herd.greatest.len() as u64);
    }
    for node in 0..herd.size() {
        assert!(herd.records(node).iter().all(|record| record.forgotten));
    }
    herd
}

#[test]
fn what_is_not_reported_again_is_gone_from_all_nodes_at_its_time_without_a_word() {
    let faults = check_seeds(seeds(20), Crash::LosesMemory, expire);
    faults.check_happened(&[Fault::Restart, Fault::Forgetting, Fault::StreamBroken]);
}

/// Two streams to one friend: the one that went gave back what it had in flight 0.7 s after all
/// nodes agreed, which the test took for traffic of expiry.
#[test]
fn seed_3210_expires_without_a_word_too() {
    expire(3210);
}

#[test]
fn two_hundred_nodes_lose_nothing_acknowledged() {
    let crash = Crash::KeepsDisk;
    check_seeds(seeds(1), crash, |seed| run(seed, (200, &random_graph(seed, 200)), 40, crash));
}

#[test]
fn one_seed_replays_one_run_exactly() {
    let trace = |seed| {
        let herd = run(seed, SEED_GRAPH, 60, Crash::LosesMemory);
        (herd.trace(), herd.digests(), herd.frames, herd.records_sent, herd.faults)
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}
