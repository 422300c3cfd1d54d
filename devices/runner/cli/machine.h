/* The machine: its clock, its processors, and the memory of this process. */
#ifndef PAMC_MACHINE_H
#define PAMC_MACHINE_H

#include <stdbool.h>

#include "../pamc.h"

/* CLOCK_MONOTONIC_RAW in nanoseconds, which nothing adjusts. `last` is the previous reading, 0 at first; PAMC_RUNTIME
 * when the clock went backwards. */
pamc_code read_clock(int64_t *last, pamc_error *error);

/* Processors that this process may run on. */
int count_cpus(void);

/* Keep this process, and the threads it will start, on the processors of a list such as "0-3,5". */
pamc_code pin_cpus(const char *list, pamc_error *error);

/* VmHWM and VmRSS: the most memory that was ever resident, and what is now, in KiB. */
pamc_code read_memory(int64_t *most, int64_t *now, pamc_error *error);

#endif
