/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * Runs inside a pseries guest: takes and gives back what is behind a connector, as drmgr does, by RTAS and /proc/powerpc/ofdt.
 *
 *   connector take DRC PARENT     make it usable, unisolate it, read its node, add that below PARENT ("-": do not add it; "": the root)
 *   connector give DRC NODE       remove NODE from the tree ("-": do not), isolate it, make it unusable
 *   connector refused DRC         calls that have to fail, on a connector that is not in use
 *   connector busy DRC            isolating has to fail: a function behind this bridge is in use
 *   connector orphan DRC          unisolating has to fail: the bridge of this function is isolated
 *
 * DRC is a number in hexadecimal. Prints "test: ok" or "test: FAILED" for each step.
 */
#include "rtas.h"

#define ISOLATION_STATE 9001
#define ALLOCATION_STATE 9003
#define DR_ENTITY_SENSE 9003
#define PRESENT 1
#define UNUSABLE 2

static int sensor(uint32_t drc)
{
	struct call call = { .cells = { DR_ENTITY_SENSE, drc } };
	int status = rtas(&call, "get-sensor-state", 2, 2);

	return status ? status : (int)call.cells[3];
}

static int indicator(uint32_t which, uint32_t drc, uint32_t value)
{
	struct call call = { .cells = { which, drc, value } };

	return rtas(&call, "set-indicator", 3, 1);
}

static uint32_t word(const uint8_t *area, int index)
{
	uint32_t cell;

	memcpy(&cell, area + 4 * index, 4);
	return be32toh(cell);
}

static int configure(uint32_t address)
{
	struct call call = { .cells = { address, 0 } };

	return rtas(&call, "ibm,configure-connector", 2, 1);
}

static void start(uint8_t *area, uint32_t drc)
{
	uint32_t cell = htobe32(drc);

	memset(area, 0, 4096);
	memcpy(area, &cell, 4);
}

/* Reads the node of a connector into a command for ofdt. */
static size_t read_node(uint32_t drc, const char *parent, char *command, size_t room)
{
	uint32_t address;
	uint8_t *area = buffer(&address);
	size_t length = 0;
	int properties = 0, status;

	start(area, drc);
	while ((status = configure(address)) > 0) {
		const char *name = (const char *)area + word(area, 2);

		need(length + 4096 < room, "room for a node");
		if (status == 2) {
			length = snprintf(command, room, "add_node %s/%s ", parent, name);
		} else {
			need(status == 3, "one node only");
			length += snprintf(command + length, room - length, "%s %u ", name, word(area, 3));
			memcpy(command + length, area + word(area, 4), word(area, 3));
			length += word(area, 3);
			command[length++] = ' ';
			properties++;
		}
	}
	expect("configure", status, 0);
	printf("test: %d properties\n", properties);
	return length;
}

static void ofdt(const char *command, size_t length)
{
	int file = open("/proc/powerpc/ofdt", O_WRONLY);

	need(file >= 0, "ofdt");
	expect("ofdt", write(file, command, length) == (ssize_t)length ? 0 : -errno, 0);
	close(file);
}

static void take(uint32_t drc, const char *parent)
{
	static char command[1 << 16];
	size_t length;

	expect("unusable", sensor(drc), UNUSABLE);
	expect("allocate", indicator(ALLOCATION_STATE, drc, 1), 0);
	expect("present", sensor(drc), PRESENT);
	expect("unisolate", indicator(ISOLATION_STATE, drc, 1), 0);
	if (strcmp(parent, "-") == 0)
		return;
	length = read_node(drc, parent, command, sizeof(command));
	ofdt(command, length);
}

static void give(uint32_t drc, const char *node)
{
	char command[256];

	if (strcmp(node, "-") != 0) {
		snprintf(command, sizeof(command), "remove_node %s", node);
		ofdt(command, strlen(command) + 1);
	}
	expect("isolate", indicator(ISOLATION_STATE, drc, 0), 0);
	expect("release", indicator(ALLOCATION_STATE, drc, 0), 0);
	expect("unusable", sensor(drc), UNUSABLE);
}

static void refused(uint32_t drc)
{
	uint32_t address;
	uint8_t *area = buffer(&address);

	start(area, drc);
	expect("configure while unusable", configure(address), -9003);
	expect("unisolate while unusable", indicator(ISOLATION_STATE, drc, 1), -3);
	expect("sense what is not there", sensor(drc ^ 0xf00), -3);
	expect("an unknown indicator", indicator(9005, drc, 0), -3);
}

static void busy(uint32_t drc)
{
	expect("isolate what has something below it", indicator(ISOLATION_STATE, drc, 0), -9000);
	expect("present", sensor(drc), PRESENT);
}

static void orphan(uint32_t drc)
{
	expect("allocate", indicator(ALLOCATION_STATE, drc, 1), 0);
	expect("unisolate below what is isolated", indicator(ISOLATION_STATE, drc, 1), -9000);
	expect("release", indicator(ALLOCATION_STATE, drc, 0), 0);
	expect("unusable", sensor(drc), UNUSABLE);
}

int main(int argc, char **argv)
{
	need(argc >= 3, "arguments: take|give|refused|busy|orphan DRC ...");
	uint32_t drc = strtoul(argv[2], NULL, 16);

	if (strcmp(argv[1], "take") == 0 && argc == 4)
		take(drc, argv[3]);
	else if (strcmp(argv[1], "give") == 0 && argc == 4)
		give(drc, argv[3]);
	else if (strcmp(argv[1], "refused") == 0)
		refused(drc);
	else if (strcmp(argv[1], "busy") == 0)
		busy(drc);
	else if (strcmp(argv[1], "orphan") == 0)
		orphan(drc);
	else
		need(0, "arguments");
	return failures != 0;
}
