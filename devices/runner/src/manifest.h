/* manifest.json: the tasks of a bundle, its input, and where the network of each task set lies. */
#ifndef PAMC_MANIFEST_H
#define PAMC_MANIFEST_H

#include "json.h"
#include "../pamc.h"

#define PAMC_MAX_TASKS 16
#define PAMC_MAX_TASK_SET (PAMC_MAX_TASKS * 33) /* bytes of a task set's name, with its end */

/* A task set whose network was written, as `file` relative to the bundle. */
typedef struct {
  const char *name;
  const char *file;
  uint32_t tasks; /* a bit for each */
} pamc_entry;

typedef struct {
  pamc_json_document document; /* holds all texts */
  pamc_tensor input;           /* of one sample, without data */
  size_t task_count;
  pamc_tensor tasks[PAMC_MAX_TASKS]; /* their outputs, without data */
  size_t entry_count;
  pamc_entry *entries;
  const char *numbers; /* float32, float16 or int8 */
} pamc_manifest;

/* Read the manifest in `folder`. PAMC_FILES for anything that is not as pamc writes it. */
pamc_code pamc_manifest_open(const char *folder, pamc_manifest *manifest, pamc_error *error);
void pamc_manifest_close(pamc_manifest *manifest);

/* The tasks of a text such as "smile+age" as bits; PAMC_USAGE for an unknown or repeated task. */
pamc_code pamc_manifest_tasks(const pamc_manifest *manifest, const char *text, uint32_t *tasks, pamc_error *error);

/* How far one output was from the PyTorch networks when the bundle was built, as the largest absolute error in the format
 * "onnx"; 0 where the manifest does not say. */
double pamc_manifest_built_error(const pamc_manifest *manifest, const char *task_set, const char *task);

#endif
