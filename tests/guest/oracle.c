// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
//
// Runs test cases of Power instructions and tells what they did. The records are in the byte order it is built for.
//
// Standard input is a sequence of batches: a 32-bit count n (at most BATCH), then n records. Standard output is
// the same records after their code has run. Each record has its own code slot, so that the code of a batch is written
// before any of it runs, and the addresses are fixed, so that another CPU can be given the very same case.
//
// Build: powerpc64le-linux-gnu-gcc (or powerpc64-linux-gnu-gcc) -O2 -static -no-pie -mcpu=power9 -fno-stack-protector
//        -Wl,-Ttext-segment=0x05000000 -o oracle oracle.c
// (The text is near the code slots: a slot ends in a relative branch.)

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BASE 0x04000000UL    // the record being run, then the caller's registers
#define WINDOW 0x04020000UL  // the memory that the code may touch
#define SLOTS 0x04100000UL   // code slots
#define SLOT 256
#define BATCH 1024
#define CODE 48
#define MEM 512

struct record {
	uint64_t gpr[32];     //    0
	uint8_t vsr[64][16];  //  256
	uint64_t fpscr, tar;  // 1280
	uint8_t vscr[16];     // 1296
	uint64_t cr;          // 1312
	uint64_t xer;         // 1320
	uint64_t lr;          // 1328
	uint64_t ctr;         // 1336
	uint64_t signal;      // 1344: 0 when the code ran to its end
	uint64_t nip;         // 1352: where the signal came
	uint32_t code[CODE];  // 1360
	uint8_t mem[MEM];     // 1552
};

_Static_assert(offsetof(struct record, fpscr) == 1280, "fpscr");
_Static_assert(offsetof(struct record, signal) == 1344, "signal");
_Static_assert(sizeof(struct record) == 2064, "record");

// r31 points at BASE while registers are moved. The caller's own registers are kept from 4096 on. VRs and FPRs that the
// calling convention preserves are not kept: nothing here keeps a value in one. The conditional store drops a reservation
// that an earlier case has left.
#if _CALL_ELF == 2
#define ENTRY ".globl enter_case\n.type enter_case, @function\nenter_case:\n"
#else
#define ENTRY ".section \".opd\", \"aw\"\n.align 3\n.globl enter_case\nenter_case:\n" \
	"	.quad .enter_case, .TOC.@tocbase, 0\n.previous\n.type enter_case, @function\n.enter_case:\n"
#endif
__asm__(
	".machine power9\n"
	".text\n" ENTRY
	"	lis 4, 0x400\n"
	"	addi 0, 4, 4288\n	stdcx. 4, 0, 0\n"
	"	std 1, 4096(4)\n	std 2, 4104(4)\n	std 13, 4112(4)\n"
	"	mflr 0\n	std 0, 4120(4)\n	mfcr 0\n	std 0, 4128(4)\n"
	"	std 14, 4136(4)\n	std 15, 4144(4)\n	std 16, 4152(4)\n	std 17, 4160(4)\n"
	"	std 18, 4168(4)\n	std 19, 4176(4)\n	std 20, 4184(4)\n	std 21, 4192(4)\n"
	"	std 22, 4200(4)\n	std 23, 4208(4)\n	std 24, 4216(4)\n	std 25, 4224(4)\n"
	"	std 26, 4232(4)\n	std 27, 4240(4)\n	std 28, 4248(4)\n	std 29, 4256(4)\n"
	"	std 30, 4264(4)\n	std 31, 4272(4)\n"
	"	std 3, 4280(4)\n"           // where to go
	"	mr 31, 4\n"
	"	lxv 32, 1296(31)\n	mtvscr 0\n"
	"	lfd 0, 1280(31)\n	mtfsf 255, 0, 1, 0\n"
	".set n, 0\n.rept 64\n	lxv n, 256 + n * 16(31)\n.set n, n + 1\n.endr\n"
	"	ld 0, 1312(31)\n	mtcrf 255, 0\n"
	"	ld 0, 1320(31)\n	mtxer 0\n"
	"	ld 0, 1328(31)\n	mtlr 0\n"
	"	ld 0, 4280(31)\n	mtspr 815, 0\n"
	"	ld 0, 1336(31)\n	mtctr 0\n"
	".set n, 0\n.rept 32\n	ld n, n * 8(31)\n.set n, n + 1\n.endr\n"
	"	bctar 20, 0, 0\n"
	".globl leave_case\n"
	"leave_case:\n"
	"	mtspr 815, 31\n"
	"	lis 31, 0x400\n"
	".set n, 0\n.rept 31\n	std n, n * 8(31)\n.set n, n + 1\n.endr\n"
	"	mfspr 0, 815\n	std 0, 248(31)\n"
	"	mfcr 0\n	std 0, 1312(31)\n"
	"	mfxer 0\n	std 0, 1320(31)\n"
	"	mflr 0\n	std 0, 1328(31)\n"
	"	mfctr 0\n	std 0, 1336(31)\n"
	".set n, 0\n.rept 64\n	stxv n, 256 + n * 16(31)\n.set n, n + 1\n.endr\n"
	"	mffs 0\n	stfd 0, 1280(31)\n"
	"	mfvscr 0\n	stxv 32, 1296(31)\n"
	"	xxlxor 0, 0, 0\n	mtfsf 255, 0, 1, 0\n"
	"	mr 4, 31\n"
	"	ld 1, 4096(4)\n	ld 2, 4104(4)\n	ld 13, 4112(4)\n"
	"	ld 0, 4120(4)\n	mtlr 0\n	ld 0, 4128(4)\n	mtcrf 255, 0\n"
	"	ld 14, 4136(4)\n	ld 15, 4144(4)\n	ld 16, 4152(4)\n	ld 17, 4160(4)\n"
	"	ld 18, 4168(4)\n	ld 19, 4176(4)\n	ld 20, 4184(4)\n	ld 21, 4192(4)\n"
	"	ld 22, 4200(4)\n	ld 23, 4208(4)\n	ld 24, 4216(4)\n	ld 25, 4224(4)\n"
	"	ld 26, 4232(4)\n	ld 27, 4240(4)\n	ld 28, 4248(4)\n	ld 29, 4256(4)\n"
	"	ld 30, 4264(4)\n	ld 31, 4272(4)\n"
	"	li 3, 0\n	mtxer 3\n"
	"	blr\n");

