/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a PC guest: walks VFIO type1 version 2 with the edu device, moves bytes through every mapping, and looks at what stays
 * untouched without one.
 *
 *   vfio_type1 GROUP ADDRESS     for example: vfio_type1 1 0000:00:01.0
 */
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"

#define PAGE 0x1000ull
#define PAGES 16
#define HUGE 0x200000ull
/* Where most mappings are: above 4 GiB, as no bus address of the kernel's own is there. */
#define BASE 0x5200000000ull

static int container, group, device;
static uint8_t *memory, *huge;

/* An ioctl's error number, 0 if it succeeds. */
static int attempt(unsigned long request, void *argument)
{
	return ioctl(container, request, argument) < 0 ? errno : 0;
}

static int map(uint64_t iova, void *address, uint64_t size, int flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)address,
		.iova = iova,
		.size = size,
	};
	return attempt(VFIO_IOMMU_MAP_DMA, &map);
}

#define READ VFIO_DMA_MAP_FLAG_READ
#define WRITE VFIO_DMA_MAP_FLAG_WRITE
#define BOTH (READ | WRITE)

/* Takes mappings away and demands that `size` bytes of them were there. */
static int unmap(uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = iova, .size = size };
	int error = attempt(VFIO_IOMMU_UNMAP_DMA, &unmap);

	return error ? error : unmap.size == size ? 0 : ENOENT;
}

static void expect(const char *name, int error, int wanted)
{
	check(error == wanted, "%s: %s", name, error ? strerror(error) : "success");
}

/* A write of the device's to `iova` faults, and the memory at `bytes`, which was mapped there, stays as it is. */
static void no_write(const char *name, uint64_t iova, uint8_t *bytes)
{
	uint8_t before[64];

	noise(bytes, 64);
	memcpy(before, bytes, 64);
	uint64_t status = dma(iova, 64, 1), at = get(EDU_FAULTED);
	check(status == EDU_FAULT && at == iova && !memcmp(before, bytes, 64), "%s: a write faults (status %d at %#llx)", name,
	      (int)status, (unsigned long long)at);
	printf("test: fault write %#llx\n", (unsigned long long)(iova & -PAGE));
	fflush(stdout);
	quiet();
}

/* A read of the device's from `iova` faults, and what it has of its own stays, as a write to `window` (mapped at `bytes`) shows. */
static void no_read(const char *name, uint64_t iova, uint64_t window, uint8_t *bytes)
{
	uint8_t own[64];

	noise(own, 64);
	memcpy(bytes, own, 64);
	uint64_t given = dma(window, 64, 0);
	memset(bytes, 0, 64);
	uint64_t status = dma(iova, 64, 0), at = get(EDU_FAULTED), back = dma(window, 64, 1);
	check(given == EDU_DONE && back == EDU_DONE && status == EDU_FAULT && at == iova && !memcmp(own, bytes, 64),
	      "%s: a read faults (status %d at %#llx)", name, (int)status, (unsigned long long)at);
	printf("test: fault read %#llx\n", (unsigned long long)(iova & -PAGE));
	fflush(stdout);
	quiet();
}

static void open_group(const char *path, const char *address)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_region_info region = { .argsz = sizeof(region), .index = VFIO_PCI_BAR0_REGION_INDEX };
	struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	container = open("/dev/vfio/vfio", O_RDWR);
	need(container >= 0, "/dev/vfio/vfio");
	need(ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION, "version of VFIO");
	check(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) == 1, "type1 version 2 is supported");
	group = open(path, O_RDWR);
	need(group >= 0, path);
	need(!ioctl(group, VFIO_GROUP_GET_STATUS, &status) && status.flags & VFIO_GROUP_FLAGS_VIABLE, "a viable group");
	need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "set container");
	need(!ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU), "set IOMMU");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	need(device >= 0, address);
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "BAR 0");
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config), "configuration space");
	need(pwrite(device, &command, 2, config.offset + PCI_COMMAND) == 2, "command register");
	edu = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, region.offset);
	need(edu != MAP_FAILED, "mmap BAR 0");
	check(*(volatile uint32_t *)(edu + EDU_ID) == 0x010000ed, "the device is there");
}

