/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a pseries guest with a little-endian kernel: puts another kernel into memory for kexec, with a device tree made of the
 * running one's.
 *
 *   kexec now KERNEL INITRD WORDS     load and start it
 *   kexec crash KERNEL INITRD WORDS   load it into the memory that crashkernel= set aside, for the next panic
 *
 * KERNEL is an ELF file, WORDS its command line ("elfcorehdr=" is added for a crash). Prints a line that begins with "test: FAILED" if
 * something is wrong.
 */
#include <dirent.h>
#include <elf.h>
#include <endian.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "need.h"

#define TREE "/proc/device-tree"
/* Where a kernel goes that need not fit into memory set aside: beyond the end of the running one, whose place is refused. */
#define BASE 0x8000000ull
/* A multiple of every page size. */
#define STEP 0x10000ull
/* Memory that a kernel at another address still uses: interrupts are taken there. */
#define VECTORS 0x10000ull
/* The kernel stays where it is loaded if this word is 1. */
#define RUN_AT_LOAD 0x5c
#define KERNEL_VIRTUAL 0xc000000000000000ull
#define SEGMENTS 16

/* What runs between the kernels. The old kernel copies its first 0x100 bytes to real address 0 and enters it at its start in real mode
 * with r3 = number of the processor, r4 = address of this code; the other processors go to real address 0x60 in big-endian order with
 * r3 = number. The new kernel wants its first 0x100 bytes at 0 before the others come back to 0x60, and is entered in big-endian order
 * with r3 = device tree, r4 = its own address, r5 = 0. */
asm("	.macro	big word\n"
    "	.byte	\\word >> 24 & 255, \\word >> 16 & 255, \\word >> 8 & 255, \\word & 255\n"
    "	.endm\n"
    "	.pushsection .rodata\n"
    "	.balign	256\n"
    "stub_start:\n"
    "	b	master\n"
    "	.org	stub_start + 0x60\n"
    "	big	0xe8a000f8\n" /* ld r5,0xf8(0) */
    "	big	0x7ca903a6\n" /* mtctr r5 */
    "	big	0x4e800420\n" /* bctr */
    "	.org	stub_start + 0xf8\n"
    "	.quad	0\n" /* address of "others", big-endian */
    "	.org	stub_start + 0x100\n"
    "	.quad	0\n" /* address of the kernel */
    "	.quad	0\n" /* address of the device tree */
    "master:\n"
    /* A millisecond for the others to leave the place that is overwritten next. */
    "	mftb	5\n"
    "	addis	5,5,8\n"
    "1:	mftb	6\n"
    "	cmpld	6,5\n"
    "	blt	1b\n"
    "	ld	12,0x100(4)\n"
    "	li	5,0x20\n"
    "	mtctr	5\n"
    "	li	6,0\n"
    "2:	ldx	7,12,6\n"
    "	stdx	7,0,6\n"
    "	dcbst	0,6\n"
    "	sync\n"
    "	icbi	0,6\n"
    "	addi	6,6,8\n"
    "	bdnz	2b\n"
    "	sync\n"
    "	isync\n"
    /* The tree's header says which processor boots. */
    "	ld	6,0x108(4)\n"
    "	li	7,28\n"
    "	stwbrx	3,6,7\n"
    "	li	7,1\n"
    "	sync\n"
    "	stw	7,0x1fc(4)\n"
    "	mr	3,6\n"
    "	mr	4,12\n"
    "	li	5,0\n"
    "	mfmsr	11\n"
    "	clrrdi	11,11,1\n"
    "	mtsrr0	12\n"
    "	mtsrr1	11\n"
    "	rfid\n"
    "	.org	stub_start + 0x1e0\n"
    /* Others: r5 = where they are. */
    "	big	0x80c5001c\n" /* lwz r6,0x1c(r5) */
    "	big	0x2c060000\n" /* cmpwi r6,0 */
    "	big	0x4182fff8\n" /* beq .-8 */
    "	big	0x4c00012c\n" /* isync */
    "	big	0x48000062\n" /* ba 0x60 */
    "	.org	stub_start + 0x1fc\n"
    "	.long	0\n" /* the others may go */
    "stub_end:\n"
    "	.popsection\n");
extern const uint8_t stub_start[], stub_end[];
#define OTHERS 0x1e0

static struct kexec_segment segments[SEGMENTS];
static int segment_count;
static uint64_t next, limit;

