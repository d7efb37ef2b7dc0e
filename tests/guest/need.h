/* SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause
 *
 * For programs that run inside a guest: what has to hold, or they end.
 */
#pragma once
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void need(int good, const char *what)
{
	if (good)
		return;
	printf("test: FAILED %s: %s\n", what, strerror(errno));
	exit(1);
}
