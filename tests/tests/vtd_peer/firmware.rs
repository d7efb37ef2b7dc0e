//! What the CPU of QEMU runs.
//!
//! For DMA nothing: it halts. For interrupts it is asked what its local APIC holds, which no access from outside shows: whenever
//! [`ASKED`] differs from [`ANSWERED`] it copies the interrupt request and trigger mode registers to memory, and then the one to the
//! other. It never takes an interrupt, so each that arrives stays requested.

/// Where to write a number other than that in [`ANSWERED`].
pub const ASKED: u64 = 0x70_0000;
/// Holds the same number once the registers are in memory.
pub const ANSWERED: u64 = 0x70_0004;
/// Interrupt request register, 256 bits.
pub const REQUESTED: u64 = 0x70_0020;
/// Trigger mode register, 256 bits.
pub const LEVEL: u64 = 0x70_0040;

const SIZE: usize = 64 << 10;
/// Where a CPU begins: 16 bytes before the end.
const VECTOR: usize = SIZE - 16;

/// hlt, and back to it.
const HALT: [u8; 3] = [0xf4, 0xeb, 0xfd];
/// jmp to the begin of the image.
const BEGIN: [u8; 3] = [0xe9, 0x0d, 0x00];

/// To 32-bit mode. The image begins at 0xffff0000.
#[rustfmt::skip]
const TO_32_BIT: &[u8] = &[
    0xfa,                                           // cli
    0x2e, 0x66, 0x0f, 0x01, 0x16, 0x40, 0x00,       // lgdtl %cs:0x40
    0x0f, 0x20, 0xc0,                               // mov %cr0, %eax
    0x0c, 0x01,                                     // or $1, %al
    0x0f, 0x22, 0xc0,                               // mov %eax, %cr0
    0x66, 0xea, 0x60, 0x00, 0xff, 0xff, 0x08, 0x00, // ljmpl $8, $0xffff0060
];

/// At 0x40: limit and address of the table at 0x48, with flat code and data segments.
#[rustfmt::skip]
const SEGMENTS: &[u8] = &[
    0x17, 0x00, 0x48, 0x00, 0xff, 0xff, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x9b, 0xcf, 0x00,
    0xff, 0xff, 0x00, 0x00, 0x00, 0x93, 0xcf, 0x00,
];

/// At 0x60: enables the local APIC, gives it the logical id 1 of the flat model, and answers.
#[rustfmt::skip]
const ANSWER: &[u8] = &[
    0x66, 0xb8, 0x10, 0x00,                         // mov $0x10, %ax
    0x8e, 0xd8,                                     // mov %ax, %ds
    0xc7, 0x05, 0xf0, 0x00, 0xe0, 0xfe, 0xff, 0x01, 0x00, 0x00, // movl $0x1ff, 0xfee000f0
    0xc7, 0x05, 0xe0, 0x00, 0xe0, 0xfe, 0xff, 0xff, 0xff, 0xff, // movl $0xffffffff, 0xfee000e0
    0xc7, 0x05, 0xd0, 0x00, 0xe0, 0xfe, 0x00, 0x00, 0x00, 0x01, // movl $0x01000000, 0xfee000d0
    // wait:
    0xf3, 0x90,                                     // pause
    0xa1, 0x00, 0x00, 0x70, 0x00,                   // mov 0x700000, %eax
    0x3b, 0x05, 0x04, 0x00, 0x70, 0x00,             // cmp 0x700004, %eax
    0x74, 0xf1,                                     // je wait
    0x31, 0xc9,                                     // xor %ecx, %ecx
    // copy:
    0x89, 0xcb,                                     // mov %ecx, %ebx
    0xc1, 0xe3, 0x04,                               // shl $4, %ebx
    0x8b, 0x93, 0x00, 0x02, 0xe0, 0xfe,             // mov 0xfee00200(%ebx), %edx
    0x89, 0x14, 0x8d, 0x20, 0x00, 0x70, 0x00,       // mov %edx, 0x700020(, %ecx, 4)
    0x8b, 0x93, 0x80, 0x01, 0xe0, 0xfe,             // mov 0xfee00180(%ebx), %edx
    0x89, 0x14, 0x8d, 0x40, 0x00, 0x70, 0x00,       // mov %edx, 0x700040(, %ecx, 4)
    0x41,                                           // inc %ecx
    0x83, 0xf9, 0x08,                               // cmp $8, %ecx
    0x72, 0xdb,                                     // jb copy
    0xa3, 0x04, 0x00, 0x70, 0x00,                   // mov %eax, 0x700004
    0xeb, 0xc3,                                     // jmp wait
];

/// The image for QEMU's `-bios`.
pub fn image(answers: bool) -> Vec<u8> {
    let mut image = vec![HALT[0]; SIZE];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    if answers {
        put(0, TO_32_BIT);
        put(0x40, SEGMENTS);
        put(0x60, ANSWER);
        put(VECTOR, &BEGIN);
    } else {
        put(VECTOR, &HALT);
    }
    image
}
