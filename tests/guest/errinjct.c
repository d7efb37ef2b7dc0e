/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a pseries guest: injects a bus error by ibm,errinjct.
 *
 *   errinjct CONFIG_ADDR BUID FUNCTION     numbers in hexadecimal; FUNCTION as LoPAR counts them (0 load, 6 store, 12 DMA read, 16 DMA write)
 *
 * Prints "test: errinjct 0" if the error is armed.
 */
#include "rtas.h"

#define ERROR_64 15

/* A copy of the arguments of ibm,errinjct in the buffer, and its status. */
static int inject(uint32_t kind, uint32_t session, uint8_t *at, uint32_t address, const uint32_t *error)
{
	struct call call = { .cells = { kind, session, address } };

	for (int i = 0; i < 9; i++) {
		uint32_t cell = htobe32(error[i]);

		memcpy(at + 4 * i, &cell, 4);
	}
	return rtas(&call, "ibm,errinjct", 3, 1);
}

static int end(uint32_t session)
{
	struct call call = { .cells = { session } };

	return rtas(&call, "ibm,close-errinjct", 1, 1);
}

int main(int argc, char **argv)
{
	struct call call = { 0 };
	uint32_t address, session;

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
	int status = inject(ERROR_64, session, at, address, error);
	printf("test: errinjct %d\n", status);
	expect("close another session", end(session + 1), -4);
	expect("close", end(session), 0);
	expect("close again", end(session), -4);
	return status != 0 || failures;
}
