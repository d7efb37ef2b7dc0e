//! Code that all blocks share: the way in and out, the jump cache, and calls of helpers.
//!
//! Host registers in compiled code:
//! - `rbp`: the [`Core`], plus [`CORE_BIAS`]; `rbx`: effective address of the block's page; `r14`: instructions left, negative at the end;
//! - `r13`: the context of the usual half of the addresses, as a part of a soft TLB's tag;
//! - `rsp`: the [`super::helpers::Env`]'s address lies there; a call finds the stack aligned;
//! - `r15`: [`INDEX_FIELD`];
//! - `rax`, `rcx`, `rdx`: free within a micro-operation;
//! - the others: registers of the flat file, see [`super::registers`].

use std::ffi::c_void;
use std::mem::offset_of;

use dynasmrt::x64::X64Relocation;
use dynasmrt::{DynasmApi, DynasmLabelApi, VecAssembler, dynasm};

use super::helpers::{self, Status};
use super::memory::CodeMemory;
use crate::engine::FrontEnd;
use crate::engine::core::{Core, Exchange};
use crate::engine::tlb::{self, Jump, Table, Tlb};
use crate::ram::PAGE;

/// `rbp` points that far into the [`Core`], so that the first 32 registers are a one-byte displacement away.
pub(super) const CORE_BIAS: i32 = 128;

const fn field(offset: usize) -> i32 {
    offset as i32 - CORE_BIAS
}
const EXCHANGE: usize = offset_of!(Core, exchange);
const PC: i32 = field(offset_of!(Core, pc));
/// See [`Exchange::value`].
pub(super) const VALUE: i32 = field(EXCHANGE + offset_of!(Exchange, value));
/// Its upper half.
pub(super) const VALUE_HIGH: i32 = field(EXCHANGE + offset_of!(Exchange, value_high));
const _: () = assert!(VALUE_HIGH == VALUE + 8);
const BIAS: i32 = field(EXCHANGE + offset_of!(Exchange, bias));
const LEFT: i32 = field(EXCHANGE + offset_of!(Exchange, left));
const REST: i32 = field(EXCHANGE + offset_of!(Exchange, rest));
const USUAL_CONTEXT: i32 = field(EXCHANGE + offset_of!(Exchange, usual_context));
const SITE: i32 = field(EXCHANGE + offset_of!(Exchange, site));
const TAGS: i32 = field(EXCHANGE + offset_of!(Exchange, tags));
const JUMPS: i32 = field(offset_of!(Core, tlb) + offset_of!(Tlb, jumps_at));
/// The soft TLB's table for loads.
pub(super) const READ: i32 = field(offset_of!(Core, tlb) + offset_of!(Tlb, read));
/// And for stores.
pub(super) const WRITE: i32 = field(offset_of!(Core, tlb) + offset_of!(Tlb, write));
/// From a table to its second part.
pub(super) const ADDENDS: i32 = offset_of!(Table, addends) as i32;
/// Number of the data context for addresses with a clear top bit; that for a set one follows.
const CONTEXT: i32 = field(Core::DATA_CONTEXT);
/// The two, exclusive or.
const CONTEXT_XOR: i32 = field(offset_of!(Core, data_context_xor));
/// From an address to the number of its entry in a table: shift, and mask.
pub(super) const INDEX_SHIFT: i8 = 12;
pub(super) const INDEX_MASK: i32 = (tlb::ENTRIES - 1) as i32;
/// The same for `bextr`: first bit, and number of bits from bit 8 on.
const INDEX_FIELD: i32 = INDEX_SHIFT as i32 | (tlb::ENTRIES.ilog2() as i32) << 8;
const JUMP_TAG: i32 = offset_of!(Jump, tag) as i32;
const JUMP_ENTRY: i32 = offset_of!(Jump, entry) as i32;
const PAGE_SIZE: i32 = PAGE as i32;
const _: () = assert!(size_of::<Jump>() == 24 && offset_of!(Jump, pc) == 0);

/// Displacement of a register of the flat file.
pub(super) const fn register(r: u8) -> i32 {
    field(offset_of!(Core, regs) + r as usize * 8)
}

/// The entry thunk: (core + bias, entry of a block, its effective address, instructions left, environment) to a [`Status`].
pub(super) type Enter = unsafe extern "sysv64" fn(*mut u8, usize, u64, u64, *mut c_void) -> u64;

