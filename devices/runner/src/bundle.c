/* pamc.h: bundles and networks. */
#include "bundle.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "file.h"
#include "ort.h"

#define ALIGNMENT 64

struct pamc_bundle {
  char *folder;
  pamc_manifest manifest; /* its entries are those whose files are there */
  pamc_ort ort;
};

struct pamc_network {
  const pamc_bundle *bundle;
  const char *task_set;
  OrtSession *session;
  char *input_name;
  OrtValue *input_value;
  pamc_tensor input;
  size_t output_count;
  pamc_tensor outputs[PAMC_MAX_TASKS];
  const char *output_names[PAMC_MAX_TASKS];
  OrtValue *output_values[PAMC_MAX_TASKS];
};

static void keep_present(pamc_bundle *bundle) {
  pamc_manifest *manifest = &bundle->manifest;
  size_t kept = 0;
  for (size_t i = 0; i < manifest->entry_count; i++)
    if (pamc_readable(bundle->folder, manifest->entries[i].file)) manifest->entries[kept++] = manifest->entries[i];
  manifest->entry_count = kept;
}

pamc_code pamc_open(const char *folder, const char *library, pamc_bundle **opened, pamc_error *error) {
  pamc_bundle *bundle = calloc(1, sizeof *bundle);
  if (!bundle) return pamc_fail_memory(error);
  bundle->folder = strdup(folder);
  pamc_code code = bundle->folder ? PAMC_OK : pamc_fail_memory(error);
  if (!code) code = pamc_manifest_open(folder, &bundle->manifest, error);
  if (!code) keep_present(bundle);
  if (!code) code = pamc_ort_open(library, &bundle->ort, error);
  if (code) pamc_close(bundle);
  else *opened = bundle;
  return code;
}

void pamc_close(pamc_bundle *bundle) {
  if (!bundle) return;
  pamc_ort_close(&bundle->ort);
  pamc_manifest_close(&bundle->manifest);
  free(bundle->folder);
  free(bundle);
}

const char *pamc_runtime_version(const pamc_bundle *bundle) { return bundle->ort.version; }

size_t pamc_task_count(const pamc_bundle *bundle) { return bundle->manifest.task_count; }

const char *pamc_task(const pamc_bundle *bundle, size_t index) { return bundle->manifest.tasks[index].name; }

size_t pamc_task_set_count(const pamc_bundle *bundle) { return bundle->manifest.entry_count; }

const char *pamc_task_set(const pamc_bundle *bundle, size_t index) { return bundle->manifest.entries[index].name; }

pamc_tensor pamc_bundle_input(const pamc_bundle *bundle) { return bundle->manifest.input; }

const char *pamc_folder(const pamc_bundle *bundle) { return bundle->folder; }

const pamc_manifest *pamc_manifest_of(const pamc_bundle *bundle) { return &bundle->manifest; }

static pamc_code find_entry(const pamc_bundle *bundle, const char *text, const pamc_entry **entry, pamc_error *error) {
  const pamc_manifest *manifest = &bundle->manifest;
  uint32_t tasks;
  pamc_code code = pamc_manifest_tasks(manifest, text, &tasks, error);
  if (code) return code;
  for (size_t i = 0; i < manifest->entry_count; i++) {
    *entry = &manifest->entries[i];
    if ((*entry)->tasks == tasks) return PAMC_OK;
  }
  return pamc_fail(error, PAMC_FILES, NULL, "%s has no network of the task set '%s'", bundle->folder, text);
}

pamc_code pamc_find(const pamc_bundle *bundle, const char *text, const char **task_set, pamc_error *error) {
  const pamc_entry *entry;
  pamc_code code = find_entry(bundle, text, &entry, error);
  if (!code) *task_set = entry->name;
  return code;
}

/* Memory for a tensor, and a value of ONNX Runtime over it. */
static pamc_code make_value(const pamc_ort *ort, pamc_tensor *tensor, OrtValue **value, pamc_error *error) {
  if (posix_memalign(&tensor->data, ALIGNMENT, tensor->bytes)) {
    tensor->data = NULL;
    return pamc_fail_memory(error);
  }
  memset(tensor->data, 0, tensor->bytes);
  OrtMemoryInfo *memory;
  OrtStatus *status = ort->api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &memory);
  if (status) return pamc_ort_check(ort, status, false, tensor->name, "a tensor cannot be made", error);
  ONNXTensorElementDataType type =
      tensor->dtype == PAMC_UINT8 ? ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8 : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
  status = ort->api->CreateTensorWithDataAsOrtValue(memory, tensor->data, tensor->bytes, tensor->shape, tensor->rank,
                                                    type, value);
  ort->api->ReleaseMemoryInfo(memory);
  return pamc_ort_check(ort, status, false, tensor->name, "a tensor cannot be made", error);
}

