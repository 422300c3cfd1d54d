/* The command line of pamc-runner. */
#ifndef PAMC_OPTIONS_H
#define PAMC_OPTIONS_H

#include <stdbool.h>

#include "../pamc.h"

#define USAGE                                                                                                          \
  "usage: pamc-runner info\n"                                                                                          \
  "       pamc-runner run FOLDER --tasks a+b --input x.bin --output DIR [--threads N]\n"                               \
  "       pamc-runner selftest FOLDER [--tasks a+b]... [--threads N]\n"                                                \
  "       pamc-runner bench FOLDER --tasks a+b [--threads N] [--cpus 0-3,5] [--min-runs 100] [--min-seconds 3]\n"      \
  "                   [--max-seconds 60] [--warmup-runs 5] [--warmup-seconds 1] [--warmup-max-seconds 30]\n"           \
  "                   [--input x.bin] [--marks]\n"                                                                     \
  "Each takes --ort PATH, the shared library of ONNX Runtime. Without it: PAMC_ORT, or libonnxruntime.so beside the\n" \
  "program.\n"

typedef struct {
  const char *command, *folder, *input, *output, *ort, *cpus;
  const char **task_sets; /* as given, in the program's own list of arguments */
  size_t task_set_count;
  int64_t threads, min_runs, warmup_runs;
  double min_seconds, max_seconds, warmup_seconds, warmup_max_seconds;
  bool marks;
} options;

/* Read the arguments; PAMC_USAGE for anything unknown, repeated or out of range. `arguments` is reordered. */
pamc_code parse_options(int count, char **arguments, options *found, pamc_error *error);

#endif
