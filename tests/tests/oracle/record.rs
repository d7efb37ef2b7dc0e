//! One test case as `guest/oracle.c` reads and writes it.

use std::fmt::Write;

/// Address of the memory that the code of a case may touch.
pub const WINDOW: u64 = 0x0402_0000;
/// Bytes of that memory which are compared.
pub const MEM: usize = 512;
/// Address of the first code slot.
pub const SLOTS: u64 = 0x0410_0000;
/// Bytes between code slots.
pub const SLOT: u64 = 256;
/// Instruction words of a case.
pub const CODE: usize = 48;
/// Most cases in a batch.
pub const BATCH: usize = 1024;
/// Bytes of a record.
pub const SIZE: usize = 2064;

/// Byte order of the CPU that runs a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    Little,
    Big,
}

macro_rules! in_order {
    ($($put:ident $get:ident $t:ty),*) => {$(
        pub fn $put(self, out: &mut Vec<u8>, v: $t) {
            out.extend_from_slice(&match self {
                Order::Little => v.to_le_bytes(),
                Order::Big => v.to_be_bytes(),
            });
        }
        pub fn $get(self, bytes: &[u8]) -> $t {
            let bytes = bytes[..size_of::<$t>()].try_into().expect("the size of the type");
            match self {
                Order::Little => <$t>::from_le_bytes(bytes),
                Order::Big => <$t>::from_be_bytes(bytes),
            }
        }
    )*};
}

impl Order {
    in_order!(u32 read_u32 u32, u64 read_u64 u64, u128 read_u128 u128);

    /// Its name in `ORACLE_ORDER`.
    pub fn name(self) -> &'static str {
        match self {
            Order::Little => "le",
            Order::Big => "be",
        }
    }
}

/// State before or after the code of a case, and the code.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    pub gpr: [u64; 32],
    pub vsr: [u128; 64],
    pub fpscr: u64,
    pub vscr: u32,
    pub cr: u32,
    pub xer: u64,
    pub lr: u64,
    pub ctr: u64,
    /// Signal that ended the code, 0 for none.
    pub signal: u64,
    /// Where the signal came.
    pub nip: u64,
    /// The code; the first zero word ends it.
    pub code: [u32; CODE],
    pub mem: [u8; MEM],
}

impl Record {
    pub fn blank() -> Self {
        Record {
            gpr: [0; 32],
            vsr: [0; 64],
            fpscr: 0,
            vscr: 0,
            cr: 0,
            xer: 0,
            lr: 0,
            ctr: 0,
            signal: 0,
            nip: 0,
            code: [0; CODE],
            mem: [0; MEM],
        }
    }

    pub fn put(&self, order: Order, out: &mut Vec<u8>) {
        let start = out.len();
        self.gpr.iter().for_each(|v| order.u64(out, *v));
        self.vsr.iter().for_each(|v| order.u128(out, *v));
        order.u64(out, self.fpscr);
        // The target register is the guest program's.
        order.u64(out, 0);
        order.u128(out, self.vscr.into());
        for v in [u64::from(self.cr), self.xer, self.lr, self.ctr] {
            order.u64(out, v);
        }
        order.u64(out, self.signal);
        order.u64(out, self.nip);
        self.code.iter().for_each(|w| order.u32(out, *w));
        out.extend_from_slice(&self.mem);
        assert_eq!(out.len() - start, SIZE);
    }

    pub fn get(order: Order, bytes: &[u8]) -> Self {
        let u64_at = |at: usize| order.read_u64(&bytes[at..]);
        let u128_at = |at: usize| order.read_u128(&bytes[at..]);
        let mut r = Record::blank();
        for (i, gpr) in r.gpr.iter_mut().enumerate() {
            *gpr = u64_at(8 * i);
        }
        for (i, vsr) in r.vsr.iter_mut().enumerate() {
            *vsr = u128_at(256 + 16 * i);
        }
        r.fpscr = u64_at(1280);
        r.vscr = u128_at(1296) as u32;
        r.cr = u64_at(1312) as u32;
        r.xer = u64_at(1320);
        r.lr = u64_at(1328);
        r.ctr = u64_at(1336);
        r.signal = u64_at(1344);
        r.nip = u64_at(1352);
        for (i, word) in r.code.iter_mut().enumerate() {
            *word = order.read_u32(&bytes[1360 + 4 * i..]);
        }
        r.mem.copy_from_slice(&bytes[SIZE - MEM..SIZE]);
        r
    }

    /// What differs between `self` (ours) and `theirs`, a line each; empty if nothing does.
    pub fn differences(&self, theirs: &Record) -> String {
        let mut out = String::new();
        let mut line = |name: &str, ours: u128, theirs: u128| {
            if ours != theirs {
                let _ = writeln!(out, "    {name}: ours {ours:#x}, QEMU {theirs:#x}");
            }
        };
        line("signal", self.signal.into(), theirs.signal.into());
        line("nip", self.nip.into(), theirs.nip.into());
        line("cr", self.cr.into(), theirs.cr.into());
        line("xer", self.xer.into(), theirs.xer.into());
        line("lr", self.lr.into(), theirs.lr.into());
        line("ctr", self.ctr.into(), theirs.ctr.into());
        line("fpscr", self.fpscr.into(), theirs.fpscr.into());
        line("vscr", self.vscr.into(), theirs.vscr.into());
        for i in 0..32 {
            line(&format!("r{i}"), self.gpr[i].into(), theirs.gpr[i].into());
        }
        for i in 0..64 {
            line(&format!("vs{i}"), self.vsr[i], theirs.vsr[i]);
        }
        if let Some(at) = (0..MEM).find(|&i| self.mem[i] != theirs.mem[i]) {
            let end = (at + 16).min(MEM);
            let (a, b) = (&self.mem[at..end], &theirs.mem[at..end]);
            let _ = writeln!(out, "    memory from {at:#x}: ours {a:02x?}, QEMU {b:02x?}");
        }
        out
    }
}