/* A whole file; its size in *size. */
static uint8_t *contents(const char *path, size_t *size)
{
	size_t room = 1 << 12, length = 0;
	uint8_t *bytes = malloc(room);
	int file = open(path, O_RDONLY);
	ssize_t got;

	need(bytes != NULL && file >= 0, path);
	while ((got = read(file, bytes + length, room - length)) > 0) {
		length += got;
		if (length == room)
			bytes = realloc(bytes, room *= 2);
		need(bytes != NULL, path);
	}
	need(got == 0, path);
	close(file);
	*size = length;
	return bytes;
}

/* A property of one number of 32 or 64 bits. */
static uint64_t number(const char *path)
{
	size_t size;
	uint8_t *bytes = contents(path, &size);
	uint64_t value = 0;
	size_t i;

	need(size == 4 || size == 8, path);
	for (i = 0; i < size; i++)
		value = value << 8 | bytes[i];
	free(bytes);
	return value;
}

/* ---- Segments ---- */

static uint64_t up(uint64_t address)
{
	return (address + STEP - 1) & ~(STEP - 1);
}

/* These bytes at that address, zeros after them up to `room`. */
static void place(uint64_t at, const void *bytes, size_t size, uint64_t room)
{
	struct kexec_segment *segment = &segments[segment_count++];

	need(segment_count <= SEGMENTS, "number of segments");
	need(at + up(room) <= limit, "room for the kernel");
	segment->buf = bytes;
	segment->bufsz = size;
	segment->mem = (void *)at;
	segment->memsz = up(room);
	if (next < at + up(room))
		next = at + up(room);
}

/* These bytes behind what is there. */
static uint64_t append(const void *bytes, size_t size)
{
	uint64_t at = next;

	place(at, bytes, size, size);
	return at;
}

/* Loads the kernel at `base`; its entry is its first byte. */
static void kernel(uint8_t *image, size_t size, uint64_t base, int stay)
{
	Elf64_Ehdr *header = (Elf64_Ehdr *)image;
	Elf64_Phdr *program;
	int i;

	need(size > sizeof(*header) && memcmp(image, ELFMAG, SELFMAG) == 0, "an ELF file");
	program = (Elf64_Phdr *)(image + header->e_phoff);
	for (i = 0; i < header->e_phnum; i++) {
		if (program[i].p_type != PT_LOAD)
			continue;
		need(program[i].p_offset + program[i].p_filesz <= size, "a whole kernel");
		if (stay && program[i].p_paddr == 0)
			*(uint32_t *)(image + program[i].p_offset + RUN_AT_LOAD) = htole32(1);
		place(base + program[i].p_paddr, image + program[i].p_offset, program[i].p_filesz, program[i].p_memsz);
	}
}

/* ---- The device tree: Devicetree Specification, chapter 5 ---- */

#define FDT_MAGIC 0xd00dfeed
#define FDT_BEGIN_NODE 1
#define FDT_END_NODE 2
#define FDT_PROP 3
#define FDT_END 9

static uint8_t structure[1 << 20];
static char names[1 << 16];
static size_t structure_size, names_size;

/* What the new kernel is told and the running one was not. */
static struct {
	const char *words;
	uint64_t initrd, initrd_end;
	/* After a crash: the memory that the kernel uses, as addresses and sizes, and of it what it does not touch. */
	int crash;
	uint64_t usable[4], kept, kept_size;
} chosen;

static void bytes(const void *from, size_t size)
{
	need(structure_size + size + 4 <= sizeof(structure), "room for the tree");
	memcpy(structure + structure_size, from, size);
	structure_size = (structure_size + size + 3) & ~3ul;
}

static void cell(uint32_t value)
{
	value = htobe32(value);
	bytes(&value, 4);
}

static uint32_t name_of(const char *name)
{
	size_t at;

	for (at = 0; at < names_size; at += strlen(names + at) + 1)
		if (strcmp(names + at, name) == 0)
			return at;
	need(names_size + strlen(name) + 1 <= sizeof(names), "room for names");
	strcpy(names + names_size, name);
	names_size += strlen(name) + 1;
	return at;
}

static void property(const char *name, const void *value, size_t size)
{
	cell(FDT_PROP);
	cell(size);
	cell(name_of(name));
	bytes(value, size);
}

static void property64(const char *name, uint64_t value)
{
	value = htobe64(value);
	property(name, &value, 8);
}

