//! The self-test's program. It runs in big-endian real mode, with hypercalls for everything outside memory.

use super::asm::{Asm, AsmError, Cond, Label, Reg};
use viommu_devices::edu::{BUFFER as EDU_BUFFER, DmaStatus};
use viommu_devices::spapr::hcall;

/// RTAS tokens that the program calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelftestTokens {
    /// `ibm,read-pci-config`.
    pub read_config: u32,
    /// `ibm,write-pci-config`.
    pub write_config: u32,
    /// `ibm,query-pe-dma-window`.
    pub query_window: u32,
    /// `ibm,create-pe-dma-window`.
    pub create_window: u32,
    /// `ibm,remove-pe-dma-window`.
    pub remove_window: u32,
    /// `power-off`.
    pub power_off: u32,
}

/// The machine that the program is assembled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelftestParams {
    /// Host bridge of the edu device.
    pub buid: u64,
    /// Bus of the edu device.
    pub bus: u8,
    /// Slot and function of the edu device.
    pub devfn: u8,
    /// Bus address to give BAR 0, below 4 GiB and aligned to 1 MiB.
    pub bar_pci: u32,
    /// Guest real address at which the processor sees `bar_pci`.
    pub bar_cpu: u64,
    /// Unit address of the console.
    pub vty: u32,
    /// Outputs of `ibm,query-pe-dma-window` with its status: 5, or 6 where `ibm,ddw-extensions` says so.
    pub query_outputs: u32,
    /// RTAS tokens.
    pub tokens: SelftestTokens,
}

/// Address of the first instruction.
pub const ENTRY: u64 = 0x100;
/// RTAS argument block.
const RTAS_ARGS: i16 = 0x6000;
/// Doubleword used to turn bytes round.
const SCRATCH: i16 = 0x6100;
/// Page that the device reads, and the one that it writes; whole 64 KiB pages.
const SOURCE: u64 = 0x1_0000;
const TARGET: u64 = 0x2_0000;
/// The program uses memory up to here.
pub const MEMORY_NEEDED: u64 = 0x3_0000;
const PAGE_SHIFT: u64 = 16;
const WINDOW_SHIFT: u64 = 30;
/// Bytes moved.
const COUNT: u64 = 256;
/// Times that a busy device is asked again.
const POLLS: u64 = 1_000_000;

/// edu registers.
const LIVENESS: u64 = 0x04;
const DMA_SOURCE: u64 = 0x80;
const DMA_TARGET: u64 = 0x88;
const DMA_COUNT: u64 = 0x90;
const DMA_COMMAND: u64 = 0x98;
/// How the last DMA ended: one of the two below, or another trouble.
const DMA_STATUS: u64 = 0xa0;
const DMA_DONE: i16 = DmaStatus::Done as i16;
const DMA_FAULT: i16 = DmaStatus::Fault as i16;

/// Registers that hold state over hypercalls.
const LIOBN: Reg = 14;
const BASE: Reg = 15;
const TARGET_IOVA: Reg = 16;
const LEFT: Reg = 17;
const TEXT: Reg = 20;
const RETURN: Reg = 21;

#[derive(Clone, Copy)]
enum Arg {
    Value(u64),
    Reg(Reg),
}
use Arg::Value;

struct Program {
    asm: Asm,
    params: SelftestParams,
    puts: Label,
    power_off: Label,
    texts: Vec<(Label, String)>,
    failures: Vec<(Label, u32)>,
    step: u32,
}

/// The flat image: to be loaded at 0 and entered at [`ENTRY`], big-endian, in real mode.
///
/// # Errors
/// Never for a program that the tests have assembled; the assembler says what did not fit.
pub fn image(params: &SelftestParams) -> Result<Vec<u8>, AsmError> {
    let mut asm = Asm::new(ENTRY as usize);
    let (puts, power_off) = (asm.label(), asm.label());
    let mut program = Program {
        asm,
        params: *params,
        puts,
        power_off,
        texts: Vec::new(),
        failures: Vec::new(),
        step: 1,
    };
    program.say("selftest: started");
    program.find_device();
    program.make_window();
    program.map();
    program.move_data();
    program.fault();
    program.remove_window();
    program.say(super::PASSED);
    let mut image = vec![0; ENTRY as usize];
    image.extend(program.finish()?);
    Ok(image)
}

impl Program {
    /// Label of the failure of the current step.
    fn failed(&mut self) -> Label {
        let label = self.asm.label();
        self.failures.push((label, self.step));
        label
    }

    fn fail_if(&mut self, condition: Cond) {
        let label = self.failed();
        // The failures stand further away than a conditional branch may reach.
        let on = self.asm.label();
        let inverse = match condition {
            Cond::Eq => Cond::Ne,
            _ => Cond::Eq,
        };
        self.asm.bc(inverse, on);
        self.asm.b(label);
        self.asm.bind(on);
    }

