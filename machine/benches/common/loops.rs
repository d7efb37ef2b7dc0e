//! Loops for measuring the CPU: many short blocks of different code, one after the other, as kernels have and inner loops have not.

use viommu::selftest::asm::{Asm, Cond, Reg};

/// Where the next block lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Right behind: most jumps stay in their page.
    Straight,
    /// Somewhere else: nearly every jump leaves its page.
    Scattered,
}

/// Register that holds the middle of [`DATA_SIZE`] bytes of writable memory.
pub const DATA: Reg = 30;
/// Bytes of memory that a loop loads from and stores to.
pub const DATA_SIZE: u64 = 0x1_0000;
/// Registers that a loop computes with. Their values at the end depend on each instruction.
pub const WORK: std::ops::RangeInclusive<Reg> = 5..=12;

/// Emits a loop of `blocks` blocks that is left when CTR passes have been made, and returns the instructions of a pass. It uses
/// [`DATA`], [`WORK`], CTR and CR field 0.
pub fn emit(asm: &mut Asm, blocks: usize, order: Order) -> u64 {
    let labels: Vec<_> = (0..blocks).map(|_| asm.label()).collect();
    let path = path(blocks, order);
    let mut next = vec![0; blocks];
    for pair in path.windows(2) {
        next[pair[0]] = pair[1];
    }
    let (again, end, out) = (asm.label(), asm.label(), asm.label());
    let top = asm.here();
    asm.b(labels[path[0]]);
    let mut count = 3; // the jumps of `top`, `end` and `again`
    let last = path[blocks - 1];
    for (index, label) in labels.iter().enumerate() {
        asm.bind(*label);
        count += body(asm, &mut Random::new(index)) + 1;
        asm.b(if index == last {
            end
        } else {
            labels[next[index]]
        });
    }
    asm.bind(end);
    asm.bc(Cond::Dnz, again);
    asm.b(out);
    asm.bind(again);
    asm.b(top);
    asm.bind(out);
    count
}

/// The order in which blocks run.
fn path(blocks: usize, order: Order) -> Vec<usize> {
    let mut path: Vec<usize> = (0..blocks).collect();
    if order == Order::Scattered {
        let mut random = Random::new(blocks);
        for i in (1..blocks).rev() {
            path.swap(i, random.below(i + 1));
        }
    }
    path
}

/// A block without its jump: two loads, a store and six to ten others. Returns its length.
fn body(asm: &mut Asm, random: &mut Random) -> u64 {
    let mut count = 3;
    asm.ld(random.reg(), random.displacement(), DATA);
    count += arithmetic(asm, random, 2, 4);
    asm.lwz(random.reg(), random.displacement(), DATA);
    count += arithmetic(asm, random, 2, 3);
    asm.std(random.reg(), random.displacement(), DATA);
    count + arithmetic(asm, random, 2, 3)
}

/// `least` to `most` instructions on registers.
fn arithmetic(asm: &mut Asm, random: &mut Random, least: usize, most: usize) -> u64 {
    let n = least + random.below(most - least + 1);
    for _ in 0..n {
        let (t, a, b) = (random.reg(), random.reg(), random.reg());
        let value = random.next() as u16;
        match random.below(6) {
            0 => asm.add(t, a, b),
            1 => asm.addi(t, a, value as i16),
            2 => asm.oris(t, a, value),
            3 => asm.sldi(t, a, 1 + u32::from(value % 31)),
            4 => asm.srdi(t, a, 1 + u32::from(value % 31)),
            _ => asm.word(31 << 26 | a << 21 | t << 16 | b << 11 | 316 << 1), // xor
        }
    }
    n as u64
}

/// xorshift64*: the same numbers in every run.
struct Random(u64);

impl Random {
    fn new(seed: usize) -> Random {
        Random((seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn reg(&mut self) -> Reg {
        WORK.start() + self.below(8) as Reg
    }

    /// A multiple of 8 from -32768.
    fn displacement(&mut self) -> i16 {
        (self.next() as u16 & !7) as i16
    }
}
