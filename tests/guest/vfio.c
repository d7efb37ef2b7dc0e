/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a pseries guest: walks vfio_iommu_spapr_tce versions 1 and 2 with the edu device, and moves bytes through every mapping.
 *
 *   vfio GROUP ADDRESS     for example: vfio 0 0000:00:01.0
 */
#include <fcntl.h>
#include <linux/vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "edu.h"

#define K64 0x10000ull
#define BUFFER (64 * K64)
/* Where pseries puts the first dynamic window. */
#define DYNAMIC 0x0800000000000000ull

static int container, group, device;
static uint8_t *memory;

/* What an ioctl gives that is neither an error nor success. */
#define REFUSED 0x10000

/* An ioctl's error number, 0 if it succeeds. */
static int attempt(unsigned long request, void *argument)
{
	int result = ioctl(container, request, argument);

	return result < 0 ? errno : result > 0 ? REFUSED : 0;
}

static int map(uint64_t iova, void *address, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)address,
		.iova = iova,
		.size = size,
	};
	return attempt(VFIO_IOMMU_MAP_DMA, &map);
}

static int unmap(uint64_t iova, uint64_t size)
{
	struct vfio_iommu_type1_dma_unmap unmap = { .argsz = sizeof(unmap), .iova = iova, .size = size };

	return attempt(VFIO_IOMMU_UNMAP_DMA, &unmap);
}

static int pin(unsigned long request, void *address, uint64_t size)
{
	struct vfio_iommu_spapr_register_memory range = {
		.argsz = sizeof(range),
		.vaddr = (uintptr_t)address,
		.size = size,
	};
	return attempt(request, &range);
}

static int create(uint32_t shift, uint64_t size, uint64_t *start)
{
	struct vfio_iommu_spapr_tce_create window = {
		.argsz = sizeof(window),
		.page_shift = shift,
		.window_size = size,
		.levels = 1,
	};
	int error = attempt(VFIO_IOMMU_SPAPR_TCE_CREATE, &window);

	*start = window.start_addr;
	return error;
}

static int removed(uint64_t start)
{
	struct vfio_iommu_spapr_tce_remove window = { .argsz = sizeof(window), .start_addr = start };

	return attempt(VFIO_IOMMU_SPAPR_TCE_REMOVE, &window);
}

static void faults(const char *name, uint64_t iova)
{
	uint64_t status = dma(iova, 8, 0);

	check(status == EDU_FAULT, "%s: DMA faults (status %d)", name, (int)status);
}

static void expect(const char *name, int error, int wanted)
{
	check(error == wanted, "%s: %s", name, error ? strerror(error) : "success");
}

static void open_group(const char *path, const char *address, int version)
{
	struct vfio_group_status status = { .argsz = sizeof(status) };
	struct vfio_region_info region = { .argsz = sizeof(region), .index = VFIO_PCI_BAR0_REGION_INDEX };
	struct vfio_region_info config = { .argsz = sizeof(config), .index = VFIO_PCI_CONFIG_REGION_INDEX };
	uint16_t command = 6;

	container = open("/dev/vfio/vfio", O_RDWR);
	need(container >= 0, "/dev/vfio/vfio");
	need(ioctl(container, VFIO_GET_API_VERSION) == VFIO_API_VERSION, "version of VFIO");
	group = open(path, O_RDWR);
	need(group >= 0, path);
	need(!ioctl(group, VFIO_GROUP_GET_STATUS, &status) && status.flags & VFIO_GROUP_FLAGS_VIABLE, "a viable group");
	need(!ioctl(group, VFIO_GROUP_SET_CONTAINER, &container), "set container");
	check(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_IOMMU) == 1, "version 1 is supported");
	check(ioctl(container, VFIO_CHECK_EXTENSION, VFIO_SPAPR_TCE_v2_IOMMU) == 1, "version 2 is supported");
	need(!ioctl(container, VFIO_SET_IOMMU, version), "set IOMMU");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	if (version == VFIO_SPAPR_TCE_IOMMU && device < 0) {
		/* Version 1 wants to be switched on first. */
		need(!ioctl(container, VFIO_IOMMU_ENABLE), "enable");
		device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, address);
	}
	need(device >= 0, address);
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &region), "BAR 0");
	need(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config), "configuration space");
	need(pwrite(device, &command, 2, config.offset + 4) == 2, "command register");
	edu = mmap(NULL, region.size, PROT_READ | PROT_WRITE, MAP_SHARED, device, region.offset);
	need(edu != MAP_FAILED, "mmap BAR 0");
	check(*(volatile uint32_t *)edu == 0x010000ed, "the device is there: %#x", *(volatile uint32_t *)edu);
}

