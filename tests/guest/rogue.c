/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a PC guest: programs an edu device that has no driver and no mapping through its BAR, and lets it reach for memory and
 * interrupts that are not its own.
 *
 *   rogue ADDRESS [open]     for example: rogue 0000:00:01.0
 *
 * With "open", nothing stands between the device and memory (iommu=pt): what it reaches for it gets, which shows that the addresses
 * and the bytes here are the right ones.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"

#define PAGE 0x1000
#define COUNT 256

static uint8_t *page;

static int open_file(const char *address, const char *name, int flags)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", address, name);
	int file = open(path, flags);
	need(file >= 0, path);
	return file;
}

/* Switches decoding and mastering on, as a driver does, and maps BAR 0. */
static void take(const char *address)
{
	uint16_t command = 6;
	int file = open_file(address, "config", O_RDWR);

	need(pwrite(file, &command, 2, 4) == 2, "command register");
	close(file);
	file = open_file(address, "resource0", O_RDWR | O_SYNC);
	edu = mmap(NULL, EDU_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	need(edu != MAP_FAILED, "mmap BAR 0");
	close(file);
	check(*(volatile uint32_t *)(edu + EDU_ID) == 0x010000ed, "the device is there");
}

/* The physical address of `page`. */
static uint64_t physical(void)
{
	uint64_t entry = 0;
	int file = open("/proc/self/pagemap", O_RDONLY);

	need(file >= 0, "/proc/self/pagemap");
	need(pread(file, &entry, 8, (uintptr_t)page / PAGE * 8) == 8, "an entry of pagemap");
	close(file);
	need(entry >> 63 && (entry & ((1ull << 55) - 1)), "a physical address");
	return (entry & ((1ull << 55) - 1)) * PAGE;
}

/* A DMA that must fault at its first byte. */
static void refused(const char *what, uint64_t at, uint64_t count, int from_device)
{
	uint64_t status = dma(at, count, from_device), fault = get(EDU_FAULTED);

	check(status == EDU_FAULT && fault == at, "%s: status %d at %#llx", what, (int)status, (unsigned long long)fault);
	printf("test: fault %s %#llx\n", from_device ? "write" : "read", (unsigned long long)(at & -PAGE));
	fflush(stdout);
	quiet();
}

static void closed(uint64_t at)
{
	uint8_t before[PAGE];

	memcpy(before, page, PAGE);
	refused("a write to memory", at + 0x100, COUNT, 1);
	check(!memcmp(before, page, PAGE), "memory is untouched");
	refused("a read of memory", at + 0x100, COUNT, 0);
	refused("a read of kernel memory", 0x1000000, 64, 0);
	refused("a write above all addresses", 1ull << 60, 64, 1);
	/* A message that was never given out, and one of somebody else. */
	dma(0xfee00000, 4, 1);
	quiet();
	dma(0xfee00010, 4, 1);
	quiet();
}

static void opened(uint64_t at)
{
	uint8_t wanted[COUNT];

	memcpy(wanted, page + 0x100, COUNT);
	check(dma(at + 0x100, COUNT, 0) == EDU_DONE, "a read of memory");
	check(dma(at + 0x800, COUNT, 1) == EDU_DONE, "a write to memory");
	check(!memcmp(page + 0x800, wanted, COUNT), "the bytes came and went");
}

int main(int argc, char **argv)
{
	need(argc == 2 || argc == 3, "arguments: ADDRESS [open]");
	take(argv[1]);
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_LOCKED, -1, 0);
	need(page != MAP_FAILED, "memory");
	noise(page, PAGE);
	if (argc == 3)
		opened(physical());
	else
		closed(physical());
	return summary();
}
