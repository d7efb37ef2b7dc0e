//! Floating point, VMX and VSX instructions of Power ISA 3.0B as functions on a register file.
//!
//! Every instruction form is one row of [`OPS`]; [`decode`] finds the row of an instruction word. The caller checks the facility
//! ([`VecOp::facility_for`]) before it runs a row. Bit and element numbers follow the ISA: number 0 is the most significant one.
mod convert;
mod crypto;
mod decimal;
mod estimate;
mod fields;
mod fpscr;
mod integer;
mod integer_p8;
mod memory;
mod permute;
mod quad;
mod scalar;
mod vmx_float;
mod vsx_float;
mod vsx_move;

#[cfg(test)]
mod tests;

use std::sync::OnceLock;

/// Status of the vector and floating-point facilities.
#[derive(Clone, Copy, Debug, Default)]
pub struct VecState {
    /// Floating-Point Status and Control Register (64 bits, the low 32 and DRN are used). Power ISA 3.0B Book I §4.2.2.
    pub fpscr: u64,
    /// Vector Status and Control Register: SAT is bit 31, NJ bit 15. Power ISA 3.0B Book I §6.3.2.
    pub vscr: u32,
}

/// The facility bit of the MSR that an instruction needs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Facility {
    /// MSR\[FP\].
    Fp,
    /// MSR\[VEC\].
    Vmx,
    /// MSR\[VSX\].
    Vsx,
}

/// A storage access failed; the implementer of [`VecEnv`] has recorded the exception.
pub struct MemFault;

/// Registers, and guest storage as the load and store instructions see it.
pub trait VecEnv {
    /// The flat register file: GPRs, condition fields from `R_CR0` on, VSRs from `R_VSR` on.
    fn regs(&self) -> &[u64; 256];
    /// The same, to be changed.
    fn regs_mut(&mut self) -> &mut [u64; 256];
    /// Loads `size` (1, 2, 4 or 8) bytes at effective address `ea` in the guest's current byte order.
    fn load(&mut self, ea: u64, size: u8) -> Result<u64, MemFault>;
    /// Stores the low `size` (1, 2, 4 or 8) bytes of `value` at effective address `ea` in the guest's current byte order.
    fn store(&mut self, ea: u64, size: u8, value: u64) -> Result<(), MemFault>;
}

/// Why an instruction did not simply complete.
pub enum Trap {
    /// A storage access failed; see [`MemFault`].
    Memory,
    /// Enabled floating-point exception: program interrupt. FPSCR is updated, the target only as far as the ISA says.
    FpEnabled,
    /// Invalid form.
    Illegal,
}

impl From<MemFault> for Trap {
    fn from(_: MemFault) -> Self {
        Trap::Memory
    }
}

/// What an instruction works on.
pub struct VecCtx<'a> {
    /// The instruction word.
    pub insn: u32,
    /// Status.
    pub vec: &'a mut VecState,
    /// MSR\[LE\].
    pub little_endian: bool,
    /// MSR\[SF\]; effective addresses are truncated to 32 bits without it.
    pub sixty_four: bool,
    /// MSR\[FE0\] or MSR\[FE1\].
    pub fp_exceptions: bool,
    /// Registers and storage.
    pub env: &'a mut dyn VecEnv,
}

/// Result of an instruction.
type Run = Result<(), Trap>;

/// One instruction form.
#[derive(Clone, Copy)]
pub struct VecOp {
    /// Assembler name without the record dot.
    pub mnemonic: &'static str,
    /// Bits that identify the form, reserved fields included.
    pub mask: u32,
    /// Value of the bits under `mask`.
    pub value: u32,
    /// Facility the form needs unless [`VecOp::facility_for`] says otherwise.
    pub facility: Facility,
    /// Whether the form accesses storage.
    pub memory: bool,
    /// Executes the instruction.
    pub run: fn(&mut VecCtx) -> Result<(), Trap>,
    /// Instruction bit that selects VSRs 32 to 63 and with them MSR\[VEC\]; 0 if the facility is fixed.
    high_half: u32,
}

impl VecOp {
    /// The facility that the instruction word `insn`, decoded to this row, needs.
    pub fn facility_for(&self, insn: u32) -> Facility {
        if insn & self.high_half != 0 {
            Facility::Vmx
        } else {
            self.facility
        }
    }

    const fn new(
        mnemonic: &'static str,
        mask: u32,
        value: u32,
        facility: Facility,
        run: fn(&mut VecCtx) -> Run,
    ) -> Self {
        VecOp {
            mnemonic,
            mask,
            value,
            facility,
            memory: false,
            run,
            high_half: 0,
        }
    }

    /// Marks a storage access.
    const fn mem(mut self) -> Self {
        self.memory = true;
        self
    }

    /// Sets the bit that selects MSR\[VEC\].
    const fn high(mut self, bit: u32) -> Self {
        self.high_half = bit;
        self
    }
}

const PARTS: &[&[VecOp]] = &[
    memory::OPS,
    integer::OPS,
    integer_p8::OPS,
    permute::OPS,
    crypto::OPS,
    decimal::OPS,
    vsx_move::OPS,
    fpscr::OPS,
    scalar::OPS,
    convert::OPS,
    vmx_float::OPS,
    vsx_float::OPS,
    vsx_float::ARITH[0],
    vsx_float::ARITH[1],
    vsx_float::ARITH[2],
    vsx_float::ARITH[3],
    vsx_float::ARITH[4],
    vsx_float::ARITH[5],
    vsx_float::ARITH[6],
    vsx_float::ARITH[7],
    quad::OPS,
];

const COUNT: usize = {
    let (mut n, mut i) = (0, 0);
    while i < PARTS.len() {
        n += PARTS[i].len();
        i += 1;
    }
    n
};

static ALL: [VecOp; COUNT] = {
    let mut all = [PARTS[0][0]; COUNT];
    let (mut n, mut i) = (0, 0);
    while i < PARTS.len() {
        let mut j = 0;
        while j < PARTS[i].len() {
            all[n] = PARTS[i][j];
            n += 1;
            j += 1;
        }
        i += 1;
    }
    all
};

/// All instruction forms.
pub static OPS: &[VecOp] = &ALL;

/// Chains of candidate rows, by primary opcode and the low 11 bits of the instruction word.
struct Index {
    /// First entry of each chain, 0 for none.
    head: Vec<u32>,
    /// Row and next entry.
    entries: Vec<(u16, u32)>,
}

impl Index {
    fn build() -> Self {
        let mut index = Index {
            head: vec![0; 64 << 11],
            entries: vec![(0, 0)],
        };
        for (row, op) in OPS.iter().enumerate() {
            let primary = op.value >> 26;
            for low in 0..0x800_u32 {
                if low & op.mask == op.value & 0x7ff {
                    let slot = &mut index.head[(primary << 11 | low) as usize];
                    index.entries.push((row as u16, *slot));
                    *slot = (index.entries.len() - 1) as u32;
                }
            }
        }
        index
    }
}

/// The row of an instruction word, `None` if it is none of this facility's instructions.
pub fn decode(insn: u32) -> Option<&'static VecOp> {
    static INDEX: OnceLock<Index> = OnceLock::new();
    let index = INDEX.get_or_init(Index::build);
    let mut at = index.head[(insn >> 26 << 11 | insn & 0x7ff) as usize];
    while at != 0 {
        let (row, next) = index.entries[at as usize];
        let op = &OPS[usize::from(row)];
        if insn & op.mask == op.value {
            return Some(op);
        }
        at = next;
    }
    None
}