extern void enter_case(uint64_t slot);
extern char leave_case[];

static volatile struct record *const now = (void *)BASE;

// Thread-local storage is not there (r13 is the case's), so this only writes to fixed addresses.
static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)info;
	ucontext_t *c = context;
	now->signal = number;
	now->nip = c->uc_mcontext.gp_regs[32];
	c->uc_mcontext.gp_regs[32] = (uint64_t)leave_case;
}

static int whole(ssize_t (*move)(int, void *, size_t), int fd, void *at, size_t length)
{
	for (char *p = at; length != 0;) {
		ssize_t n = move(fd, p, length);
		if (n <= 0)
			return 0;
		p += n;
		length -= n;
	}
	return 1;
}

static ssize_t put(int fd, void *at, size_t length)
{
	return write(fd, at, length);
}

static void *map(uint64_t at, size_t length, int exec)
{
	void *p = mmap((void *)at, length, PROT_READ | PROT_WRITE | exec, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (p == MAP_FAILED)
		_exit(3);
	return p;
}

int main(void)
{
	static struct record batch[BATCH];
	static char stack[65536] __attribute__((aligned(16)));
	map(BASE, 65536, 0);
	// One page more on both sides, so that an access that leaves the window is seen as a wrong result and not as a signal.
	map(WINDOW - 65536, 3 * 65536, 0);
	map(SLOTS, BATCH * SLOT, PROT_EXEC);
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	sigaltstack(&alternate, 0);
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_ONSTACK };
	int signals[] = { SIGILL, SIGTRAP, SIGFPE, SIGSEGV, SIGBUS };
	for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
		sigaction(signals[i], &action, 0);

	for (uint32_t n; whole(read, 0, &n, sizeof n);) {
		if (n > BATCH || !whole(read, 0, batch, n * sizeof *batch))
			_exit(4);
		for (uint32_t i = 0; i < n; i++) {
			uint32_t *slot = (void *)(SLOTS + i * SLOT);
			for (int k = 0; k < SLOT / 4; k++) {
				int64_t away = (int64_t)leave_case - (int64_t)(slot + k);
				if (away < -0x2000000 || away >= 0x2000000)
					_exit(5);
				slot[k] = k < CODE && batch[i].code[k] ? batch[i].code[k] : 0x48000000 | (away & 0x3fffffc);
			}
		}
		__builtin___clear_cache((char *)SLOTS, (char *)SLOTS + n * SLOT);
		for (uint32_t i = 0; i < n; i++) {
			memcpy((void *)now, &batch[i], offsetof(struct record, code));
			memcpy((void *)WINDOW, batch[i].mem, MEM);
			now->signal = 0;
			now->nip = 0;
			enter_case(SLOTS + i * SLOT);
			memcpy(&batch[i], (void *)now, offsetof(struct record, code));
			memcpy(batch[i].mem, (void *)WINDOW, MEM);
		}
		if (!whole(put, 1, batch, n * sizeof *batch))
			_exit(6);
	}
	return 0;
}
