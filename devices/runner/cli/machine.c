#include "machine.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../src/fail.h"

#define MOST_CPUS 1024
#define WORD_BITS ((long)(CHAR_BIT * sizeof(unsigned long)))

typedef struct {
  unsigned long words[MOST_CPUS / (CHAR_BIT * sizeof(unsigned long))];
} cpu_mask;

pamc_code read_clock(int64_t *last, pamc_error *error) {
  struct timespec time;
  if (clock_gettime(CLOCK_MONOTONIC_RAW, &time))
    return pamc_fail(error, PAMC_RUNTIME, strerror(errno), "the clock cannot be read");
  int64_t now = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
  if (now < *last) return pamc_fail(error, PAMC_RUNTIME, "its times would be wrong", "the clock went backwards");
  *last = now;
  return PAMC_OK;
}

/* By system calls, which C libraries wrap differently. */
static bool get_mask(cpu_mask *mask) {
  *mask = (cpu_mask){{0}};
  return syscall(SYS_sched_getaffinity, 0, sizeof *mask, mask) >= 0;
}

static int popcount(const cpu_mask *mask) {
  int count = 0;
  for (size_t i = 0; i < sizeof mask->words / sizeof *mask->words; i++)
    for (unsigned long word = mask->words[i]; word; word &= word - 1) count++;
  return count;
}

int count_cpus(void) {
  cpu_mask mask;
  int count = get_mask(&mask) ? popcount(&mask) : 0;
  return count > 0 ? count : 1;
}

static bool parse_cpu(const char **at, long *cpu) {
  if (**at < '0' || **at > '9') return false;
  char *end;
  errno = 0;
  *cpu = strtol(*at, &end, 10);
  *at = end;
  return !errno && *cpu < MOST_CPUS;
}

static bool parse_mask(const char *list, cpu_mask *mask) {
  *mask = (cpu_mask){{0}};
  for (const char *at = list;; at++) {
    long first, last;
    if (!parse_cpu(&at, &first)) return false;
    last = first;
    if (*at == '-') {
      at++;
      if (!parse_cpu(&at, &last)) return false;
    }
    if (last < first) return false;
    for (long cpu = first; cpu <= last; cpu++) mask->words[cpu / WORD_BITS] |= 1UL << cpu % WORD_BITS;
    if (*at == '\0') return true;
    if (*at != ',') return false;
  }
}

pamc_code pin_cpus(const char *list, pamc_error *error) {
  cpu_mask wanted, got;
  if (!parse_mask(list, &wanted))
    return pamc_fail(error, PAMC_USAGE, "write processors as 0-3,5", "'%s' is no list of processors", list);
  if (syscall(SYS_sched_setaffinity, 0, sizeof wanted, &wanted) || !get_mask(&got))
    return pamc_fail(error, PAMC_USAGE, strerror(errno), "the processors %s cannot be used", list);
  /* The system leaves out those that are offline or not ours without a word. */
  if (memcmp(&wanted, &got, sizeof got))
    return pamc_fail(error, PAMC_USAGE, "some are offline or not given to this process",
                     "the processors %s cannot be used", list);
  return PAMC_OK;
}

static bool find_kib(const char *text, const char *name, int64_t *kib) {
  const char *line = strstr(text, name);
  if (!line) return false;
  char *end;
  *kib = strtoll(line + strlen(name), &end, 10);
  return strncmp(end, " kB", 3) == 0;
}

pamc_code read_memory(int64_t *most, int64_t *now, pamc_error *error) {
  char text[8192];
  size_t size = 0;
  int descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  ssize_t part = descriptor < 0 ? -1 : 1;
  while (part > 0 && size < sizeof text - 1) {
    part = read(descriptor, text + size, sizeof text - 1 - size);
    if (part > 0) size += (size_t)part;
  }
  if (descriptor >= 0) close(descriptor);
  text[size] = '\0';
  if (part >= 0 && find_kib(text, "\nVmHWM:", most) && find_kib(text, "\nVmRSS:", now)) return PAMC_OK;
  return pamc_fail(error, PAMC_RUNTIME, "/proc/self/status does not say", "the resident memory is not known");
}
