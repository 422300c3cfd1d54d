#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "../src/fail.h"

#define MOST_THREADS 1024
#define MOST_RUNS 10000000
#define MOST_SECONDS 86400

typedef enum { TEXT, COUNT, SECONDS, FLAG, TASK_SETS } kind;

/* One option: the commands that know it, and where its value goes. */
typedef struct {
  const char *name, *commands;
  kind kind;
  size_t offset;
  int64_t least, most;
} option_rule;

#define AT(field) offsetof(options, field)

static const option_rule rules[] = {
    {"--ort", "info run selftest bench", TEXT, AT(ort), 0, 0},
    {"--tasks", "run selftest bench", TASK_SETS, 0, 0, 0},
    {"--threads", "run selftest bench", COUNT, AT(threads), 1, MOST_THREADS},
    {"--input", "run bench", TEXT, AT(input), 0, 0},
    {"--output", "run", TEXT, AT(output), 0, 0},
    {"--cpus", "bench", TEXT, AT(cpus), 0, 0},
    {"--min-runs", "bench", COUNT, AT(min_runs), 1, MOST_RUNS},
    {"--min-seconds", "bench", SECONDS, AT(min_seconds), 0, 0},
    {"--max-seconds", "bench", SECONDS, AT(max_seconds), 0, 0},
    {"--warmup-runs", "bench", COUNT, AT(warmup_runs), 0, MOST_RUNS},
    {"--warmup-seconds", "bench", SECONDS, AT(warmup_seconds), 0, 0},
    {"--warmup-max-seconds", "bench", SECONDS, AT(warmup_max_seconds), 0, 0},
    {"--marks", "bench", FLAG, AT(marks), 0, 0},
};

#define RULES (sizeof rules / sizeof *rules)

static bool has_word(const char *words, const char *word) {
  size_t length = strlen(word);
  for (const char *at = words; length && (at = strstr(at, word)); at += length)
    if ((at == words || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) return true;
  return false;
}

static bool read_count(const char *text, const option_rule *rule, int64_t *value) {
  char *end;
  errno = 0;
  *value = strtoll(text, &end, 10);
  return text[0] >= '0' && text[0] <= '9' && !*end && !errno && *value >= rule->least && *value <= rule->most;
}

static bool read_seconds(const char *text, double *value) {
  char *end;
  *value = strtod(text, &end);
  return text[0] >= '0' && text[0] <= '9' && !*end && isfinite(*value) && *value <= MOST_SECONDS;
}

static bool store(const option_rule *rule, const char *value, options *found) {
  char *at = (char *)found + rule->offset;
  switch (rule->kind) {
    case TEXT: *(const char **)(void *)at = value; return *value != '\0';
    case COUNT: return read_count(value, rule, (int64_t *)(void *)at);
    case SECONDS: return read_seconds(value, (double *)(void *)at);
    case FLAG: *(bool *)(void *)at = true; return true;
    case TASK_SETS: found->task_sets[found->task_set_count++] = value; return true;
  }
  return false;
}

static pamc_code parse_option(int count, char **arguments, int *index, bool *seen, options *found, pamc_error *error) {
  const char *name = arguments[*index];
  size_t i = 0;
  while (i < RULES && (strcmp(rules[i].name, name) || !has_word(rules[i].commands, found->command))) i++;
  if (i == RULES) return pamc_fail(error, PAMC_USAGE, NULL, "%s does not know the option '%s'", found->command, name);
  if (seen[i] && rules[i].kind != TASK_SETS) return pamc_fail(error, PAMC_USAGE, NULL, "%s is given twice", name);
  seen[i] = true;
  if (rules[i].kind != FLAG && ++*index == count)
    return pamc_fail(error, PAMC_USAGE, NULL, "%s needs a value", name);
  if (!store(&rules[i], arguments[*index], found))
    return pamc_fail(error, PAMC_USAGE, NULL, "'%s' is no value for %s", arguments[*index], name);
  return PAMC_OK;
}

static pamc_code check_needs(const options *found, pamc_error *error) {
  bool run = strcmp(found->command, "run") == 0, bench = strcmp(found->command, "bench") == 0;
  bool info = strcmp(found->command, "info") == 0;
  const char *missing = NULL;
  if (!info && !found->folder) missing = "a folder";
  else if ((run || bench) && found->task_set_count != 1) missing = "--tasks once";
  else if (run && !found->input) missing = "--input";
  else if (run && !found->output) missing = "--output";
  return missing ? pamc_fail(error, PAMC_USAGE, NULL, "%s needs %s", found->command, missing) : PAMC_OK;
}

pamc_code parse_options(int count, char **arguments, options *found, pamc_error *error) {
  bool seen[RULES] = {false};
  *found = (options){.command = count > 1 ? arguments[1] : "", .threads = 1, .min_runs = 100, .warmup_runs = 5};
  found->min_seconds = 3;
  found->max_seconds = 60;
  found->warmup_seconds = 1;
  found->warmup_max_seconds = 30;
  /* Values of --tasks gather at the front of the list, over what was read already. */
  found->task_sets = (const char **)arguments;
  if (!has_word("info run selftest bench", found->command))
    return pamc_fail(error, PAMC_USAGE, "there are info, run, selftest and bench", "'%s' is no command",
                     found->command);
  for (int index = 2; index < count; index++) {
    pamc_code code = PAMC_OK;
    if (arguments[index][0] == '-') code = parse_option(count, arguments, &index, seen, found, error);
    else if (found->folder) code = pamc_fail(error, PAMC_USAGE, NULL, "'%s' is too much", arguments[index]);
    else found->folder = arguments[index];
    if (code) return code;
  }
  return check_needs(found, error);
}
