/* pamc.h: run a bundle of pamc from C, over ONNX Runtime's shared library.
 *
 *     pamc_bundle *bundle;
 *     pamc_network *network;
 *     pamc_error error;
 *     if (pamc_open("face-kit", NULL, &bundle, &error)) ...
 *     if (pamc_load(bundle, "age+smile", 1, &network, &error)) ...
 *     memcpy(pamc_input(network).data, pixels, pamc_input(network).bytes);
 *     if (pamc_run(network, &error)) ...
 *     const float *age = pamc_output(network, 0).data;
 *     pamc_unload(network);
 *     pamc_close(bundle);
 *
 * Functions that can fail return a code and, where `error` is not NULL, say what is wrong. On failure nothing is
 * handed out. There is no global state.
 *
 * Threads: a bundle may be used by several threads at once, and so may different networks of it. One network belongs
 * to one thread at a time. pamc_close comes after pamc_unload of all of its networks.
 *
 * Everything in the folder is checked before it is used, except what ONNX Runtime reads itself: the networks and their
 * weights. Check their sha256 against the manifest where the folder may have been changed.
 */
#ifndef PAMC_H
#define PAMC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAMC_VERSION "0.1.0"
#define PAMC_MAX_RANK 9

/* The codes are the exit statuses of pamc-runner as well. */
typedef enum {
  PAMC_OK = 0,
  PAMC_USAGE = 2,    /* an argument is wrong, such as a task that the bundle does not have */
  PAMC_RUNTIME = 5,  /* ONNX Runtime is missing, too old or refuses, or memory is exhausted */
  PAMC_FILES = 74    /* files of the bundle are missing or damaged */
} pamc_code;

typedef struct {
  pamc_code code;
  char what[384]; /* what is wrong, and where */
  char why[384];  /* the reason as the system or ONNX Runtime gives it; may be empty */
} pamc_error;

typedef enum { PAMC_UINT8, PAMC_FLOAT32 } pamc_dtype;

/* Values in row-major order, in the machine's own byte order. The first dimension is the batch, which is 1. */
typedef struct {
  const char *name; /* an output is called as its task */
  pamc_dtype dtype;
  size_t rank;
  int64_t shape[PAMC_MAX_RANK];
  size_t count; /* values */
  size_t bytes;
  void *data; /* NULL where there is no network behind it; valid until pamc_unload */
} pamc_tensor;

typedef struct pamc_bundle pamc_bundle;
typedef struct pamc_network pamc_network;

/* Open the bundle in `folder`. `library` is the path of ONNX Runtime's shared library, 1.17 or later; NULL leaves it
 * to the system to find libonnxruntime.so, as in an Android app that ships it. */
pamc_code pamc_open(const char *folder, const char *library, pamc_bundle **bundle, pamc_error *error);
void pamc_close(pamc_bundle *bundle);

const char *pamc_runtime_version(const pamc_bundle *bundle);

/* Tasks in their order, and the task sets whose networks lie in the folder. */
size_t pamc_task_count(const pamc_bundle *bundle);
const char *pamc_task(const pamc_bundle *bundle, size_t index);
size_t pamc_task_set_count(const pamc_bundle *bundle);
const char *pamc_task_set(const pamc_bundle *bundle, size_t index);

/* What every network of the bundle takes: raw values, before normalisation. */
pamc_tensor pamc_bundle_input(const pamc_bundle *bundle);

/* Prepare the network of one task set, such as "age+smile", in any order of its tasks. `threads` compute one
 * inference; it is at least 1. */
pamc_code pamc_load(pamc_bundle *bundle, const char *task_set, int threads, pamc_network **network, pamc_error *error);
void pamc_unload(pamc_network *network);

/* The input to fill, and the outputs, one per task in task order, that pamc_run writes: float32 always. */
pamc_tensor pamc_input(const pamc_network *network);
size_t pamc_output_count(const pamc_network *network);
pamc_tensor pamc_output(const pamc_network *network, size_t index);

/* One inference of what lies in the input. Allocates nothing of its own. */
pamc_code pamc_run(pamc_network *network, pamc_error *error);

#ifdef __cplusplus
}
#endif
#endif
