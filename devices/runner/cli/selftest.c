/* pamc-runner selftest: every task set against the golden vectors of the bundle. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../src/bundle.h"
#include "../src/fail.h"
#include "../src/tensors.h"
#include "commands.h"

#define VECTORS "vectors.safetensors"

/* As pamc's verifier: floats may be off by 1e-4 of the largest magnitude. Where rounding alone does more, the build's own
 * runtime was off by as much. */
#define FLOAT_LIMIT 1e-4
#define TINY 1e-12

/* The verifier knows what rounding does to an int8 network by computing it; a board does not. So an output may be off
 * by 8 of the 255 steps that its golden values span, and by three times what the build's own runtime was off. */
#define INT8_STEPS (8.0 / 255)
#define TIMES_BUILT 3.0

/* An output of all samples against the vectors. */
typedef struct {
  pamc_tensor wanted;
  bool finite;
  double apart, largest, lowest, highest;
} comparison;

static float value_at(const void *data, size_t index) {
  float value;
  memcpy(&value, (const char *)data + index * sizeof value, sizeof value);
  return value;
}

static double larger(double one, double other) { return one < other ? other : one; }

static double smaller(double one, double other) { return other < one ? other : one; }

static void compare(comparison *seen, const pamc_tensor *found, size_t sample) {
  for (size_t i = 0; i < found->count; i++) {
    double wanted = value_at(seen->wanted.data, sample * found->count + i);
    double apart = fabs((double)value_at(found->data, i) - wanted);
    if (!isfinite(apart)) seen->finite = false;
    seen->apart = larger(seen->apart, apart);
    seen->largest = larger(seen->largest, fabs(wanted));
    seen->lowest = smaller(seen->lowest, wanted);
    seen->highest = larger(seen->highest, wanted);
  }
}

static double limit_of(const comparison *seen, const pamc_manifest *manifest, const char *task_set, const char *task) {
  double built = TIMES_BUILT * pamc_manifest_built_error(manifest, task_set, task) / larger(seen->largest, TINY);
  if (strcmp(manifest->numbers, "int8")) return larger(FLOAT_LIMIT, built);
  return INT8_STEPS * (seen->highest - seen->lowest) / larger(seen->largest, TINY) + built;
}

static bool report(const comparison *seen, double limit, const char *task_set, const char *task, lines *out) {
  double error = seen->finite ? seen->apart / larger(seen->largest, TINY) : INFINITY;
  bool ok = error <= limit;
  line_open(out, "checked");
  line_text(out, "task_set", task_set);
  line_text(out, "task", task);
  line_number(out, "error", error);
  line_number(out, "limit", limit);
  line_flag(out, "ok", ok);
  line_close(out);
  return ok;
}

/* The tensor `name` of the vectors, whose samples must look like `sample`. */
static pamc_code find_samples(const pamc_tensors *vectors, const char *name, const pamc_tensor *sample,
                              pamc_tensor *found, pamc_error *error) {
  pamc_code code = pamc_tensors_get(vectors, name, found, error);
  if (code) return code;
  bool same = found->dtype == sample->dtype && found->rank == sample->rank && found->shape[0] > 0;
  for (size_t i = 1; same && i < sample->rank; i++) same = found->shape[i] == sample->shape[i];
  return same ? PAMC_OK : pamc_fail(error, PAMC_FILES, NULL, "the test vectors of %s have another shape", name);
}

static pamc_code find_wanted(const pamc_tensors *vectors, const pamc_network *network, size_t index,
                             const pamc_tensor *input, comparison *seen, pamc_error *error) {
  pamc_tensor output = pamc_output(network, index);
  char name[64];
  snprintf(name, sizeof name, "output:%s", output.name);
  *seen = (comparison){.finite = true};
  pamc_code code = find_samples(vectors, name, &output, &seen->wanted, error);
  if (!code && seen->wanted.shape[0] != input->shape[0])
    code = pamc_fail(error, PAMC_FILES, NULL, "the test vectors of %s are of another number", name);
  return code;
}

static int check_network(pamc_network *network, const pamc_bundle *bundle, const pamc_tensors *vectors, lines *out,
                         pamc_error *error) {
  comparison seen[PAMC_MAX_TASKS];
  pamc_tensor given, input = pamc_input(network);
  pamc_code code = find_samples(vectors, "input", &input, &given, error);
  for (size_t i = 0; !code && i < pamc_output_count(network); i++)
    code = find_wanted(vectors, network, i, &given, &seen[i], error);
  for (size_t sample = 0; !code && sample < (size_t)given.shape[0] && !stopped(); sample++) {
    memcpy(input.data, (const char *)given.data + sample * input.bytes, input.bytes);
    code = pamc_run(network, error);
    for (size_t i = 0; !code && i < pamc_output_count(network); i++) {
      pamc_tensor found = pamc_output(network, i);
      compare(&seen[i], &found, sample);
    }
  }
  if (code || stopped()) return (int)code;
  bool ok = true;
  const char *task_set = pamc_loaded_task_set(network);
  for (size_t i = 0; i < pamc_output_count(network); i++) {
    const char *task = pamc_output(network, i).name;
    ok &= report(&seen[i], limit_of(&seen[i], pamc_manifest_of(bundle), task_set, task), task_set, task, out);
  }
  return ok ? PAMC_OK : WRONG_ANSWERS;
}

static int check_task_set(pamc_bundle *bundle, const char *task_set, int threads, const pamc_tensors *vectors,
                          lines *out, pamc_error *error) {
  pamc_network *network;
  pamc_code code = pamc_load(bundle, task_set, threads, &network, error);
  if (code) return (int)code;
  int status = check_network(network, bundle, vectors, out, error);
  pamc_unload(network);
  return status;
}

int selftest_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error) {
  bool all = asked->task_set_count == 0;
  size_t count = all ? pamc_task_set_count(bundle) : asked->task_set_count;
  if (!count) return (int)pamc_fail(error, PAMC_FILES, NULL, "%s has no networks", pamc_folder(bundle));
  pamc_tensors vectors;
  int status = (int)pamc_tensors_open(pamc_folder(bundle), VECTORS, &vectors, error);
  if (status) return status;
  for (size_t i = 0; i < count && !stopped(); i++) {
    const char *task_set = all ? pamc_task_set(bundle, i) : asked->task_sets[i];
    int found = check_task_set(bundle, task_set, (int)asked->threads, &vectors, out, error);
    if (found) status = found;
    if (found && found != WRONG_ANSWERS) break;
  }
  pamc_tensors_close(&vectors);
  return status;
}