    /// Ends a step.
    fn done(&mut self, text: &str) {
        self.say(&format!("selftest: {text}"));
        self.step += 1;
    }

    fn say(&mut self, text: &str) {
        let label = self.asm.label();
        self.texts.push((label, text.to_owned()));
        self.asm.la(3, label);
        self.asm.bl(self.puts);
    }

    fn load(&mut self, t: Reg, arg: Arg) {
        match arg {
            Value(value) => self.asm.load(t, value),
            Arg::Reg(s) if s != t => self.asm.mr(t, s),
            Arg::Reg(_) => {}
        }
    }

    /// A hypercall; r3 has its status. Arguments in registers are r14 and above.
    fn hcall(&mut self, number: u64, args: &[Arg]) {
        for (t, arg) in (4..).zip(args) {
            self.load(t, *arg);
        }
        self.asm.load(3, number);
        self.asm.sc1();
    }

    /// A hypercall that has to succeed.
    fn hcall_ok(&mut self, number: u64, args: &[Arg]) {
        self.hcall(number, args);
        self.asm.cmpdi(3, 0);
        self.fail_if(Cond::Ne);
    }

    /// An RTAS call that has to succeed. Gives the offset of the first output after the status in the argument block.
    fn rtas(&mut self, token: u32, args: &[Arg], outputs: u32) -> i16 {
        let block = 13;
        self.asm.li(block, RTAS_ARGS);
        let head = [token, args.len() as u32, outputs].map(|v| Value(v.into()));
        let mut at = 0;
        for arg in head.iter().chain(args) {
            self.load(12, *arg);
            self.asm.stw(12, at, block);
            at += 4;
        }
        // A status that nobody wrote must not look like success.
        self.asm.li(12, -1);
        self.asm.stw(12, at, block);
        self.hcall_ok(hcall::H_RTAS, &[Value(RTAS_ARGS as u64)]);
        self.asm.li(block, RTAS_ARGS);
        self.asm.lwz(3, at, block);
        self.asm.cmpdi(3, 0);
        self.fail_if(Cond::Ne);
        at + 4
    }

    fn pe(&self, register: u32) -> [Arg; 3] {
        let address =
            u32::from(self.params.bus) << 16 | u32::from(self.params.devfn) << 8 | register;
        [
            Value(address.into()),
            Value(self.params.buid >> 32),
            Value(self.params.buid & 0xffff_ffff),
        ]
    }

    /// Reads configuration space into r3.
    fn read_config(&mut self, register: u32, size: u64) {
        let [address, high, low] = self.pe(register);
        let at = self.rtas(
            self.params.tokens.read_config,
            &[address, high, low, Value(size)],
            2,
        );
        self.asm.lwz(3, at, 13);
    }

    fn write_config(&mut self, register: u32, size: u64, value: u64) {
        let [address, high, low] = self.pe(register);
        self.rtas(
            self.params.tokens.write_config,
            &[address, high, low, Value(size), Value(value)],
            1,
        );
    }

    /// Fails unless a register is a 64-bit value.
    fn expect(&mut self, register: Reg, value: u64) {
        self.asm.load(12, value);
        self.asm.cmpld(register, 12);
        self.fail_if(Cond::Ne);
    }

    /// Writes an edu register of 4 or 8 bytes. The device is little-endian: the value's bytes go out turned round.
    fn edu_write(&mut self, register: u64, size: u64, value: Arg) {
        self.load(12, value);
        self.asm.li(13, SCRATCH);
        if size == 8 {
            self.asm.std(12, 0, 13);
            self.asm.ldbrx(6, 0, 13);
        } else {
            self.asm.stw(12, 0, 13);
            self.asm.lwbrx(6, 0, 13);
        }
        let address = self.params.bar_cpu.wrapping_add(register);
        self.hcall_ok(
            hcall::H_LOGICAL_CI_STORE,
            &[Value(size), Value(address), Arg::Reg(6)],
        );
    }

    /// Reads a 4-byte edu register into r4.
    fn edu_read(&mut self, register: u64) {
        let address = self.params.bar_cpu.wrapping_add(register);
        self.hcall_ok(hcall::H_LOGICAL_CI_LOAD, &[Value(4), Value(address)]);
        self.asm.li(13, SCRATCH);
        self.asm.stw(4, 0, 13);
        self.asm.lwbrx(4, 0, 13);
    }

