/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a guest: reads of a disk whose DMA mappings have a known number of pages.
 *
 *   batch DISK READS BYTES...     for example: batch /dev/nvme0n1 16 4096 65536
 *
 * For each of BYTES: so many reads of so many bytes, past the page cache, each from the disk's begin into the begin of the same huge page,
 * which is one piece of memory for the driver. A line tells how many succeeded and gave the same bytes as the first, and their FNV-1a hash
 * by words of 64 bits:
 *
 *   test: 65536 bytes: 16 of 16 read, hash 0123456789abcdef
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

static uint64_t hash(const uint8_t *memory, size_t bytes)
{
	uint64_t hash = 0xcbf29ce484222325, word;

	for (size_t i = 0; i + sizeof(word) <= bytes; i += sizeof(word)) {
		memcpy(&word, memory + i, sizeof(word));
		hash = (hash ^ word) * 0x100000001b3;
	}
	return hash;
}

int main(int argc, char **argv)
{
	int disk = argc > 3 ? open(argv[1], O_RDONLY | O_DIRECT) : -1;
	long reads = argc > 2 ? atol(argv[2]) : 0;
	size_t most = 1;
	uint8_t *memory;

	for (int i = 3; i < argc; i++)
		most = strtoul(argv[i], NULL, 0) > most ? strtoul(argv[i], NULL, 0) : most;
	memory = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE | MAP_HUGETLB, -1, 0);
	if (disk < 0 || reads < 1 || memory == MAP_FAILED) {
		printf("test: FAILED arguments: DISK READS BYTES..., and huge pages: %s\n", strerror(errno));
		return 1;
	}
	for (int i = 3; i < argc; i++) {
		size_t bytes = strtoul(argv[i], NULL, 0);
		uint64_t first = 0;
		long good = 0;

		for (long n = 0; n < reads; n++) {
			memset(memory, 0, bytes);
			if (pread(disk, memory, bytes, 0) != (ssize_t)bytes) {
				printf("test: %zu bytes: %s\n", bytes, strerror(errno));
				continue;
			}
			if (!good)
				first = hash(memory, bytes);
			good += hash(memory, bytes) == first;
		}
		printf("test: %zu bytes: %ld of %ld read, hash %016llx\n", bytes, good, reads, (unsigned long long)first);
		fflush(stdout);
	}
	return 0;
}
