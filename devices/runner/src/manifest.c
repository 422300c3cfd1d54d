#include "manifest.h"

#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "file.h"

#define FILE_NAME "manifest.json"
#define FORMAT "onnx"
#define MOST_BYTES ((size_t)16 << 20)
#define MOST_VALUES ((int64_t)1 << 28)
#define SCHEMA_VERSION 1

/* What pamc lets a task be called; such a name is also safe as the name of a file. */
static bool proper_name(const char *name) {
  size_t length = strlen(name);
  bool letter = (name[0] >= 'A' && name[0] <= 'Z') || (name[0] >= 'a' && name[0] <= 'z');
  const char *allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
  return letter && length <= 32 && strspn(name, allowed) == length;
}

/* The shape of one sample, to which a batch of 1 is added. */
static bool read_shape(const pamc_json_document *document, const pamc_json *value, pamc_tensor *tensor) {
  if (!value || value->kind != PAMC_ARRAY || value->count > PAMC_MAX_RANK - 1) return false;
  int64_t count = 1;
  tensor->rank = 0;
  tensor->shape[tensor->rank++] = 1;
  for (const pamc_json *item = pamc_json_first(document, value); item; item = pamc_json_next(document, item)) {
    int64_t size;
    if (!pamc_json_natural(item, &size) || size < 1 || size > MOST_VALUES / count) return false;
    tensor->shape[tensor->rank++] = size;
    count *= size;
  }
  tensor->count = (size_t)count;
  tensor->bytes = tensor->count * (tensor->dtype == PAMC_FLOAT32 ? sizeof(float) : 1);
  return true;
}

static bool read_input(pamc_manifest *manifest) {
  const pamc_json_document *document = &manifest->document;
  const pamc_json *input = pamc_json_get(document, document->values, "input");
  const char *dtype = pamc_json_string(pamc_json_get(document, input, "dtype"));
  if (!dtype || (strcmp(dtype, "uint8") && strcmp(dtype, "float32"))) return false;
  manifest->input = (pamc_tensor){.name = "input", .dtype = strcmp(dtype, "uint8") ? PAMC_FLOAT32 : PAMC_UINT8};
  return read_shape(document, pamc_json_get(document, input, "shape"), &manifest->input);
}

static bool read_tasks(pamc_manifest *manifest) {
  const pamc_json_document *document = &manifest->document;
  const pamc_json *tasks = pamc_json_get(document, document->values, "tasks");
  if (!tasks || tasks->kind != PAMC_ARRAY || tasks->count < 1 || tasks->count > PAMC_MAX_TASKS) return false;
  for (const pamc_json *item = pamc_json_first(document, tasks); item; item = pamc_json_next(document, item)) {
    const char *name = pamc_json_string(pamc_json_get(document, item, "name"));
    pamc_tensor *task = &manifest->tasks[manifest->task_count];
    if (!name || !proper_name(name)) return false;
    for (size_t i = 0; i < manifest->task_count; i++)
      if (strcmp(manifest->tasks[i].name, name) == 0) return false;
    *task = (pamc_tensor){.name = name, .dtype = PAMC_FLOAT32};
    if (!read_shape(document, pamc_json_get(document, item, "shape"), task)) return false;
    manifest->task_count++;
  }
  return true;
}

/* The network among the files of a task set: onnx/<name>.onnx. */
static const char *network_file(const pamc_json_document *document, const pamc_json *files) {
  if (!files || files->kind != PAMC_ARRAY) return NULL;
  for (const pamc_json *item = pamc_json_first(document, files); item; item = pamc_json_next(document, item)) {
    const char *file = pamc_json_string(item);
    size_t length = file ? strlen(file) : 0;
    if (length > 5 && strncmp(file, FORMAT "/", 5) == 0 && strcmp(file + length - 5, ".onnx") == 0) return file;
  }
  return NULL;
}