/* The name of an input or output as a new string. */
static pamc_code copy_name(const pamc_network *network, bool input, size_t index, char **name, pamc_error *error) {
  const pamc_ort *ort = &network->bundle->ort;
  OrtAllocator *allocator;
  char *found;
  OrtStatus *status = ort->api->GetAllocatorWithDefaultOptions(&allocator);
  if (!status && input) status = ort->api->SessionGetInputName(network->session, index, allocator, &found);
  else if (!status) status = ort->api->SessionGetOutputName(network->session, index, allocator, &found);
  if (status) return pamc_ort_check(ort, status, true, network->task_set, "the network lacks a name", error);
  *name = strdup(found);
  status = ort->api->AllocatorFree(allocator, found);
  if (status) return pamc_ort_check(ort, status, false, network->task_set, "a name cannot be released", error);
  return *name ? PAMC_OK : pamc_fail_memory(error);
}

/* Whether the network answers its tasks, in their order. */
static pamc_code check_outputs(const pamc_network *network, pamc_error *error) {
  const pamc_ort *ort = &network->bundle->ort;
  size_t inputs, outputs;
  OrtStatus *status = ort->api->SessionGetInputCount(network->session, &inputs);
  if (!status) status = ort->api->SessionGetOutputCount(network->session, &outputs);
  if (status) return pamc_ort_check(ort, status, true, network->task_set, "the network is damaged", error);
  bool same = inputs == 1 && outputs == network->output_count;
  for (size_t i = 0; same && i < outputs; i++) {
    char *name;
    pamc_code code = copy_name(network, false, i, &name, error);
    if (code) return code;
    same = strcmp(name, network->output_names[i]) == 0;
    free(name);
  }
  if (same) return PAMC_OK;
  return pamc_fail(error, PAMC_FILES, "its inputs or outputs are not those of the manifest",
                   "the network of the task set '%s' is another one", network->task_set);
}

static pamc_code prepare(pamc_network *network, const pamc_entry *entry, int threads, pamc_error *error) {
  const pamc_bundle *bundle = network->bundle;
  char *path;
  pamc_code code = pamc_path(bundle->folder, entry->file, &path, error);
  if (code) return code;
  code = pamc_ort_session(&bundle->ort, path, threads, &network->session, error);
  free(path);
  if (!code) code = check_outputs(network, error);
  if (!code) code = copy_name(network, true, 0, &network->input_name, error);
  if (!code) code = make_value(&bundle->ort, &network->input, &network->input_value, error);
  for (size_t i = 0; !code && i < network->output_count; i++)
    code = make_value(&bundle->ort, &network->outputs[i], &network->output_values[i], error);
  return code;
}

pamc_code pamc_load(pamc_bundle *bundle, const char *task_set, int threads, pamc_network **loaded, pamc_error *error) {
  if (threads < 1) return pamc_fail(error, PAMC_USAGE, NULL, "an inference needs at least one thread, not %d", threads);
  const pamc_entry *entry;
  pamc_code code = find_entry(bundle, task_set, &entry, error);
  if (code) return code;
  pamc_network *network = calloc(1, sizeof *network);
  if (!network) return pamc_fail_memory(error);
  network->bundle = bundle;
  network->task_set = entry->name;
  network->input = bundle->manifest.input;
  for (size_t task = 0; task < bundle->manifest.task_count; task++) {
    if (!(entry->tasks >> task & 1)) continue;
    network->outputs[network->output_count] = bundle->manifest.tasks[task];
    network->output_names[network->output_count++] = bundle->manifest.tasks[task].name;
  }
  code = prepare(network, entry, threads, error);
  if (code) pamc_unload(network);
  else *loaded = network;
  return code;
}

void pamc_unload(pamc_network *network) {
  if (!network) return;
  const OrtApi *api = network->bundle->ort.api;
  if (network->input_value) api->ReleaseValue(network->input_value);
  for (size_t i = 0; i < network->output_count; i++) {
    if (network->output_values[i]) api->ReleaseValue(network->output_values[i]);
    free(network->outputs[i].data);
  }
  free(network->input.data);
  free(network->input_name);
  if (network->session) api->ReleaseSession(network->session);
  free(network);
}

pamc_tensor pamc_input(const pamc_network *network) { return network->input; }

size_t pamc_output_count(const pamc_network *network) { return network->output_count; }

pamc_tensor pamc_output(const pamc_network *network, size_t index) { return network->outputs[index]; }

const char *pamc_loaded_task_set(const pamc_network *network) { return network->task_set; }

pamc_code pamc_run(pamc_network *network, pamc_error *error) {
  const pamc_ort *ort = &network->bundle->ort;
  const char *input_names[] = {network->input_name};
  const OrtValue *inputs[] = {network->input_value};
  OrtStatus *status = ort->api->Run(network->session, NULL, input_names, inputs, 1, network->output_names,
                                    network->output_count, network->output_values);
  return pamc_ort_check(ort, status, true, network->task_set, "the network does not run", error);
}