static void close_group(void)
{
	munmap((void *)edu, EDU_SIZE);
	close(device);
	close(group);
	close(container);
}

/* Sizes of pages and ranges of bus addresses; gives the last address. */
static uint64_t information(void)
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t bytes[1024];
	} answer = { .info.argsz = sizeof(answer) };
	uint64_t last = 0;
	int hole = 0;

	expect("get info", attempt(VFIO_IOMMU_GET_INFO, &answer.info), 0);
	check(answer.info.flags & VFIO_IOMMU_INFO_PGSIZES && answer.info.iova_pgsizes & PAGE, "page sizes %#llx",
	      (unsigned long long)answer.info.iova_pgsizes);
	for (uint32_t at = answer.info.flags & VFIO_IOMMU_INFO_CAPS ? answer.info.cap_offset : 0; at;) {
		struct vfio_info_cap_header *header = (void *)(answer.bytes + at);
		struct vfio_iommu_type1_info_cap_iova_range *ranges = (void *)header;

		at = header->next;
		if (header->id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		for (uint32_t i = 0; i < ranges->nr_iovas; i++) {
			uint64_t end = ranges->iova_ranges[i].end;

			printf("test: range %#llx %#llx\n", (unsigned long long)ranges->iova_ranges[i].start,
			       (unsigned long long)end);
			hole |= end == 0xfedfffff;
			last = end;
		}
	}
	check(hole && last, "bus addresses end at %#llx, without those of interrupts", (unsigned long long)last);
	return last;
}

static void mappings(uint64_t last)
{
	uint8_t *other = memory + 8 * PAGE;
	uint64_t top = last + 1 - PAGE;

	no_write("before any mapping", BASE, memory);
	expect("map", map(BASE, memory, 4 * PAGE, BOTH), 0);
	moves("one page", BASE, memory, BASE + PAGE, memory + PAGE, 4096);
	moves("across pages", BASE + 0x800, memory + 0x800, BASE + 2 * PAGE + 0x7f8, memory + 2 * PAGE + 0x7f8, 4096);
	expect("map over a mapping", map(BASE + PAGE, other, PAGE, BOTH), EEXIST);
	expect("map a crooked bus address", map(BASE + 0x10800, memory, PAGE, BOTH), EINVAL);
	expect("map interrupt addresses", map(0xfee00000, memory, PAGE, BOTH), EINVAL);
	no_write("behind the mapping", BASE + 4 * PAGE, memory + 4 * PAGE);
	no_read("behind the mapping", BASE + 4 * PAGE, BASE, memory);

	expect("map for reading", map(BASE + 0x20000, other, PAGE, READ), 0);
	noise(other, 64);
	uint64_t read = dma(BASE + 0x20000, 64, 0), back = dma(BASE, 64, 1);
	check(read == EDU_DONE && back == EDU_DONE && !memcmp(memory, other, 64), "it is read");
	no_write("what may be read only", BASE + 0x20000, other);

	expect("map low", map(0x10000, other + PAGE, PAGE, BOTH), 0);
	moves("low", 0x10000, other + PAGE, BASE, memory, 4096);
	expect("map the last page", map(top, other + 2 * PAGE, PAGE, BOTH), 0);
	moves("the last page", top, other + 2 * PAGE, BASE, memory, 4096);
	if (last + 1)
		expect("map beyond", map(last + 1, other, PAGE, BOTH), EINVAL);

	expect("map a huge page", map(BASE + HUGE, huge, HUGE, BOTH), 0);
	moves("the huge page's ends", BASE + HUGE, huge, BASE + 2 * HUGE - 4096, huge + HUGE - 4096, 4096);
	expect("unmap it", unmap(BASE + HUGE, HUGE), 0);
	no_write("the huge page's begin after unmap", BASE + HUGE, huge);
	no_write("the huge page's end after unmap", BASE + 2 * HUGE - PAGE, huge + HUGE - PAGE);

	/* The one that follows must not be hit by what the unit still knows of the one before. */
	expect("unmap half a mapping", unmap(BASE, PAGE), EINVAL);
	moves("it is whole", BASE, memory, BASE + 3 * PAGE, memory + 3 * PAGE, 4096);
	expect("unmap", unmap(BASE, 4 * PAGE), 0);
	no_write("after unmap", BASE, memory);
	no_read("after unmap", BASE + 3 * PAGE, 0x10000, other + PAGE);
	expect("map other memory there", map(BASE, other + 4 * PAGE, 2 * PAGE, BOTH), 0);
	moves("it is this", BASE, other + 4 * PAGE, BASE + PAGE, other + 5 * PAGE, 4096);
	/* The rest stays mapped: closing the group must take it away. */
}

