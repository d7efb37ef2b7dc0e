//! Runs single instructions on the host: state in, state out, signals caught.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use iced_x86::{Encoder, Instruction};
use memmap2::{Mmap, MmapMut};

/// Bytes of guest memory beside the state.
pub const MEMORY: usize = 128;

/// What the generated code loads and saves. The XSAVE area comes first; offsets are known to [`program`].
#[repr(C, align(64))]
#[derive(Clone)]
pub struct Context {
    /// Legacy region, header, AVX component at 576.
    pub area: [u8; 1024],
    pub gpr: [u64; 16],
    pub flags: u64,
    /// MXCSR of the host program.
    mxcsr: u64,
    /// Signal that the instruction raised, or 0.
    pub signal: u64,
    pub memory: Aligned,
}

#[repr(C, align(64))]
#[derive(Clone)]
pub struct Aligned(pub [u8; MEMORY]);

const GPR: u32 = 1024;
const FLAGS: u32 = GPR + 128;
const MXCSR: u32 = FLAGS + 8;

impl Context {
    pub fn new() -> Context {
        let mut c = Context {
            area: [0; 1024],
            gpr: [0; 16],
            flags: 2,
            mxcsr: 0x1f80,
            signal: 0,
            memory: Aligned([0; MEMORY]),
        };
        // XSTATE_BV: x87, SSE, AVX.
        c.area[512] = 7;
        c
    }
}

/// An instruction between loads and saves of the state.
pub struct Program {
    code: Mmap,
    /// Address after the instruction.
    after: u64,
}

/// Address to go on at and the signal seen.
static AFTER: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicU64 = AtomicU64::new(0);
static HOST: Mutex<()> = Mutex::new(());
static HANDLERS: Once = Once::new();

extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let after = AFTER.load(Ordering::SeqCst);
    if after == 0 {
        // Not ours.
        std::process::abort();
    }
    SIGNAL.store(signal as u64, Ordering::SeqCst);
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid ucontext_t to a handler with SA_SIGINFO.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] = after as i64 };
}

fn install() {
    for signal in [libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: a zeroed sigaction is valid, and the handler only touches atomics and its own context.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

fn move_gpr(code: &mut Vec<u8>, n: u8, load: bool) {
    // mov r64, [rdi + disp32] or the reverse.
    let rex = 0x48 | (n >> 3) << 2;
    code.extend([rex, if load { 0x8b } else { 0x89 }, 0x87 | (n & 7) << 3]);
    code.extend((GPR + 8 * u32::from(n)).to_le_bytes());
}

/// Assembles the program of an instruction; `None` if it cannot be encoded.
pub fn program(instruction: &Instruction) -> Option<Program> {
    let mut encoder = Encoder::new(64);
    encoder.encode(instruction, 0x1000).ok()?;
    let bytes = encoder.take_buffer();
    // push rbx, rbp, r12 to r15, rdi.
    let mut code = vec![
        0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57, 0x57,
    ];
    // mov eax, 7; xor edx, edx; xrstor64 [rdi].
    code.extend([0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x2f]);
    // push [rdi + flags]; popfq.
    code.extend([0xff, 0xb7]);
    code.extend(FLAGS.to_le_bytes());
    code.push(0x9d);
    for n in (0..16).filter(|n| ![4, 7].contains(n)) {
        move_gpr(&mut code, n, true);
    }
    move_gpr(&mut code, 7, true);
    code.extend(&bytes);
    let after = code.len();
    // push rdi; mov rdi, [rsp + 8].
    code.extend([0x57, 0x48, 0x8b, 0x7c, 0x24, 8]);
    for n in (0..16).filter(|n| ![4, 7].contains(n)) {
        move_gpr(&mut code, n, false);
    }
    // pushfq; pop [rdi + flags]; pop rax; mov [rdi + gpr 7], rax.
    code.extend([0x9c, 0x8f, 0x87]);
    code.extend(FLAGS.to_le_bytes());
    code.extend([0x58, 0x48, 0x89, 0x87]);
    code.extend((GPR + 56).to_le_bytes());
    // mov eax, 7; xor edx, edx; xsave64 [rdi]; fninit; ldmxcsr [rdi + mxcsr]; vzeroupper; cld.
    code.extend([
        0xb8, 7, 0, 0, 0, 0x31, 0xd2, 0x48, 0x0f, 0xae, 0x27, 0xdb, 0xe3,
    ]);
    code.extend([0x0f, 0xae, 0x97]);
    code.extend(MXCSR.to_le_bytes());
    code.extend([0xc5, 0xf8, 0x77, 0xfc]);
    // pop rdi, r15 to r12, rbp, rbx; ret.
    code.extend([
        0x5f, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3,
    ]);
    let mut map = MmapMut::map_anon(4096).expect("memory for code");
    map[..code.len()].copy_from_slice(&code);
    let code = map.make_exec().expect("executable memory");
    let after = code.as_ptr() as u64 + after as u64;
    Some(Program { code, after })
}

impl Program {
    /// Runs the instruction on the context.
    pub fn run(&self, context: &mut Context) {
        let _one = HOST.lock().unwrap_or_else(|e| e.into_inner());
        HANDLERS.call_once(install);
        AFTER.store(self.after, Ordering::SeqCst);
        SIGNAL.store(0, Ordering::SeqCst);
        // SAFETY: the code was made by `program`, keeps the System V convention and touches only the context and its own stack; what
        // the instruction raises goes to `handler`, which continues at `after`.
        unsafe {
            let run: extern "C" fn(*mut Context) = std::mem::transmute(self.code.as_ptr());
            run(context);
        }
        AFTER.store(0, Ordering::SeqCst);
        context.signal = SIGNAL.load(Ordering::SeqCst);
    }
}
