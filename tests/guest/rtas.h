/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * For programs that run inside a pseries guest: RTAS calls, and what is expected of their statuses.
 */
#pragma once
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "need.h"

struct call {
	uint32_t token, inputs, outputs, cells[16];
};

/* How often `expect` was disappointed. */
static int failures;

static inline void expect(const char *what, int got, int wanted)
{
	printf("test: %s %s %d\n", got == wanted ? "ok" : "FAILED", what, got);
	failures += got != wanted;
}

/* A number in a property of /rtas. */
static inline uint32_t token(const char *name)
{
	char path[128];
	uint32_t cell = 0;
	int file;

	snprintf(path, sizeof(path), "/proc/device-tree/rtas/%s", name);
	file = open(path, O_RDONLY);
	need(file >= 0 && read(file, &cell, 4) == 4, path);
	close(file);
	return be32toh(cell);
}

/* Calls RTAS; its outputs stand after its inputs, the first is returned. */
static inline int rtas(struct call *call, const char *name, int inputs, int outputs)
{
	int i;

	call->token = htobe32(token(name));
	call->inputs = htobe32(inputs);
	call->outputs = htobe32(outputs);
	for (i = 0; i < inputs; i++)
		call->cells[i] = htobe32(call->cells[i]);
	need(syscall(SYS_rtas, call) == 0, name);
	for (i = inputs; i < inputs + outputs; i++)
		call->cells[i] = be32toh(call->cells[i]);
	return call->cells[inputs];
}

/* A page below 4 GiB that the kernel sets aside for RTAS calls from programs. */
static inline uint8_t *buffer(uint32_t *address)
{
	unsigned long start, size;
	FILE *file = fopen("/proc/powerpc/rtas/rmo_buffer", "r");

	need(file != NULL, "rmo_buffer");
	need(fscanf(file, "%lx %lx", &start, &size) == 2 && size >= 4096, "rmo_buffer");
	fclose(file);
	int memory = open("/dev/mem", O_RDWR);
	need(memory >= 0, "/dev/mem");
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, start);
	need(at != MAP_FAILED, "map rmo_buffer");
	*address = start;
	return at;
}