static void close_group(void)
{
	munmap((void *)edu, EDU_SIZE);
	close(device);
	close(group);
	close(container);
}

static void version_1(void)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info) };
	int error = attempt(VFIO_IOMMU_ENABLE, NULL);

	check(error == 0 || error == EBUSY, "enable: %s", error ? strerror(error) : "success");
	expect("get info", attempt(VFIO_IOMMU_SPAPR_TCE_GET_INFO, &info), 0);
	check(info.dma32_window_size >= 1 << 30, "the default window has %#x bytes at %#x", info.dma32_window_size,
	      info.dma32_window_start);
	expect("map", map(0x100000, memory, 2 * K64), 0);
	moves("version 1", 0x100000, memory, 0x100000 + K64, memory + K64, 4096);
	expect("unmap", unmap(0x100000, K64), 0);
	faults("after unmap", 0x100000);
	moves("the other half", 0x100000 + K64, memory + K64, 0x100000 + K64 + 4096, memory + K64 + 4096, 4096);
	/* The rest stays mapped: closing the group must take it away. */
}

static void version_2(void)
{
	struct vfio_iommu_spapr_tce_info info = { .argsz = sizeof(info), .flags = VFIO_IOMMU_SPAPR_INFO_DDW };
	uint64_t start = 0, second;

	expect("get info", attempt(VFIO_IOMMU_SPAPR_TCE_GET_INFO, &info), 0);
	check(info.dma32_window_size == 1 << 30 && info.dma32_window_start == 0, "the default window has %#x bytes at %#x",
	      info.dma32_window_size, info.dma32_window_start);
	check(info.ddw.max_dynamic_windows_supported == 2 && info.ddw.levels == 1, "%u windows, %u level(s)",
	      info.ddw.max_dynamic_windows_supported, info.ddw.levels);
	check((info.ddw.pgsizes & 0x11000) == 0x11000, "page sizes %#llx", (unsigned long long)info.ddw.pgsizes);

	expect("map before register", map(0, memory, K64), EPERM);
	expect("register", pin(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, memory, BUFFER / 2), 0);
	expect("register twice", pin(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, memory, BUFFER / 2), EBUSY);
	expect("register an overlap", pin(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, memory + K64, BUFFER / 2), EINVAL);
	expect("unregister a wrong size", pin(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, memory, K64), ENOENT);
	expect("unregister a wrong address", pin(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, memory + K64, BUFFER / 2), ENOENT);

	expect("map", map(0x100000, memory, 2 * K64), 0);
	moves("default window", 0x100000, memory, 0x100000 + K64, memory + K64, 4096);
	moves("across pages of 4K", 0x100000 + 0x800, memory + 0x800, 0x100000 + K64 + 0x7f8, memory + K64 + 0x7f8, 4096);
	expect("map over a mapping", map(0x100000, memory + 4 * K64, K64), 0);
	moves("the mapping was replaced", 0x100000, memory + 4 * K64, 0x100000 + K64, memory + K64, 4096);
	expect("map outside of registered memory", map(0x200000, memory + BUFFER / 2, K64), EINVAL);
	faults("nothing was mapped", 0x200000);
	expect("map memory that is half registered", map(0x200000, memory + BUFFER / 2 - K64, 2 * K64), EINVAL);
	faults("no half of it was mapped", 0x200000);
	expect("map past the window", map(1 << 30, memory, K64), ENXIO);
	/* A mapping that begins in the window and ends after it is left out: Linux (6.12, 7.2) checks its begin only, and oopses. */
	expect("map at the window's end", map((1 << 30) - K64, memory, K64), 0);
	moves("the window's last bytes", (1 << 30) - 4096, memory + K64 - 4096, (1 << 30) - 8192, memory + K64 - 8192, 4096);
	/* Linux (6.12, 7.2) forgets to make an error number of this refusal. */
	int error = map(0x200800, memory, K64);
	check(error == EINVAL || error == REFUSED, "map a crooked bus address: %#x", error);
	expect("map a crooked address", map(0x200000, memory + 0x800, K64), EINVAL);
	expect("map a crooked size", map(0x200000, memory, 0x800), EINVAL);
	faults("arguments are not put right", 0x200000);
	expect("map one page", map(0x300000, memory + 5 * K64, 0x1000), 0);
	moves("one page", 0x300000, memory + 5 * K64, 0x100000 + K64, memory + K64, 4096);
	faults("the page after it", 0x301000);
	expect("map many pages", map(0x400000, memory, BUFFER / 2), 0);
	moves("the first and the last of them", 0x400000, memory, 0x400000 + BUFFER / 2 - 4096, memory + BUFFER / 2 - 4096, 4096);
	expect("unmap", unmap(0x100000, 2 * K64), 0);
	faults("after unmap", 0x100000);
	expect("unmap past the window", unmap(1 << 30, K64), ENXIO);

	expect("create", create(16, 1 << 30, &start), 0);
	check(start == DYNAMIC, "it is at %#llx", (unsigned long long)start);
	expect("create a third window", create(16, 1 << 30, &second), ENOSPC);
	expect("map", map(DYNAMIC, memory, 4 * K64), 0);
	moves("dynamic window", DYNAMIC, memory, DYNAMIC + 2 * K64, memory + 2 * K64, 4096);
	expect("map a buffer of 4K alignment", map(DYNAMIC + 4 * K64, memory + 0x1000, K64), EINVAL);
	faults("nothing was mapped", DYNAMIC + 4 * K64);
	expect("map past the window", map(DYNAMIC + (1 << 30), memory, K64), ENXIO);
	moves("from one window to the other", 0x400000, memory, DYNAMIC + K64, memory + K64, 4096);
	expect("remove the default window", removed(0), 0);
	faults("in the removed window", 0x400000);
	moves("the dynamic window is as before", DYNAMIC, memory, DYNAMIC + 2 * K64, memory + 2 * K64, 4096);
	expect("remove the dynamic window", removed(DYNAMIC), 0);
	faults("in the removed window", DYNAMIC);
	expect("remove it again", removed(DYNAMIC), EINVAL);
	expect("map without a window", map(DYNAMIC, memory, K64), ENXIO);
	expect("create again", create(16, 1 << 28, &start), 0);
	expect("map", map(start, memory, 2 * K64), 0);
	moves("second dynamic window", start, memory, start + K64, memory + K64, 4096);
	/* What is mapped and registered now goes when the group is closed. Unregistering it while it is mapped is left out: Linux (6.12, 7.2) says
	 * success, loses track of it and warns when the process ends. */
}

int main(int argc, char **argv)
{
	need(argc == 3, "arguments: GROUP ADDRESS");
	char path[64];

	snprintf(path, sizeof(path), "/dev/vfio/%s", argv[1]);
	/* A kernel with pages of 4K maps pages of 64K only from huge ones. */
	memory = mmap(NULL, BUFFER, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	need(memory != MAP_FAILED, "memory in huge pages");
	for (int round = 1; round <= 2; round++) {
		printf("test: round %d, version 2\n", round);
		open_group(path, argv[2], VFIO_SPAPR_TCE_v2_IOMMU);
		version_2();
		close_group();
		printf("test: round %d, version 1\n", round);
		open_group(path, argv[2], VFIO_SPAPR_TCE_IOMMU);
		version_1();
		close_group();
	}
	return summary();
}