/* True if a property of /chosen is about the running kernel only. */
static int stale(const char *name)
{
	static const char *const own[] = {
		"bootargs", "linux,initrd-start", "linux,initrd-end", "linux,kernel-end", "linux,crashkernel-base",
		"linux,crashkernel-size", "linux,memory-limit", "linux,elfcorehdr", "rng-seed", "kaslr-seed",
	};
	size_t i;

	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		if (strcmp(name, own[i]) == 0)
			return 1;
	return 0;
}

/* The node of a folder and everything below it: properties first. `depth` is 0 for the root. */
static void node(const char *path, const char *name, int depth)
{
	struct dirent **entries;
	char below[1024];
	int count = scandir(path, &entries, NULL, alphasort), i, folders;
	int in_chosen = depth == 1 && strcmp(name, "chosen") == 0;
	size_t size;

	need(count >= 0, path);
	cell(FDT_BEGIN_NODE);
	bytes(name, strlen(name) + 1);
	if (in_chosen) {
		property("bootargs", chosen.words, strlen(chosen.words) + 1);
		property64("linux,initrd-start", chosen.initrd);
		property64("linux,initrd-end", chosen.initrd_end);
	}
	if (chosen.crash && depth == 1 && strncmp(name, "memory@", 7) == 0)
		property("linux,usable-memory", chosen.usable, sizeof(chosen.usable));
	for (folders = 0; folders < 2; folders++) {
		for (i = 0; i < count; i++) {
			const char *entry = entries[i]->d_name;

			if ((entries[i]->d_type == DT_DIR) != folders || entry[0] == '.')
				continue;
			need(snprintf(below, sizeof(below), "%s/%s", path, entry) < (int)sizeof(below), "a path");
			if (folders) {
				node(below, entry, depth + 1);
			} else if (strcmp(entry, "name") != 0 && !(in_chosen && stale(entry))) {
				uint8_t *value = contents(below, &size);

				property(entry, value, size);
				free(value);
			}
		}
	}
	cell(FDT_END_NODE);
	for (i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
}

/* The blob. The kernel reserves it and its initrd by itself; of RTAS, a crashed kernel and its description it has to be told. */
static uint8_t *tree(size_t *size, uint64_t core, uint64_t core_size)
{
	const size_t reserved = 40;
	uint64_t entries[] = {
		htobe64(number(TREE "/rtas/linux,rtas-base")), htobe64(number(TREE "/rtas/rtas-size")),
		htobe64(core), htobe64(core_size), htobe64(chosen.kept), htobe64(chosen.kept_size), 0, 0,
	};
	const size_t start = reserved + sizeof(entries);
	uint32_t *header;
	uint8_t *blob;
	int i;

	node(TREE, "", 0);
	cell(FDT_END);
	*size = start + structure_size + names_size;
	blob = calloc(1, *size);
	need(blob != NULL, "memory");
	header = (uint32_t *)blob;
	header[0] = FDT_MAGIC;
	header[1] = *size;
	header[2] = start;
	header[3] = start + structure_size;
	header[4] = reserved;
	header[5] = 17;
	header[6] = 16;
	header[8] = names_size;
	header[9] = structure_size;
	for (i = 0; i < 10; i++)
		header[i] = htobe32(header[i]);
	memcpy(blob + reserved, entries, sizeof(entries));
	memcpy(blob + start, structure, structure_size);
	memcpy(blob + start + structure_size, names, names_size);
	return blob;
}

/* ---- A crash ---- */

/* Describes the memory of the kernel that crashed, but for the vectors, which the new kernel replaces: an ELF core file without its
 * contents. */
static void *core_header(size_t *size, uint64_t base, uint64_t end, uint64_t memory)
{
	struct {
		Elf64_Ehdr header;
		Elf64_Phdr parts[4];
	} *core = calloc(1, STEP);
	uint64_t ranges[2][2] = { { VECTORS, base }, { end, memory } };
	unsigned long address, length;
	FILE *file;
	int i;

	need(core != NULL, "memory");
	memcpy(core->header.e_ident, ELFMAG, SELFMAG);
	core->header.e_ident[EI_CLASS] = ELFCLASS64;
	core->header.e_ident[EI_DATA] = ELFDATA2LSB;
	core->header.e_ident[EI_VERSION] = EV_CURRENT;
	core->header.e_type = ET_CORE;
	core->header.e_machine = EM_PPC64;
	core->header.e_version = EV_CURRENT;
	core->header.e_phoff = sizeof(core->header);
	core->header.e_ehsize = sizeof(core->header);
	core->header.e_phentsize = sizeof(Elf64_Phdr);
	core->header.e_phnum = 4;

	file = fopen("/sys/devices/system/cpu/cpu0/crash_notes", "r");
	need(file != NULL && fscanf(file, "%lx", &address) == 1, "crash_notes");
	fclose(file);
	file = fopen("/sys/devices/system/cpu/cpu0/crash_notes_size", "r");
	need(file != NULL && fscanf(file, "%lu", &length) == 1, "crash_notes_size");
	fclose(file);
	core->parts[0] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = address, .p_paddr = address, .p_filesz = length, .p_memsz = length,
	};
	file = fopen("/sys/kernel/vmcoreinfo", "r");
	need(file != NULL && fscanf(file, "%lx %lx", &address, &length) == 2, "vmcoreinfo");
	fclose(file);
	core->parts[1] = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = address, .p_paddr = address, .p_filesz = length, .p_memsz = length,
	};
	for (i = 0; i < 2; i++) {
		uint64_t start = ranges[i][0], bytes = ranges[i][1] - start;

		core->parts[2 + i] = (Elf64_Phdr){
			.p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X, .p_offset = start, .p_paddr = start,
			.p_vaddr = KERNEL_VIRTUAL + start, .p_filesz = bytes, .p_memsz = bytes,
		};
	}
	*size = sizeof(*core);
	return core;
}

