//! Breadth-first search through every state that a world can get into.
//!
//! States are told apart by 128 bits of a hash over everything in them; a path of shortest length to the first state that
//! breaks a property is kept. Breadth first, so that a counterexample is as short as it can be.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
    hash::{BuildHasherDefault, Hash, Hasher},
};

use crate::{
    properties::{Property, Violation},
    scenario::Scenario,
    switches::Off,
    world::{Action, World},
};

/// What a search found.
pub(crate) struct Report {
    /// Which world was searched.
    pub(crate) scenario: &'static str,
    /// How many different states there are.
    pub(crate) states: usize,
    /// How many steps between them.
    pub(crate) steps: usize,
    /// How many steps the farthest state is away.
    pub(crate) depth: usize,
    /// The shortest way to what must not be, and what that is.
    pub(crate) counterexample: Option<Counterexample>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, states, steps, depth, .. } = self;
        write!(f, "{scenario}: {states} states, {steps} steps, depth {depth}")
    }
}

/// A way to a state that breaks a property, in words.
pub(crate) struct Counterexample {
    /// What happened, in order.
    pub(crate) steps: Vec<String>,
    /// What is broken by it.
    pub(crate) broken: Violation,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What begins with a space follows from the step before it.
        let mut number = 0;
        for step in &self.steps {
            if let Some(consequence) = step.strip_prefix("  ") {
                writeln!(f, "        {consequence}")?;
            } else {
                number += 1;
                writeln!(f, "  {number:2}. {step}")?;
            }
        }
        write!(f, "  => breaks {}", self.broken)
    }
}

/// Which violations end the search.
#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// The first of any property.
    Any,
    /// The first of this one; others are walked past.
    Only(Property),
}

/// More states than this mean that a world has grown by mistake.
const TOO_MANY: usize = 2_000_000;

/// Searches the whole world, or as far as the first violation that is wanted.
pub(crate) fn explore(scenario: &Scenario, off: Off, wanted: Wanted) -> Report {
    let start = World::new(scenario, off);
    let mut seen: HashSet<u128, BuildHasherDefault<Same>> = HashSet::default();
    let mut nodes: Vec<Node> = vec![Node { parent: 0, action: None, depth: 0 }];
    let mut open = VecDeque::from([(0_u32, start.clone())]);
    seen.insert(fingerprint(&start));
    let mut report = Report { scenario: scenario.name, states: 1, steps: 0, depth: 0, counterexample: None };
    let mut actions = Vec::new();
    while let Some((node, world)) = open.pop_front() {
        let depth = nodes[node as usize].depth;
        report.depth = report.depth.max(depth.into());
        actions.clear();
        world.actions(scenario, &mut actions);
        for &action in &actions {
            report.steps += 1;
            let mut found = Vec::new();
            let mut next = world.clone();
            next.apply(action, scenario, off, &mut found, None);
            let broken = found.into_iter().find(|found| match wanted {
                Wanted::Any => true,
                Wanted::Only(property) => found.property == property,
            });
            if let Some(broken) = broken {
                let mut path = path_to(&nodes, node);
                path.push(action);
                report.counterexample =
                    Some(Counterexample { steps: told(start, &path, scenario, off), broken });
                return report;
            }
            if seen.insert(fingerprint(&next)) {
                let number = u32::try_from(nodes.len()).unwrap();
                nodes.push(Node { parent: node, action: Some(action), depth: depth + 1 });
                open.push_back((number, next));
                report.states += 1;
                assert!(report.states <= TOO_MANY, "{}: too many states", scenario.name);
            }
        }
    }
    report
}

struct Node {
    parent: u32,
    action: Option<Action>,
    depth: u16,
}

fn path_to(nodes: &[Node], mut node: u32) -> Vec<Action> {
    let mut path = Vec::new();
    while let Some(action) = nodes[node as usize].action {
        path.push(action);
        node = nodes[node as usize].parent;
    }
    path.reverse();
    path
}

/// The path again, this time with somebody who writes down what happens.
fn told(mut world: World, path: &[Action], scenario: &Scenario, off: Off) -> Vec<String> {
    let mut tale = Vec::new();
    for &action in path {
        world.apply(action, scenario, off, &mut Vec::new(), Some(&mut tale));
    }
    tale
}

fn fingerprint(world: &World) -> u128 {
    let mut hasher = Mix::default();
    world.hash(&mut hasher);
    hasher.whole()
}

/// A fast hash of 128 bits in two lanes. Nobody chooses what is hashed here, so it need not resist anybody.
#[derive(Clone)]
pub(crate) struct Mix(u64, u64);

impl Default for Mix {
    fn default() -> Self {
        Self(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344)
    }
}

impl Mix {
    fn whole(&self) -> u128 {
        let (a, b) = (finished(self.0), finished(self.1 ^ self.0.rotate_left(23)));
        (u128::from(a) << 64) | u128::from(b)
    }
}

fn finished(mut word: u64) -> u64 {
    word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    word ^ (word >> 32)
}

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.1 = (self.1.rotate_left(29) ^ word.wrapping_add(0x632b_e59b_d9b4_e019))
            .wrapping_mul(0xff51_afd7_ed55_8ccd);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        finished(self.0 ^ self.1)
    }
}

/// What is looked up is a hash already.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn write(&mut self, _: &[u8]) {
        unreachable!("only u128 is hashed with this");
    }

    fn write_u128(&mut self, word: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "the lower half is a hash as well")]
        let half = word as u64;
        self.0 = half;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