/// Addresses of the thunks.
#[derive(Debug, Default)]
pub(super) struct Thunks {
    /// See [`Enter`].
    pub(super) enter: usize,
    /// To the dispatcher, for the block at `rbx`.
    pub(super) exit_next: usize,
    /// As `exit_next`, for the block of the jump cache's entry at `rdx`.
    pub(super) exit_jump: usize,
    /// As `exit_next`; `rdx` is where a direct jump could be.
    pub(super) exit_link: usize,
    /// To the block at `rbx`, by the jump cache.
    pub(super) jump: usize,
    /// Load of 1, 2, 4, 8 bytes at `rax`, `edx` the place: `rax` is where the value lies.
    pub(super) load: [usize; 4],
    /// As `load`, of what will be stored to.
    pub(super) modify: [usize; 4],
    /// Store of `rcx` at `rax`, `edx` the place.
    pub(super) store: [usize; 4],
    /// Helper for micro-operation number `esi`, `edx` the place; no register of the flat file stays in a host register.
    pub(super) call: usize,
    /// As `call`, and out.
    pub(super) call_end: usize,
    /// As `call`, to record an exception.
    pub(super) demand: usize,
    /// As `call`, without a place: cannot fault.
    pub(super) simple: usize,
    /// Condition `ecx` of an x86 CPU's flags: `eax` is whether it holds. Keeps all registers but the free ones, as the following.
    pub(super) condition: usize,
    /// The carry: `eax`.
    pub(super) carry: usize,
    /// The arithmetic flags, as in EFLAGS: `eax`.
    pub(super) arithmetic: usize,
    /// Vector micro-operation number `ecx`, likewise; its registers are in the file.
    pub(super) vector: usize,
    /// As `load`, of 16 bytes.
    pub(super) load_wide: usize,
    /// Store of the 16 bytes at [`VALUE`] to `rax`, `edx` the place.
    pub(super) store_wide: usize,
}

type Asm = VecAssembler<X64Relocation>;

