/* pamc-runner bench: one task set in one process, every time kept. */
#include <math.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../src/bundle.h"
#include "../src/fail.h"
#include "commands.h"
#include "machine.h"

#define SECOND 1e9
#define MARK 0x5041
#define WINDOW 10
#define STEADY 0.01
#define SAMPLES_PER_LINE 4096

typedef struct {
  int64_t *starts, *times;
  size_t count, capacity;
} samples;

static bool keep(samples *kept, int64_t start, int64_t time) {
  if (kept->count == kept->capacity) {
    size_t capacity = kept->capacity ? 2 * kept->capacity : 1024;
    int64_t *starts = realloc(kept->starts, capacity * sizeof *starts);
    if (starts) kept->starts = starts;
    int64_t *times = realloc(kept->times, capacity * sizeof *times);
    if (times) kept->times = times;
    if (!starts || !times) return false;
    kept->capacity = capacity;
  }
  kept->starts[kept->count] = start;
  kept->times[kept->count++] = time;
  return true;
}

/* One inference between two readings of the clock. With `marks`, system calls that no kernel has tell an emulator where
 * it begins and ends. */
static pamc_code time_run(pamc_network *network, bool marks, size_t index, int64_t *clock, int64_t *start,
                          pamc_error *error) {
  pamc_code code = read_clock(clock, error);
  if (code) return code;
  *start = *clock;
  if (marks) syscall(MARK, 1, index);
  code = pamc_run(network, error);
  if (marks) syscall(MARK, 2, index);
  return code ? code : read_clock(clock, error);
}

static int by_size(const void *left, const void *right) {
  int64_t one = *(const int64_t *)left, other = *(const int64_t *)right;
  return (one > other) - (one < other);
}

static double median(const int64_t *times) {
  int64_t sorted[WINDOW];
  for (size_t i = 0; i < WINDOW; i++) sorted[i] = times[i];
  qsort(sorted, WINDOW, sizeof *sorted, by_size);
  return (double)(sorted[WINDOW / 2 - 1] + sorted[WINDOW / 2]) / 2;
}

/* Run until the least is done and the median of ten runs is that of the ten before, or the time is up. */
static pamc_code warm_up(pamc_network *network, const options *asked, int64_t *clock, lines *out, pamc_error *error) {
  int64_t begin = *clock, start, window[WINDOW], runs = 0;
  double before = INFINITY;
  bool steady = false;
  while (!stopped()) {
    double passed = (double)(*clock - begin);
    bool least = runs >= asked->warmup_runs && passed >= asked->warmup_seconds * SECOND;
    if (runs >= asked->warmup_runs && passed >= asked->warmup_max_seconds * SECOND) break;
    if (least && steady) break;
    pamc_code code = time_run(network, false, 0, clock, &start, error);
    if (code) return code;
    window[runs++ % WINDOW] = *clock - start;
    if (runs % WINDOW) continue;
    double now = median(window);
    steady = fabs(now - before) < STEADY * before;
    before = now;
  }
  line_open(out, "warm");
  line_integer(out, "runs", runs);
  line_integer(out, "ns", *clock - begin);
  line_flag(out, "steady", steady);
  line_close(out);
  return PAMC_OK;
}

static pamc_code measure(pamc_network *network, const options *asked, int64_t *clock, samples *kept,
                         pamc_error *error) {
  int64_t begin = *clock, start;
  while (!stopped()) {
    double passed = (double)(*clock - begin);
    bool least = kept->count >= (size_t)asked->min_runs && passed >= asked->min_seconds * SECOND;
    if (kept->count && (least || passed >= asked->max_seconds * SECOND)) break;
    pamc_code code = time_run(network, asked->marks, kept->count, clock, &start, error);
    if (code) return code;
    if (!keep(kept, start, *clock - start)) return pamc_fail_memory(error);
  }
  return PAMC_OK;
}

static void report_samples(const samples *kept, const char *task_set, lines *out) {
  for (size_t i = 0; i < kept->count; i++) kept->starts[kept->count - 1 - i] -= kept->starts[0];
  for (size_t at = 0; at < kept->count; at += SAMPLES_PER_LINE) {
    size_t rest = kept->count - at, part = rest < SAMPLES_PER_LINE ? rest : SAMPLES_PER_LINE;
    line_open(out, "samples");
    line_text(out, "task_set", task_set);
    line_integers(out, "start_ns", kept->starts + at, part);
    line_integers(out, "ns", kept->times + at, part);
    line_close(out);
  }
}

static pamc_code report_memory(lines *out, pamc_error *error) {
  int64_t most, now;
  pamc_code code = read_memory(&most, &now, error);
  if (code) return code;
  line_open(out, "memory");
  line_integer(out, "vm_hwm_kib", most);
  line_integer(out, "vm_rss_kib", now);
  line_close(out);
  return PAMC_OK;
}

static pamc_code bench(pamc_network *network, const options *asked, int64_t *clock, int64_t load, lines *out,
                       pamc_error *error) {
  const char *task_set = pamc_loaded_task_set(network);
  int64_t start;
  pamc_code code = asked->input ? read_input(network, asked->input, error) : PAMC_OK;
  if (!code) code = time_run(network, false, 0, clock, &start, error);
  if (code) return code;
  line_open(out, "loaded");
  line_text(out, "task_set", task_set);
  line_integer(out, "load_ns", load);
  line_integer(out, "first_ns", *clock - start);
  line_close(out);
  samples kept = {0};
  code = warm_up(network, asked, clock, out, error);
  if (!code) code = measure(network, asked, clock, &kept, error);
  if (!code && !stopped()) report_samples(&kept, task_set, out);
  if (!code && !stopped()) code = report_memory(out, error);
  free(kept.starts);
  free(kept.times);
  return code;
}

int bench_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error) {
  int64_t clock = 0;
  pamc_network *network;
  pamc_code code = read_clock(&clock, error);
  if (code) return (int)code;
  int64_t begin = clock;
  code = pamc_load(bundle, asked->task_sets[0], (int)asked->threads, &network, error);
  if (code) return (int)code;
  code = read_clock(&clock, error);
  if (!code) code = bench(network, asked, &clock, clock - begin, out, error);
  pamc_unload(network);
  return (int)code;
}