/* ---- All together ---- */

static void load(int crash, const char *kernel_path, const char *initrd_path, const char *words)
{
	size_t size, reg_size, core_size = 0;
	uint64_t *reg = (uint64_t *)contents(TREE "/memory@0/reg", &reg_size);
	uint64_t base = BASE, core_at = 0, stub_at;
	uint8_t *image, *stub = calloc(1, STEP);
	char line[1024];
	void *core = NULL, *blob;

	need(reg_size == 16 && reg[0] == 0 && stub != NULL, "memory from 0");
	limit = be64toh(reg[1]);
	if (crash) {
		uint64_t memory = limit;

		base = number(TREE "/chosen/linux,crashkernel-base");
		limit = base + number(TREE "/chosen/linux,crashkernel-size");
		/* A kernel with 64K pages stops early if its memory is not one range from 0 on, so what the old kernel has
		 * of that is reserved. */
		chosen.usable[1] = htobe64(limit);
		chosen.usable[2] = htobe64(number(TREE "/rtas/linux,rtas-base"));
		chosen.usable[3] = htobe64(number(TREE "/rtas/rtas-size"));
		chosen.kept = VECTORS;
		chosen.kept_size = base - VECTORS;
		core = core_header(&core_size, base, limit, memory);
	}
	image = contents(kernel_path, &size);
	kernel(image, size, base, crash);
	memcpy(stub, stub_start, stub_end - stub_start);
	stub_at = append(stub, STEP);
	if (crash)
		core_at = append(core, core_size);

	image = contents(initrd_path, &size);
	chosen.initrd = append(image, size);
	chosen.initrd_end = chosen.initrd + size;
	chosen.crash = crash;
	snprintf(line, sizeof(line), crash ? "%s elfcorehdr=0x%llx" : "%s", words, (unsigned long long)core_at);
	chosen.words = line;
	blob = tree(&size, core_at, core_size);

	*(uint64_t *)(stub + 0xf8) = htobe64(stub_at + OTHERS);
	*(uint64_t *)(stub + 0x100) = htole64(base);
	*(uint64_t *)(stub + 0x108) = htole64(append(blob, size));
	need(syscall(SYS_kexec_load, stub_at, segment_count, segments,
		     KEXEC_ARCH_PPC64 | (crash ? KEXEC_ON_CRASH : 0)) == 0, "kexec_load");
	printf("test: loaded %d segments, %#llx to %#llx\n", segment_count, (unsigned long long)base,
	       (unsigned long long)next);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	int crash = argc == 5 && strcmp(argv[1], "crash") == 0;

	need(argc == 5 && (crash || strcmp(argv[1], "now") == 0), "arguments: now|crash KERNEL INITRD WORDS");
	load(crash, argv[2], argv[3], argv[4]);
	if (crash)
		return 0;
	sync();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	need(0, "reboot");
	return 1;
}
