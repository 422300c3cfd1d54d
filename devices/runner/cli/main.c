/* pamc-runner: runs, checks and times the networks of a bundle on a device. What it says is documented in
 * docs/embedding.md. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../src/fail.h"
#include "../src/ort.h"
#include "commands.h"
#include "machine.h"

#define LIBRARY "libonnxruntime.so"
#define LONGEST 4096

static volatile sig_atomic_t stopping;

int stopped(void) { return stopping ? 128 + stopping : 0; }

/* The first signal ends the command at its next step; a second one ends the process. */
static void stop(int signal_number) {
  stopping = signal_number;
  signal(signal_number, SIG_DFL);
}

/* The library to load: as asked for, as PAMC_ORT says, or beside this program. NULL leaves it to the system. */
static const char *find_library(const options *asked, char *beside) {
  const char *named = asked->ort ? asked->ort : getenv("PAMC_ORT");
  if (named && *named) return named;
  ssize_t length = readlink("/proc/self/exe", beside, LONGEST - sizeof LIBRARY);
  if (length <= 0) return NULL;
  beside[length] = '\0';
  char *slash = strrchr(beside, '/');
  if (!slash) return NULL;
  memcpy(slash + 1, LIBRARY, sizeof LIBRARY);
  return beside;
}

/* The line comes first, even where there is no runtime: it shows that the program itself runs. */
static int info_command(const char *library, lines *out, pamc_error *error) {
  struct utsname about;
  pamc_ort ort;
  pamc_code code = pamc_ort_open(library, &ort, error);
  if (uname(&about)) memset(&about, 0, sizeof about);
  line_open(out, "info");
  line_text(out, "runner", PAMC_VERSION);
  line_text(out, "runtime", "onnxruntime");
  line_text(out, "runtime_version", code ? "" : ort.version);
  line_text(out, "machine", about.machine);
  line_integer(out, "cpus", count_cpus());
  line_close(out);
  pamc_ort_close(&ort);
  return (int)code;
}

static int bundle_command(const options *asked, const char *library, lines *out, pamc_error *error) {
  /* Before the library is loaded: its threads inherit the processors. */
  pamc_code code = asked->cpus ? pin_cpus(asked->cpus, error) : PAMC_OK;
  pamc_bundle *bundle = NULL;
  if (!code) code = pamc_open(asked->folder, library, &bundle, error);
  if (code) return (int)code;
  int status;
  if (strcmp(asked->command, "run") == 0) status = run_command(bundle, asked, out, error);
  else if (strcmp(asked->command, "selftest") == 0) status = selftest_command(bundle, asked, out, error);
  else status = bench_command(bundle, asked, out, error);
  pamc_close(bundle);
  return status;
}

static int command(int count, char **arguments, lines *out, pamc_error *error) {
  options asked;
  char beside[LONGEST];
  int status = (int)parse_options(count, arguments, &asked, error);
  if (status) return status;
  const char *library = find_library(&asked, beside);
  if (strcmp(asked.command, "info") == 0) return info_command(library, out, error);
  return bundle_command(&asked, library, out, error);
}

int main(int count, char **arguments) {
  /* ONNX Runtime would keep a data base of what it runs, and might send it; who wants that sets the variable to 0. */
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  if (count == 2 && strcmp(arguments[1], "--help") == 0)
    return write(STDOUT_FILENO, USAGE, sizeof USAGE - 1) < 0 ? PAMC_FILES : PAMC_OK;
  static lines out;
  out.descriptor = STDOUT_FILENO;
  pamc_error error = {0};
  /* Where nobody reads any more, a write fails instead. */
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, stop);
  signal(SIGINT, stop);
  signal(SIGHUP, stop);
  int status = command(count, arguments, &out, &error);
  if (stopped()) {
    status = stopped();
    pamc_fail(&error, PAMC_RUNTIME, "a signal asked for it", "the runner was stopped");
  }
  if (status && status != WRONG_ANSWERS) {
    line_open(&out, "error");
    line_text(&out, "what", error.what);
    line_text(&out, "why", error.why);
    line_close(&out);
  }
  int64_t before = out.count;
  line_open(&out, "end");
  line_integer(&out, "lines", before);
  line_integer(&out, "status", status);
  line_close(&out);
  return out.broken ? PAMC_FILES : status;
}