static bool read_entries(pamc_manifest *manifest) {
  const pamc_json_document *document = &manifest->document;
  const pamc_json *sets = pamc_json_get(document, document->values, "task_sets");
  if (!sets || sets->kind != PAMC_OBJECT) return false;
  if (sets->count && !(manifest->entries = calloc(sets->count, sizeof *manifest->entries))) return false;
  for (const pamc_json *set = pamc_json_first(document, sets); set; set = pamc_json_next(document, set)) {
    const pamc_json *emitted = pamc_json_get(document, set, "emitted");
    pamc_entry entry = {.name = set->key, .file = network_file(document, pamc_json_get(document, set, "files"))};
    if (!emitted || pamc_manifest_tasks(manifest, set->key, &entry.tasks, NULL)) return false;
    if (emitted->kind == PAMC_TRUE && entry.file) manifest->entries[manifest->entry_count++] = entry;
  }
  return true;
}

static const char *read_all(pamc_manifest *manifest) {
  const pamc_json_document *document = &manifest->document;
  const pamc_json *root = document->values;
  int64_t version;
  if (!pamc_json_natural(pamc_json_get(document, root, "schema_version"), &version)) return "it has no schema version";
  if (version != SCHEMA_VERSION) return "it is of a version that this runner does not know";
  const pamc_json *numerics = pamc_json_get(document, root, "numerics");
  manifest->numbers = pamc_json_string(pamc_json_get(document, numerics, "method"));
  if (!manifest->numbers) return "its numerics are malformed";
  if (!read_input(manifest)) return "its input is malformed";
  if (!read_tasks(manifest)) return "its tasks are malformed";
  if (!read_entries(manifest)) return "its task sets are malformed";
  return NULL;
}

pamc_code pamc_manifest_open(const char *folder, pamc_manifest *manifest, pamc_error *error) {
  *manifest = (pamc_manifest){0};
  pamc_file file;
  pamc_code code = pamc_map(folder, FILE_NAME, MOST_BYTES, &file, error);
  if (code) return code;
  const char *wrong = pamc_json_parse((const char *)file.data, file.size, &manifest->document);
  pamc_unmap(&file);
  if (!wrong) wrong = read_all(manifest);
  if (!wrong) return PAMC_OK;
  pamc_manifest_close(manifest);
  return pamc_fail(error, PAMC_FILES, wrong, "%s/" FILE_NAME " is damaged", folder);
}

void pamc_manifest_close(pamc_manifest *manifest) {
  free(manifest->entries);
  pamc_json_release(&manifest->document);
  *manifest = (pamc_manifest){0};
}

pamc_code pamc_manifest_tasks(const pamc_manifest *manifest, const char *text, uint32_t *tasks, pamc_error *error) {
  *tasks = 0;
  for (const char *at = text;; at++) {
    size_t length = strcspn(at, "+"), index = 0;
    while (index < manifest->task_count && (strlen(manifest->tasks[index].name) != length ||
                                            memcmp(manifest->tasks[index].name, at, length)))
      index++;
    if (index == manifest->task_count)
      return pamc_fail(error, PAMC_USAGE, "a task set is written as a+b, of tasks that the bundle has",
                       "'%.200s' is not a task set of the bundle", text);
    if (*tasks >> index & 1)
      return pamc_fail(error, PAMC_USAGE, NULL, "task '%s' appears twice", manifest->tasks[index].name);
    *tasks |= (uint32_t)1 << index;
    at += length;
    if (!*at) return PAMC_OK;
  }
}

static bool is_text(const pamc_json *value, const char *text) {
  const char *found = pamc_json_string(value);
  return found && strcmp(found, text) == 0;
}

double pamc_manifest_built_error(const pamc_manifest *manifest, const char *task_set, const char *task) {
  const pamc_json_document *document = &manifest->document;
  const pamc_json *checks = pamc_json_get(document, document->values, "verification");
  for (const pamc_json *item = pamc_json_first(document, checks); item; item = pamc_json_next(document, item)) {
    double error;
    if (is_text(pamc_json_get(document, item, "format"), FORMAT) &&
        is_text(pamc_json_get(document, item, "task_set"), task_set) &&
        is_text(pamc_json_get(document, item, "output"), task) &&
        pamc_json_double(pamc_json_get(document, item, "max_abs"), &error))
      return error;
  }
  return 0;
}
