/* The commands of pamc-runner. Each returns PAMC_OK, a code with an error, or WRONG_ANSWERS. */
#ifndef PAMC_COMMANDS_H
#define PAMC_COMMANDS_H

#include "../pamc.h"
#include "../src/file.h"
#include "lines.h"
#include "options.h"

/* Outputs are not those of the golden vectors; there is no error beside the lines. */
#define WRONG_ANSWERS 4

/* 128 and the number of a signal that asked this process to end, else 0. */
int stopped(void);

int run_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error);
int selftest_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error);
int bench_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error);

/* Fill the input of a network from a file of exactly its size. */
pamc_code read_input(const pamc_network *network, const char *path, pamc_error *error);

#endif
