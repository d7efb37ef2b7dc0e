/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a guest: reads of a disk whose DMA mappings have a known number of pages.
 *
 *   batch DISK READS BYTES...     for example: batch /dev/nvme0n1 16 4096 65536
 *
 * For each of BYTES: so many reads of so many bytes, past the page cache, each from the disk's begin into one huge page, which is one
 * piece of memory for the driver. A line tells how many of them gave the disk's bytes:
 *
 *   test: 65536 bytes: 16 read, 0 failed
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE (2ul << 20)

int main(int argc, char **argv)
{
	int disk = argc > 3 ? open(argv[1], O_RDONLY | O_DIRECT) : -1;
	uint8_t *memory = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	long reads = argc > 2 ? atol(argv[2]) : 0;

	if (disk < 0 || memory == MAP_FAILED || reads < 1) {
		printf("test: FAILED arguments: DISK READS BYTES..., and one huge page: %s\n", strerror(errno));
		return 1;
	}
	for (int i = 3; i < argc; i++) {
		size_t bytes = strtoul(argv[i], NULL, 0);
		long good = 0, failed = 0;

		if (bytes > HUGE) {
			printf("test: FAILED %zu bytes are more than a huge page\n", bytes);
			return 1;
		}
		for (long n = 0; n < reads; n++) {
			ssize_t got = pread(disk, memory, bytes, 0);

			good += got == (ssize_t)bytes;
			failed += got != (ssize_t)bytes;
			if (got < 0)
				printf("test: %zu bytes: %s\n", bytes, strerror(errno));
		}
		printf("test: %zu bytes: %ld read, %ld failed\n", bytes, good, failed);
		fflush(stdout);
	}
	return 0;
}