    fn find_device(&mut self) {
        self.read_config(0, 4);
        self.expect(3, 0x11e8_1234);
        self.done("edu device found");
        self.write_config(0x10, 4, self.params.bar_pci.into());
        self.read_config(0x10, 4);
        self.asm.srdi(3, 3, 4);
        self.expect(3, u64::from(self.params.bar_pci >> 4));
        self.write_config(0x04, 2, 6);
        self.done("BAR and command register programmed");
        self.edu_read(0);
        self.asm.andi(4, 4, 0xff);
        self.expect(4, 0xed);
        self.edu_write(LIVENESS, 4, Value(0x1234_5678));
        self.edu_read(LIVENESS);
        self.expect(4, 0xedcb_a987);
        self.done("registers answer");
    }

    fn make_window(&mut self) {
        let pe = self.pe(0);
        let at = self.rtas(
            self.params.tokens.query_window,
            &pe,
            self.params.query_outputs,
        );
        self.asm.lwz(3, at, 13);
        self.asm.cmpdi(3, 0);
        self.fail_if(Cond::Eq); // no window available
        let sizes = at
            + if self.params.query_outputs >= 6 {
                12
            } else {
                8
            };
        self.asm.lwz(3, sizes, 13);
        self.asm.andi(3, 3, 2);
        self.fail_if(Cond::Eq); // no 64 KiB pages
        self.done("window available");
        let [address, high, low] = self.pe(0);
        let args = [address, high, low, Value(PAGE_SHIFT), Value(WINDOW_SHIFT)];
        let at = self.rtas(self.params.tokens.create_window, &args, 4);
        self.asm.lwz(LIOBN, at, 13);
        self.asm.lwz(BASE, at + 4, 13);
        self.asm.sldi(BASE, BASE, 32);
        self.asm.lwz(3, at + 8, 13);
        self.asm.or(BASE, BASE, 3);
        self.asm.load(TARGET_IOVA, 1 << PAGE_SHIFT);
        self.asm.add(TARGET_IOVA, BASE, TARGET_IOVA);
        self.done("window created");
    }

    fn map(&mut self) {
        self.hcall_ok(
            hcall::H_PUT_TCE,
            &[Arg::Reg(LIOBN), Arg::Reg(BASE), Value(SOURCE | 3)],
        );
        self.hcall_ok(
            hcall::H_PUT_TCE,
            &[Arg::Reg(LIOBN), Arg::Reg(TARGET_IOVA), Value(TARGET | 3)],
        );
        self.done("pages mapped");
    }

    /// Stores `COUNT` bytes at an address: r7, advanced by r8 for each doubleword.
    fn fill(&mut self, address: u64, first: u64, advance: u64) {
        self.asm.load(9, address);
        self.asm.load(7, first);
        self.asm.load(8, advance);
        self.asm.load(10, COUNT / 8);
        self.asm.mtctr(10);
        let again = self.asm.here();
        self.asm.std(7, 0, 9);
        self.asm.add(7, 7, 8);
        self.asm.addi(9, 9, 8);
        self.asm.bc(Cond::Dnz, again);
        self.asm.sync();
    }

    /// Fails unless memory is as `fill` leaves it.
    fn compare(&mut self, address: u64, first: u64, advance: u64) {
        let on = self.asm.label();
        let bad = self.asm.label();
        self.asm.load(9, address);
        self.asm.load(7, first);
        self.asm.load(8, advance);
        self.asm.load(10, COUNT / 8);
        self.asm.mtctr(10);
        let again = self.asm.here();
        self.asm.ld(11, 0, 9);
        self.asm.cmpld(11, 7);
        self.asm.bc(Cond::Ne, bad);
        self.asm.add(7, 7, 8);
        self.asm.addi(9, 9, 8);
        self.asm.bc(Cond::Dnz, again);
        self.asm.b(on);
        self.asm.bind(bad);
        let failed = self.failed();
        self.asm.b(failed);
        self.asm.bind(on);
    }

    /// Starts a DMA, waits for its end and fails unless it ends as said.
    fn dma(&mut self, source: Arg, target: Arg, command: u64, end: i16) {
        self.edu_write(DMA_SOURCE, 8, source);
        self.edu_write(DMA_TARGET, 8, target);
        self.edu_write(DMA_COUNT, 8, Value(COUNT));
        self.edu_write(DMA_COMMAND, 8, Value(command));
        self.asm.load(LEFT, POLLS);
        let again = self.asm.here();
        let over = self.asm.label();
        self.edu_read(DMA_COMMAND);
        self.asm.andi(4, 4, 1);
        self.asm.bc(Cond::Eq, over);
        self.asm.addi(LEFT, LEFT, -1);
        self.asm.cmpdi(LEFT, 0);
        self.fail_if(Cond::Eq);
        self.asm.b(again);
        self.asm.bind(over);
        self.edu_read(DMA_STATUS);
        self.asm.cmpdi(4, end);
        self.fail_if(Cond::Ne);
    }

