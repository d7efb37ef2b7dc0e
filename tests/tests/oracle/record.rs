//! One test case as `guest/oracle.c` reads and writes it.

use std::fmt::Write;

/// Address of the memory that the code of a case may touch.
pub const WINDOW: u64 = 0x0402_0000;
/// Bytes of that memory which are compared.
pub const MEM: usize = 512;
/// Address of the first code slot.
pub const SLOTS: u64 = 0x0410_0000;
/// Bytes between code slots.
pub const SLOT: u64 = 64;
/// Instruction words of a case.
pub const CODE: usize = 8;
/// Most cases in a batch.
pub const BATCH: usize = 1024;
/// Bytes of a record.
pub const SIZE: usize = 1904;

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

    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.gpr
            .iter()
            .for_each(|r| out.extend_from_slice(&r.to_le_bytes()));
        self.vsr
            .iter()
            .for_each(|r| out.extend_from_slice(&r.to_le_bytes()));
        for word in [self.fpscr, 0, u64::from(self.vscr), 0, u64::from(self.cr)] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.xer, self.lr, self.ctr, self.signal, self.nip] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        self.code
            .iter()
            .for_each(|r| out.extend_from_slice(&r.to_le_bytes()));
        out.extend_from_slice(&self.mem);
        assert_eq!(out.len() - start, SIZE);
    }

    pub fn get(bytes: &[u8]) -> Self {
        let u64_at = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        let mut r = Record::blank();
        for (i, gpr) in r.gpr.iter_mut().enumerate() {
            *gpr = u64_at(8 * i);
        }
        for (i, vsr) in r.vsr.iter_mut().enumerate() {
            *vsr = u128::from_le_bytes(bytes[256 + 16 * i..272 + 16 * i].try_into().unwrap());
        }
        r.fpscr = u64_at(1280);
        r.vscr = u64_at(1296) as u32;
        r.cr = u64_at(1312) as u32;
        r.xer = u64_at(1320);
        r.lr = u64_at(1328);
        r.ctr = u64_at(1336);
        r.signal = u64_at(1344);
        r.nip = u64_at(1352);
        for (i, word) in r.code.iter_mut().enumerate() {
            *word = u64_at(1360 + 4 * i) as u32;
        }
        r.mem.copy_from_slice(&bytes[1392..SIZE]);
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
