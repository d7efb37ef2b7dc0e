//! Runs integer instructions on the host: registers, flags and a scratch area in, the same out. #DE is caught.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, Once};

/// Where the scratch area lies, on the host and in the guest.
pub const SCRATCH: u64 = 0x100_0000;
/// Bytes of the scratch area.
pub const SCRATCH_LEN: usize = 4096;
/// Where the code lies.
const CODE: u64 = SCRATCH + 0x2000;
/// Where the instructions lie, on the host and in the guest.
pub const INSTRUCTION: u64 = CODE + 0x100;
const CODE_LEN: usize = 0x2000;
/// Where the state lies, for the code.
const STATE: u64 = SCRATCH + 0x1000;

/// General registers and flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct State {
    pub gpr: [u64; 16],
    pub flags: u64,
}

#[repr(C)]
struct Area {
    state: State,
    stack: u64,
    signal_stack: u64,
}

const FLAGS: u32 = 128;
const STACK: u32 = 136;

static HANDLER: Once = Once::new();
static OUT: AtomicU64 = AtomicU64::new(0);
static SIGNAL: AtomicU64 = AtomicU64::new(0);
static ONE: Mutex<()> = Mutex::new(());

extern "C" fn handler(signal: i32, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let out = OUT.load(Ordering::SeqCst);
    if out == 0 {
        std::process::abort();
    }
    SIGNAL.store(signal as u64, Ordering::SeqCst);
    let context = context.cast::<libc::ucontext_t>();
    // SAFETY: the kernel passes a valid ucontext_t to a handler with SA_SIGINFO.
    unsafe { (*context).uc_mcontext.gregs[libc::REG_RIP as usize] = out as i64 };
}

/// The host's processor, which one test uses at a time.
pub struct Host {
    _one: MutexGuard<'static, ()>,
}

fn map(at: u64, len: usize, protection: i32) {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: a fresh mapping where nothing is, or none.
    let got = unsafe { libc::mmap(at as *mut _, len, protection, flags, -1, 0) };
    assert_eq!(got as u64, at, "no room for the scratch area");
}

fn install() {
    let data = libc::PROT_READ | libc::PROT_WRITE;
    map(SCRATCH, 0x2000, data);
    map(CODE, CODE_LEN, data | libc::PROT_EXEC);
    // SAFETY: a zeroed sigaction is valid, the stack is never freed, and the handler touches only atomics and its own context.
    unsafe {
        let stack = libc::stack_t {
            ss_sp: Box::leak(vec![0_u8; 64 << 10].into_boxed_slice())
                .as_mut_ptr()
                .cast(),
            ss_flags: 0,
            ss_size: 64 << 10,
        };
        assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
        for signal in [libc::SIGFPE, libc::SIGILL, libc::SIGSEGV, libc::SIGBUS] {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            assert_eq!(libc::sigaction(signal, &action, std::ptr::null_mut()), 0);
        }
    }
}

struct Code(Vec<u8>);

impl Code {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    /// The displacement of a field of the state from the end of the instruction.
    fn field(&mut self, offset: u32) {
        let at = CODE + self.0.len() as u64 + 4;
        let d = (STATE + u64::from(offset)).wrapping_sub(at) as u32;
        self.bytes(&d.to_le_bytes());
    }
    fn register(&mut self, n: u8, load: bool) {
        let rex = 0x48 | (n >> 3) << 2;
        self.bytes(&[rex, if load { 0x8b } else { 0x89 }, 5 | (n & 7) << 3]);
        self.field(u32::from(n) * 8);
    }
}

impl Host {
    pub fn new() -> Host {
        let one = ONE.lock().unwrap_or_else(|e| e.into_inner());
        HANDLER.call_once(install);
        // Each thread has its own alternate stack.
        // SAFETY: as in `install`.
        unsafe {
            let stack = libc::stack_t {
                ss_sp: Box::leak(vec![0_u8; 64 << 10].into_boxed_slice())
                    .as_mut_ptr()
                    .cast(),
                ss_flags: 0,
                ss_size: 64 << 10,
            };
            assert_eq!(libc::sigaltstack(&stack, std::ptr::null_mut()), 0);
        }
        Host { _one: one }
    }

    /// Runs code on a state and a scratch area: the signal that it raised, or 0.
    pub fn run(&self, code: &[u8], state: &mut State, scratch: &mut [u8]) -> u64 {
        let mut c = Code(Vec::new());
        // push rbx, rbp, r12 to r15; mov [stack], rsp; push [flags]; popfq.
        c.bytes(&[0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57]);
        c.bytes(&[0x48, 0x89, 0x25]);
        c.field(STACK);
        c.bytes(&[0xff, 0x35]);
        c.field(FLAGS);
        c.bytes(&[0x9d]);
        for n in 0..16 {
            c.register(n, true);
        }
        assert!(c.0.len() <= 0x100);
        c.0.resize(0x100, 0x90);
        c.bytes(code);
        let out = CODE + c.0.len() as u64;
        for n in 0..16 {
            c.register(n, false);
        }
        c.bytes(&[0x48, 0x8b, 0x25]);
        c.field(STACK);
        // pushfq; pop [flags]; cld; pop r15 to r12, rbp, rbx; ret.
        c.bytes(&[0x9c, 0x8f, 0x05]);
        c.field(FLAGS);
        c.bytes(&[
            0xfc, 0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3,
        ]);
        assert!(c.0.len() <= CODE_LEN && scratch.len() == SCRATCH_LEN);
        OUT.store(out, Ordering::SeqCst);
        SIGNAL.store(0, Ordering::SeqCst);
        // SAFETY: the areas are mapped and only this one uses them. The code keeps the calling convention; what its instruction does is
        // confined to registers and the scratch area, or raises a signal that leads behind it.
        unsafe {
            std::ptr::copy_nonoverlapping(c.0.as_ptr(), CODE as *mut u8, c.0.len());
            std::ptr::copy_nonoverlapping(scratch.as_ptr(), SCRATCH as *mut u8, scratch.len());
            (*(STATE as *mut Area)).state = *state;
            let run: extern "sysv64" fn() = std::mem::transmute(CODE as *const ());
            run();
            *state = (*(STATE as *const Area)).state;
            std::ptr::copy_nonoverlapping(
                SCRATCH as *const u8,
                scratch.as_mut_ptr(),
                scratch.len(),
            );
        }
        OUT.store(0, Ordering::SeqCst);
        SIGNAL.load(Ordering::SeqCst)
    }
}