    fn move_data(&mut self) {
        self.fill(SOURCE, PATTERN.0, PATTERN.1);
        self.fill(TARGET, 0, 0);
        self.dma(Arg::Reg(BASE), Value(EDU_BUFFER), 1, DMA_DONE);
        self.done("device read memory");
        self.dma(Value(EDU_BUFFER), Arg::Reg(TARGET_IOVA), 3, DMA_DONE);
        self.compare(TARGET, PATTERN.0, PATTERN.1);
        self.done("device wrote the same bytes back");
    }

    fn fault(&mut self) {
        self.hcall_ok(
            hcall::H_STUFF_TCE,
            &[Arg::Reg(LIOBN), Arg::Reg(BASE), Value(0), Value(2)],
        );
        self.done("pages unmapped");
        self.fill(TARGET, UNTOUCHED, 0);
        self.dma(Value(EDU_BUFFER), Arg::Reg(TARGET_IOVA), 3, DMA_FAULT);
        self.compare(TARGET, UNTOUCHED, 0);
        self.done("unmapped DMA faulted and changed nothing");
    }

    fn remove_window(&mut self) {
        self.rtas(self.params.tokens.remove_window, &[Arg::Reg(LIOBN)], 1);
        self.hcall(
            hcall::H_PUT_TCE,
            &[Arg::Reg(LIOBN), Arg::Reg(BASE), Value(SOURCE | 3)],
        );
        self.asm.cmpdi(3, hcall::H_PARAMETER.0 as i16);
        self.fail_if(Cond::Ne);
        self.done("window removed");
    }

    fn finish(mut self) -> Result<Vec<u8>, AsmError> {
        self.asm.b(self.power_off);
        for (label, step) in std::mem::take(&mut self.failures) {
            self.asm.bind(label);
            self.say(&format!("selftest: FAILED step {step}"));
            self.asm.b(self.power_off);
        }
        self.asm.bind(self.power_off);
        self.asm.li(13, RTAS_ARGS);
        for (at, value) in
            (0..)
                .step_by(4)
                .zip([self.params.tokens.power_off, 2, 1, u32::MAX, u32::MAX, 0])
        {
            self.asm.load(12, value.into());
            self.asm.stw(12, at, 13);
        }
        self.hcall(hcall::H_RTAS, &[Value(RTAS_ARGS as u64)]);
        let stop = self.asm.here();
        self.asm.b(stop);
        self.put_string();
        // A text said twice stands once.
        let mut texts = std::mem::take(&mut self.texts);
        texts.sort_by(|a, b| a.1.cmp(&b.1));
        for (index, (label, text)) in texts.iter().enumerate() {
            self.asm.bind(*label);
            if texts.get(index + 1).is_some_and(|(_, next)| next == text) {
                continue;
            }
            self.asm.data(format!("{text}\r\n\0").as_bytes());
        }
        self.asm.finish()
    }

    /// Subroutine: the text at r3, one character a hypercall.
    fn put_string(&mut self) {
        let (done, sent) = (self.asm.label(), self.asm.label());
        self.asm.bind(self.puts);
        self.asm.mflr(RETURN);
        self.asm.mr(TEXT, 3);
        let next = self.asm.here();
        self.asm.lbz(6, 0, TEXT);
        self.asm.cmpdi(6, 0);
        self.asm.bc(Cond::Eq, done);
        self.asm.addi(TEXT, TEXT, 1);
        self.asm.load(LEFT, 1000); // times that a full console is asked again
        let retry = self.asm.here();
        self.asm.lbz(6, -1, TEXT);
        self.asm.sldi(6, 6, 56);
        let vty = self.params.vty;
        self.hcall(
            hcall::H_PUT_TERM_CHAR,
            &[Value(vty.into()), Value(1), Arg::Reg(6), Value(0)],
        );
        self.asm.cmpdi(3, hcall::H_BUSY.0 as i16);
        self.asm.bc(Cond::Ne, sent);
        self.asm.addi(LEFT, LEFT, -1);
        self.asm.cmpdi(LEFT, 0);
        self.asm.bc(Cond::Ne, retry);
        self.asm.bind(sent);
        self.asm.b(next);
        self.asm.bind(done);
        self.asm.mtlr(RETURN);
        self.asm.blr();
    }
}

/// First doubleword of the moved bytes, and what each next one adds.
const PATTERN: (u64, u64) = (0x0123_4567_89ab_cdef, 0x0101_0203_0508_0d15);
/// What the target holds while DMA to it must fail.
const UNTOUCHED: u64 = 0x5a5a_5a5a_5a5a_5a5a;
