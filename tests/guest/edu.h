/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * What programs share that run inside a guest and use the edu device.
 *
 * Each check is one line, "test: ok NAME" or "test: FAILED NAME ...". The last line, which `summary` prints, counts them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Registers of the edu device, and where its own 4 KiB are in its own addresses. */
#define EDU_ID 0x00
#define EDU_RAISE 0x60
#define EDU_ACKNOWLEDGE 0x64
#define EDU_SOURCE 0x80
#define EDU_DESTINATION 0x88
#define EDU_COUNT 0x90
#define EDU_COMMAND 0x98
#define EDU_STATUS 0xa0
#define EDU_FAULTED 0xa8
#define EDU_MEMORY 0x40000
#define EDU_DONE 1
#define EDU_FAULT 2
#define EDU_SIZE (1 << 20)

static int checks, failures;
/* The device's BAR 0. */
static volatile uint8_t *edu;

static inline void check(int good, const char *form, ...)
{
	va_list args;

	checks++;
	failures += !good;
	printf("test: %s ", good ? "ok" : "FAILED");
	va_start(args, form);
	vprintf(form, args);
	va_end(args);
	printf("\n");
	fflush(stdout);
}

/* Ends the program if something is missing without which it cannot go on. */
static inline void need(int good, const char *what)
{
	if (good)
		return;
	printf("test: FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}

/* Prints the last line; the program's status. */
static inline int summary(void)
{
	printf("test: %d checks, %d failed\n", checks, failures);
	return failures != 0;
}

static inline void set(int at, uint64_t value)
{
	*(volatile uint64_t *)(edu + at) = value;
}

static inline uint64_t get(int at)
{
	return *(volatile uint64_t *)(edu + at);
}

/* Moves bytes between bus address `iova` and the device's memory; the device's status. */
static inline uint64_t dma(uint64_t iova, uint64_t count, int from_device)
{
	set(EDU_SOURCE, from_device ? EDU_MEMORY : iova);
	set(EDU_DESTINATION, from_device ? iova : EDU_MEMORY);
	set(EDU_COUNT, count);
	set(EDU_COMMAND, from_device ? 3 : 1);
	return get(EDU_STATUS);
}

/* Waits so long that the kernel tells of the next fault: it tells of few in five seconds. A guest's idle time costs the host nothing. */
static inline void quiet(void)
{
	sleep(6);
}

/* Fills with bytes that differ from call to call. */
static inline void noise(uint8_t *to, size_t count)
{
	static unsigned seed = 1;

	for (size_t i = 0; i < count; i++) {
		seed = seed * 1103515245 + 12345;
		to[i] = seed >> 16;
	}
}

/* Sends `count` bytes at `from` (mapped at `in`) through the device to `to` (mapped at `out`) and compares them. */
static inline void moves(const char *name, uint64_t in, uint8_t *from, uint64_t out, uint8_t *to, size_t count)
{
	size_t i, wrong = 0;

	noise(from, count);
	for (i = 0; i < count; i++)
		to[i] = ~from[i];
	uint64_t there = dma(in, count, 0), back = dma(out, count, 1);
	for (i = 0; i < count; i++)
		wrong += from[i] != to[i];
	check(there == EDU_DONE && back == EDU_DONE && !wrong, "%s: %zu bytes there and back, status %d %d, %zu wrong", name,
	      count, (int)there, (int)back, wrong);
}
