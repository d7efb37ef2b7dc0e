/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a pseries guest: injects a bus error by ibm,errinjct.
 *
 *   errinjct CONFIG_ADDR BUID FUNCTION     numbers in hexadecimal; FUNCTION as LoPAR counts them (0 load, 6 store, 12 DMA read, 16 DMA write)
 *
 * Prints "test: errinjct 0" if the error is armed.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ERROR_64 15

struct call {
	uint32_t token, inputs, outputs, cells[16];
};

static void need(int good, const char *what)
{
	if (good)
		return;
	printf("test: FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A number in a property of /rtas. */
static uint32_t token(const char *name)
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

/* Calls RTAS; its outputs stand after its inputs. */
static void rtas(struct call *call, const char *name, int inputs, int outputs)
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
}

static int failures;

static void expect(const char *name, uint32_t status, int wanted)
{
	printf("test: %s %s %d\n", (int)status == wanted ? "ok" : "FAILED", name, (int)status);
	failures += (int)status != wanted;
}

/* A copy of the arguments of ibm,errinjct in the buffer, and its status. */
static uint32_t inject(uint32_t kind, uint32_t session, uint8_t *at, uint32_t address, const uint32_t *error)
{
	struct call call = { .cells = { kind, session, address } };

	for (int i = 0; i < 9; i++) {
		uint32_t cell = htobe32(error[i]);

		memcpy(at + 4 * i, &cell, 4);
	}
	rtas(&call, "ibm,errinjct", 3, 1);
	return call.cells[3];
}

static uint32_t end(uint32_t session)
{
	struct call call = { .cells = { session } };

	rtas(&call, "ibm,close-errinjct", 1, 1);
	return call.cells[1];
}

/* Memory below 4 GiB that the kernel sets aside for RTAS calls from programs. */
static uint8_t *buffer(uint32_t *address)
{
	unsigned long start, size;
	FILE *file = fopen("/proc/powerpc/rtas/rmo_buffer", "r");

	need(file != NULL, "rmo_buffer");
	need(fscanf(file, "%lx %lx", &start, &size) == 2 && size >= 64, "rmo_buffer");
	fclose(file);
	int memory = open("/dev/mem", O_RDWR);
	need(memory >= 0, "/dev/mem");
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, memory, start);
	need(at != MAP_FAILED, "map rmo_buffer");
	*address = start;
	return at;
}

int main(int argc, char **argv)
{
	struct call call = { 0 };
	uint32_t address, session, status;

	need(argc == 4, "arguments: CONFIG_ADDR BUID FUNCTION");
	uint64_t buid = strtoull(argv[2], NULL, 16);
	/* Any address: no bit of it counts. */
	uint32_t error[9] = { 0, 0, 0, 0, strtoul(argv[1], NULL, 16), buid >> 32, buid, strtoul(argv[3], NULL, 0), 0 };
	uint32_t stranger[9], io[9];
	uint8_t *at = buffer(&address);

	memcpy(stranger, error, sizeof(error));
	stranger[6] ^= 0x80;
	memcpy(io, error, sizeof(error));
	io[7] = 2;
	expect("inject without a session", inject(ERROR_64, 1, at, address, error), -4);
	expect("close without a session", end(1), -4);
	rtas(&call, "ibm,open-errinjct", 0, 2);
	session = call.cells[0];
	expect("open", call.cells[1], 0);
	rtas(&call, "ibm,open-errinjct", 0, 2);
	expect("open again", call.cells[1], -4);
	expect("inject in another session", inject(ERROR_64, session + 1, at, address, error), -4);
	expect("inject an unknown error", inject(99, session, at, address, error), -3);
	expect("inject into a bridge that is not there", inject(ERROR_64, session, at, address, stranger), -3);
	expect("inject into I/O space", inject(ERROR_64, session, at, address, io), -3);
	status = inject(ERROR_64, session, at, address, error);
	printf("test: errinjct %d\n", (int)status);
	expect("close another session", end(session + 1), -4);
	expect("close", end(session), 0);
	expect("close again", end(session), -4);
	return status != 0 || failures;
}