impl Thunks {
    /// Writes the thunks, with helpers for `F`.
    pub(super) fn assemble<F: FrontEnd>(memory: &mut CodeMemory) -> Option<Thunks> {
        let mut thunks = Thunks::default();
        let mut add = |build: &mut dyn FnMut(&mut Asm)| -> Option<usize> {
            let at = memory.next();
            let mut ops = Asm::new(at);
            build(&mut ops);
            memory.push(&ops.finalize().ok()?, &[]).then_some(at)
        };
        let leave = add(&mut |ops| {
            // The status is in eax.
            dynasm!(ops
                ; .arch x64
                ; mov [rbp + LEFT], r14
                ; add rsp, 8
                ; pop r15
                ; pop r14
                ; pop r13
                ; pop r12
                ; pop rbp
                ; pop rbx
                ; ret
            );
        })?;
        thunks.enter = add(&mut |ops| {
            dynasm!(ops
                ; .arch x64
                ; push rbx
                ; push rbp
                ; push r12
                ; push r13
                ; push r14
                ; push r15
                ; push r8
                ; mov rbp, rdi
                ; mov rbx, rdx
                ; and rbx, -PAGE_SIZE
                ; mov r14, rcx
                ; mov r13, [rbp + USUAL_CONTEXT]
                ; mov r15d, INDEX_FIELD
                ; jmp rsi
            );
        })?;
        thunks.exit_next = add(&mut |ops| {
            dynasm!(ops
                ; .arch x64
                ; mov QWORD [rbp + SITE], 0
                ; mov [rbp + PC], rbx
                ; mov eax, Status::NEXT as i32
                ; jmp extern leave
            );
        })?;
        thunks.exit_link = add(&mut |ops| {
            dynasm!(ops
                ; .arch x64
                ; mov [rbp + SITE], rdx
                ; mov [rbp + PC], rbx
                ; mov eax, Status::NEXT as i32
                ; jmp extern leave
            );
        })?;
        let next = thunks.exit_next;
        thunks.exit_jump = add(&mut |ops| {
            dynasm!(ops ; .arch x64 ; mov rbx, [rdx] ; jmp extern next);
        })?;
        thunks.jump = add(&mut |ops| jump(ops, next, F::INSTRUCTION_ALIGN))?;
        let loads = [
            helpers::load::<F, 1> as *const () as usize,
            helpers::load::<F, 2> as *const () as usize,
            helpers::load::<F, 4> as *const () as usize,
            helpers::load::<F, 8> as *const () as usize,
        ];
        for ((thunk, helper), log) in thunks.load.iter_mut().zip(loads).zip(0..) {
            *thunk = add(&mut |ops| access(ops, Access::Load, log, helper, leave))?;
        }
        let modifications = [
            helpers::modify::<F, 1> as *const () as usize,
            helpers::modify::<F, 2> as *const () as usize,
            helpers::modify::<F, 4> as *const () as usize,
            helpers::modify::<F, 8> as *const () as usize,
        ];
        for ((thunk, helper), log) in thunks.modify.iter_mut().zip(modifications).zip(0..) {
            *thunk = add(&mut |ops| access(ops, Access::Modify, log, helper, leave))?;
        }
        let stores = [
            helpers::store::<F, 1> as *const () as usize,
            helpers::store::<F, 2> as *const () as usize,
            helpers::store::<F, 4> as *const () as usize,
            helpers::store::<F, 8> as *const () as usize,
        ];
        for ((thunk, helper), log) in thunks.store.iter_mut().zip(stores).zip(0..) {
            *thunk = add(&mut |ops| access(ops, Access::Store, log, helper, leave))?;
        }
        let helper = helpers::call::<F> as *const () as usize;
        thunks.call = add(&mut |ops| call(ops, helper, leave))?;
        let helper = helpers::call_end::<F> as *const () as usize;
        thunks.call_end = add(&mut |ops| call(ops, helper, leave))?;
        let helper = helpers::demand::<F> as *const () as usize;
        thunks.demand = add(&mut |ops| call(ops, helper, leave))?;
        let helper = helpers::simple::<F> as *const () as usize;
        thunks.simple = add(&mut |ops| {
            dynasm!(ops
                ; .arch x64
                ; mov rdi, [rsp + 8]
                ; sub rsp, 8
                ; mov rax, QWORD helper as i64
                ; call rax
                ; add rsp, 8
                ; ret
            );
        })?;
        let helper = helpers::condition as *const () as usize;
        thunks.condition = add(&mut |ops| of_flags(ops, helper))?;
        let helper = helpers::carry as *const () as usize;
        thunks.carry = add(&mut |ops| of_flags(ops, helper))?;
        let helper = helpers::arithmetic as *const () as usize;
        thunks.arithmetic = add(&mut |ops| of_flags(ops, helper))?;
        let helper = helpers::vector::<F> as *const () as usize;
        thunks.vector = add(&mut |ops| of_flags(ops, helper))?;
        let helper = helpers::load_wide::<F> as *const () as usize;
        thunks.load_wide = add(&mut |ops| access(ops, Access::Load, 4, helper, leave))?;
        let helper = helpers::store_wide::<F> as *const () as usize;
        thunks.store_wide = add(&mut |ops| access(ops, Access::Store, 4, helper, leave))?;
        Some(thunks)
    }
}

/// A helper that is told the core, `ecx` and the environment.
fn of_flags(ops: &mut Asm, helper: usize) {
    dynasm!(ops
        ; .arch x64
        ; push rsi
        ; push rdi
        ; push r8
        ; push r9
        ; push r10
        ; push r11
        ; sub rsp, 8
        ; lea rdi, [rbp - CORE_BIAS]
        ; mov esi, ecx
        ; mov rdx, [rsp + 64]
        ; mov rax, QWORD helper as i64
        ; call rax
        ; add rsp, 8
        ; pop r11
        ; pop r10
        ; pop r9
        ; pop r8
        ; pop rdi
        ; pop rsi
        ; ret
    );
}