static int wait_for(int event)
{
	struct pollfd poll_event = { .fd = event, .events = POLLIN };
	uint64_t count = 0;

	if (poll(&poll_event, 1, 1000) != 1)
		return 0;
	return read(event, &count, sizeof(count)) == sizeof(count) ? (int)count : -1;
}

/* Gives an interrupt of the device an event to signal, or takes it away. */
static int signals(int index, int event)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + sizeof(int32_t)];
	} request = {
		.set = {
			.argsz = event < 0 ? sizeof(struct vfio_irq_set) : sizeof(request),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER | (event < 0 ? VFIO_IRQ_SET_DATA_NONE : VFIO_IRQ_SET_DATA_EVENTFD),
			.index = index,
			.count = event >= 0,
		},
	};

	if (event >= 0)
		memcpy(request.set.data, &(int32_t){ event }, sizeof(int32_t));
	return ioctl(device, VFIO_DEVICE_SET_IRQS, &request) < 0 ? errno : 0;
}

static int unmask(int index)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set),
		.flags = VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE,
		.index = index,
		.count = 1,
	};
	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set) < 0 ? errno : 0;
}

static void interrupts(void)
{
	struct vfio_irq_info info = { .argsz = sizeof(info), .index = VFIO_PCI_MSI_IRQ_INDEX };
	int event = eventfd(0, EFD_CLOEXEC), n;

	need(event >= 0, "eventfd");
	need(!ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info), "interrupts");
	check(info.count == 1, "%u message", info.count);
	expect("message to an event", signals(VFIO_PCI_MSI_IRQ_INDEX, event), 0);
	for (n = 0; n < 3; n++) {
		*(volatile uint32_t *)(edu + EDU_RAISE) = 1;
		check(wait_for(event) == 1, "message %d comes", n);
		*(volatile uint32_t *)(edu + EDU_ACKNOWLEDGE) = 1;
	}
	expect("no message any more", signals(VFIO_PCI_MSI_IRQ_INDEX, -1), 0);

	expect("line to an event", signals(VFIO_PCI_INTX_IRQ_INDEX, event), 0);
	for (n = 0; n < 3; n++) {
		*(volatile uint32_t *)(edu + EDU_RAISE) = 1;
		check(wait_for(event) == 1, "line %d is raised", n);
		*(volatile uint32_t *)(edu + EDU_ACKNOWLEDGE) = 1;
		expect("unmask", unmask(VFIO_PCI_INTX_IRQ_INDEX), 0);
	}
	expect("no line any more", signals(VFIO_PCI_INTX_IRQ_INDEX, -1), 0);
	close(event);
}

int main(int argc, char **argv)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
	char path[64];

	need(argc == 3, "arguments: GROUP ADDRESS");
	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	memory = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, flags, -1, 0);
	need(memory != MAP_FAILED, "memory");
	huge = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, flags | MAP_HUGETLB, -1, 0);
	need(huge != MAP_FAILED, "a huge page");
	for (int round = 1; round <= 2; round++) {
		printf("test: round %d\n", round);
		open_group(path, argv[2]);
		mappings(information());
		interrupts();
		close_group();
	}
	return summary();
}
