//! Hypercall numbers, status values and arguments. LoPAR §14.5.

/// Status of a hypercall, in r3. LoPAR §14.5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub i64);

/// Success.
pub const H_SUCCESS: Status = Status(0);
/// The hardware is busy; call again.
pub const H_BUSY: Status = Status(1);
/// The resource is closed.
pub const H_CLOSED: Status = Status(2);
/// Not found or not owned; partial result.
pub const H_PARTIAL: Status = Status(5);
/// Hardware error.
pub const H_HARDWARE: Status = Status(-1);
/// No such hypercall, or not available to this partition.
pub const H_FUNCTION: Status = Status(-2);
/// A parameter is invalid.
pub const H_PARAMETER: Status = Status(-4);
/// Resource in use or invalid mode.
pub const H_BAD_MODE: Status = Status(-5);
/// Not found.
pub const H_NOT_FOUND: Status = Status(-7);
/// Out of resources.
pub const H_NOT_ENOUGH_RESOURCES: Status = Status(-44);
/// Second parameter invalid.
pub const H_P2: Status = Status(-55);
/// Third parameter invalid.
pub const H_P3: Status = Status(-56);
/// Fourth parameter invalid.
pub const H_P4: Status = Status(-57);

/// Answer of a hypercall: status for r3, then values for r4, r5, ...
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// For r3.
    pub status: Status,
    /// For r4 onwards; only the first `count` are written.
    pub values: [u64; 8],
    /// How many of `values` are written to registers.
    pub count: usize,
}

impl From<Status> for Reply {
    fn from(status: Status) -> Self {
        Reply {
            status,
            values: [0; 8],
            count: 0,
        }
    }
}

impl Reply {
    /// Success with values for r4 onwards (at most 8; the rest is dropped).
    pub fn with(values: &[u64]) -> Self {
        let mut reply = Reply::from(H_SUCCESS);
        reply.count = values.len().min(8);
        reply.values[..reply.count].copy_from_slice(&values[..reply.count]);
        reply
    }
}

macro_rules! numbers {
    ($($name:ident = $nr:expr),+ $(,)?) => {
        $(#[doc = concat!("Number of `", stringify!($name), "`.")] pub const $name: u64 = $nr;)+
        /// Name of a hypercall, if it is known.
        pub fn name(nr: u64) -> Option<&'static str> {
            match nr { $($nr => Some(stringify!($name)),)+ _ => None }
        }
    };
}

numbers! {
    H_REMOVE = 0x04, H_ENTER = 0x08, H_READ = 0x0c, H_CLEAR_MOD = 0x10, H_CLEAR_REF = 0x14, H_PROTECT = 0x18,
    H_GET_TCE = 0x1c, H_PUT_TCE = 0x20, H_SET_SPRG0 = 0x24, H_SET_DABR = 0x28, H_PAGE_INIT = 0x2c,
    H_LOGICAL_CI_LOAD = 0x3c, H_LOGICAL_CI_STORE = 0x40, H_LOGICAL_ICBI = 0x48, H_LOGICAL_DCBF = 0x4c,
    H_GET_TERM_CHAR = 0x54, H_PUT_TERM_CHAR = 0x58, H_PERFMON = 0x7c,
    H_EOI = 0x64, H_CPPR = 0x68, H_IPI = 0x6c, H_IPOLL = 0x70, H_XIRR = 0x74,
    H_REGISTER_VPA = 0xdc, H_CEDE = 0xe0, H_CONFER = 0xe4, H_PROD = 0xe8, H_GET_PPP = 0xec, H_PURR = 0xf0, H_POLL_PENDING = 0xf8,
    H_BULK_REMOVE = 0x124, H_PUT_TCE_INDIRECT = 0x13c, H_STUFF_TCE = 0x138, H_SET_XDABR = 0x134,
    H_RANDOM = 0x300, H_XIRR_X = 0x2fc, H_GET_CPU_CHARACTERISTICS = 0x1c8,
    H_HOME_NODE_ASSOCIATIVITY = 0x2ec, H_SET_MODE = 0x31c, H_REGISTER_PROC_TBL = 0x37c,
    H_INT_GET_SOURCE_INFO = 0x3a8, H_INT_SET_SOURCE_CONFIG = 0x3ac, H_INT_GET_QUEUE_INFO = 0x3b4, H_INT_SET_QUEUE_CONFIG = 0x3b8,
    H_INT_ESB = 0x3c4, H_INT_RESET = 0x3cc, H_GET_PERF_COUNTER_INFO = 0xf080, H_RTAS = 0xf000,
    H_BEST_ENERGY = 0x2f4, H_QUERY_VAS_CAPABILITIES = 0x398, H_SIGNAL_SYS_RESET = 0x380, H_SCM_HEALTH = 0x400,
}