/// Jump cache: see [`Tlb::jump`], whose index this computes.
fn jump(ops: &mut Asm, miss: usize, align: u64) {
    dynasm!(ops
        ; .arch x64
        ; mov eax, ebx
        ; shr eax, 2
        ; mov rcx, rbx
        ; shr rcx, 18
        ; xor eax, ecx
    );
    if align < 4 {
        dynasm!(ops
            ; .arch x64
            ; mov ecx, ebx
            ; shl ecx, 14
            ; xor eax, ecx
        );
    }
    dynasm!(ops
        ; .arch x64
        ; movzx eax, ax
        ; lea rax, [rax + rax * 2]
        ; mov rdx, [rbp + JUMPS]
        ; lea rdx, [rdx + rax * 8]
        ; cmp [rdx], rbx
        ; jne >miss
        ; mov rcx, rbx
        ; shr rcx, 63
        ; mov ecx, [rbp + rcx * 4 + TAGS]
        ; cmp [rdx + JUMP_TAG], ecx
        ; jne >miss
        ; and rbx, -PAGE_SIZE
        ; jmp QWORD [rdx + JUMP_ENTRY]
        ; miss:
        ; jmp extern miss
    );
}

/// What a thunk of [`access`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Load,
    /// A load of what will be stored to.
    Modify,
    Store,
}

/// A load or store that the soft TLB does not have in the usual half: of 2 to the power `log` bytes. Keeps all registers but the free
/// ones.
fn access(ops: &mut Asm, access: Access, log: u8, helper: usize, leave: usize) {
    let table = if access == Access::Load { READ } else { WRITE };
    // Of 16 bytes the value is there already.
    let narrow = log < 4;
    if narrow {
        dynasm!(ops ; .arch x64 ; mov [rbp + VALUE], rcx);
    }
    dynasm!(ops
        ; .arch x64
        ; mov [rbp + REST], rdx
        ; cqo
        ; and rdx, [rbp + CONTEXT_XOR]
        ; lea rcx, [rax + (1 << log) - 1]
        ; xor rdx, [rbp + CONTEXT]
        ; shr rcx, 12
        ; or rdx, rcx
        ; mov ecx, eax
        ; shr ecx, INDEX_SHIFT
        ; and ecx, INDEX_MASK
        ; cmp rdx, [rbp + rcx * 8 + table]
        ; jne >miss
        ; add rax, [rbp + rcx * 8 + table + ADDENDS]
    );
    if access == Access::Store {
        dynasm!(ops ; .arch x64 ; mov rcx, [rbp + VALUE]);
        match log {
            0 => dynasm!(ops ; .arch x64 ; mov [rax], cl),
            1 => dynasm!(ops ; .arch x64 ; mov [rax], cx),
            2 => dynasm!(ops ; .arch x64 ; mov [rax], ecx),
            4 => dynasm!(ops ; .arch x64 ; movups xmm0, [rbp + VALUE] ; movups [rax], xmm0),
            _ => dynasm!(ops ; .arch x64 ; mov [rax], rcx),
        }
    }
    dynasm!(ops
        ; .arch x64
        ; ret
        ; miss:
        ; mov rcx, [rbp + VALUE]
        ; mov rdx, [rbp + REST]
        ; mov [rbp + PC], rbx
        ; push rsi
        ; push rdi
        ; push r8
        ; push r9
        ; push r10
        ; push r11
        ; sub rsp, 8
        ; mov rdi, [rsp + 64]
        ; mov rsi, rax
        ; mov rax, QWORD helper as i64
        ; call rax
        ; add rsp, 8
        ; pop r11
        ; pop r10
        ; pop r9
        ; pop r8
        ; pop rdi
        ; pop rsi
        ; test eax, eax
        ; jnz >fault
        ; sub r14, [rbp + BIAS]
        ; mov QWORD [rbp + BIAS], 0
        ; lea rax, [rbp + VALUE]
        ; ret
        ; fault:
        ; add rsp, 8
        ; sub r14, [rbp + BIAS]
        ; mov QWORD [rbp + BIAS], 0
        ; jmp extern leave
    );
}

fn call(ops: &mut Asm, helper: usize, leave: usize) {
    dynasm!(ops
        ; .arch x64
        ; mov [rbp + PC], rbx
        ; mov rdi, [rsp + 8]
        ; mov rcx, r14
        ; sub rsp, 8
        ; mov rax, QWORD helper as i64
        ; call rax
        ; add rsp, 8
        ; sub r14, [rbp + BIAS]
        ; mov QWORD [rbp + BIAS], 0
        ; test eax, eax
        ; jnz >out
        ; ret
        ; out:
        ; add rsp, 8
        ; jmp extern leave
    );
}
