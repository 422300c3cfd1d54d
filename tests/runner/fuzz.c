/* Opens the files of each folder named as a bundle does, and reads all of them. */
#include <stdio.h>

#include "../../devices/runner/src/manifest.h"
#include "../../devices/runner/src/tensors.h"

static double read_values(const pamc_tensor *tensor) {
  double sum = 0;
  for (size_t i = 0; i < tensor->bytes; i++) sum += ((const unsigned char *)tensor->data)[i];
  return sum;
}

static int open_vectors(const char *folder, double *sum) {
  pamc_tensors tensors;
  pamc_tensor found;
  pamc_error error;
  if (pamc_tensors_open(folder, "vectors.safetensors", &tensors, &error)) return 0;
  for (const pamc_json *entry = pamc_json_first(&tensors.header, tensors.header.values); entry;
       entry = pamc_json_next(&tensors.header, entry))
    if (!pamc_tensors_get(&tensors, entry->key, &found, &error)) *sum += read_values(&found);
  pamc_tensors_close(&tensors);
  return 1;
}

static int open_manifest(const char *folder, double *sum) {
  pamc_manifest manifest;
  pamc_error error;
  if (pamc_manifest_open(folder, &manifest, &error)) return 0;
  for (size_t i = 0; i < manifest.entry_count; i++)
    for (size_t k = 0; k < manifest.task_count; k++)
      *sum += pamc_manifest_built_error(&manifest, manifest.entries[i].name, manifest.tasks[k].name);
  pamc_manifest_close(&manifest);
  return 1;
}

int main(int count, char **arguments) {
  double sum = 0;
  for (int i = 1; i < count; i++) {
    int vectors = open_vectors(arguments[i], &sum), manifest = open_manifest(arguments[i], &sum);
    printf("%d %d\n", vectors, manifest);
  }
  return sum < 0;
}
