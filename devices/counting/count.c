/* A QEMU plugin that counts the A64 instructions between system calls, by class.
 *
 * syscall(0x5041, 1, n) begins region n and syscall(0x5041, 2, n) ends it; no kernel has a call of that number.
 * Options: out=FILE for what was counted; parts=N also counts the N parts of each region after the first one.
 *
 * The parts of a region are the calls from one place: of all places that call a function by a pointer, the one from
 * which region 0 made exactly N calls, and in them ran the most instructions. For an inference of N kernels that is
 * the loop over the kernels. Nothing is known of the program but that.
 *
 * The lines of FILE are JSON: {"classes": [names]}, then {"region": n, "classes": [counts], "parts": [[counts], ...]}
 * with "found": false where no place called N times. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classes.h"
#include "qemu.h"

#define EXPORTED __attribute__((visibility("default")))
#define MARK 0x5041
#define DEEPEST 4096

EXPORTED int qemu_plugin_version = PAMC_QEMU_API;

typedef struct {
  uint64_t of[A64_CLASSES];
} counts;

/* A place that calls by a pointer, in region 0. */
typedef struct site {
  uint64_t address, calls, instructions;
  struct site *next;
} site;

/* Instructions that run one after another. `call` is where they end by calling through a pointer, or NULL. */
typedef struct {
  uint64_t address;
  counts classes;
  uint64_t instructions;
  site *call;
} block;

/* A call that has not returned yet. */
typedef struct {
  site *from;
  uint64_t back, before;
  counts start;
} call;

static FILE *out;
static bool counting;
static uint64_t region, wanted, total;
static counts now;
static site *sites, *chosen;
static call calls[DEEPEST];
static size_t depth, parts;
static counts *part;

static _Noreturn void die(const char *why) {
  fprintf(stderr, "pamc counting: %s\n", why);
  exit(70);
}

static site *site_at(uint64_t address) {
  for (site *each = sites; each; each = each->next)
    if (each->address == address) return each;
  site *made = calloc(1, sizeof *made);
  if (!made) die("out of memory");
  *made = (site){.address = address, .next = sites};
  return sites = made;
}

static void returned(void) {
  call *last = &calls[--depth];
  last->from->calls++;
  last->from->instructions += total - last->before;
  if (last->from != chosen || parts == wanted) return;
  for (int i = 0; i < A64_CLASSES; i++) part[parts].of[i] = now.of[i] - last->start.of[i];
  parts++;
}

static void executed(unsigned cpu, void *given) {
  (void)cpu;
  if (!counting) return;
  const block *ran = given;
  while (depth && calls[depth - 1].back == ran->address) returned();
  for (int i = 0; i < A64_CLASSES; i++) now.of[i] += ran->classes.of[i];
  total += ran->instructions;
  if (!wanted || !ran->call || (region && ran->call != chosen)) return;
  if (depth == DEEPEST) die("calls are nested too deep");
  calls[depth++] = (call){ran->call, ran->call->address + 4, total, now};
}

static uint32_t word_of(const struct qemu_plugin_insn *instruction) {
  uint32_t word = 0;
#if PAMC_QEMU_API >= 3
  qemu_plugin_insn_data(instruction, &word, sizeof word);
#else
  memcpy(&word, qemu_plugin_insn_data(instruction), sizeof word);
#endif
  return word;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb) {
  (void)id;
  /* Never freed: QEMU may run a block until the process ends. */
  block *made = calloc(1, sizeof *made);
  if (!made) die("out of memory");
  made->address = qemu_plugin_tb_vaddr(tb);
  made->instructions = qemu_plugin_tb_n_insns(tb);
  uint32_t word = 0;
  for (size_t i = 0; i < made->instructions; i++) {
    word = word_of(qemu_plugin_tb_get_insn(tb, i));
    made->classes.of[a64_classify(word)]++;
  }
  /* BLR, which ends a block. */
  if (wanted && (word & 0xfffffc1f) == 0xd63f0000) made->call = site_at(made->address + 4 * (made->instructions - 1));
  qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, made);
}

static void choose(void) {
  for (site *each = sites; each; each = each->next)
    if (each->calls == wanted && (!chosen || each->instructions > chosen->instructions)) chosen = each;
}

static void print_counts(const counts *of) {
  for (int i = 0; i < A64_CLASSES; i++) fprintf(out, "%s%" PRIu64, i ? "," : "[", of->of[i]);
  fputc(']', out);
}

static void report(void) {
  fprintf(out, "{\"region\":%" PRIu64 ",\"classes\":", region);
  print_counts(&now);
  if (wanted && region) {
    fprintf(out, ",\"found\":%s,\"parts\":[", chosen ? "true" : "false");
    for (size_t i = 0; i < parts; i++) {
      if (i) fputc(',', out);
      print_counts(&part[i]);
    }
    fputc(']', out);
  }
  fputs("}\n", out);
  if (fflush(out)) die("the counts cannot be written");
}

static void called(qemu_plugin_id_t id, unsigned cpu, int64_t number, uint64_t what, uint64_t which, uint64_t a3,
                   uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
  (void)id, (void)cpu, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
  if (number != MARK) return;
  counting = what == 1;
  if (counting) {
    region = which;
    now = (counts){0};
    total = depth = parts = 0;
    return;
  }
  if (wanted && !region) choose();
  report();
}

static bool option(const char *text, const char *name, const char **value) {
  size_t length = strlen(name);
  if (strncmp(text, name, length) != 0) return false;
  *value = text + length;
  return true;
}

#define NAME(name) ",\"" #name "\""

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
  (void)info;
  const char *value;
  for (int i = 0; i < argc; i++) {
    if (option(argv[i], "out=", &value)) out = fopen(value, "w");
    else if (option(argv[i], "parts=", &value)) wanted = strtoull(value, NULL, 10);
    else return 1;
  }
  part = calloc(wanted + 1, sizeof *part);
  if (!out || !part) return 1;
  fprintf(out, "{\"classes\":[%s]}\n", 1 + CLASSES(NAME) "");
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_vcpu_syscall_cb(id, called);
  return 0;
}
