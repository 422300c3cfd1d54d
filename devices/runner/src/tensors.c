#include "tensors.h"

#include <string.h>

#include "fail.h"

#define MOST_BYTES ((size_t)1 << 30)
#define MOST_HEADER ((uint64_t)1 << 20)

static bool read_dtype(const pamc_json *value, pamc_dtype *dtype) {
  const char *text = pamc_json_string(value);
  *dtype = text && strcmp(text, "U8") == 0 ? PAMC_UINT8 : PAMC_FLOAT32;
  return text && (*dtype == PAMC_UINT8 || strcmp(text, "F32") == 0);
}

/* Shape, count and bytes from a list of sizes. */
static bool read_shape(const pamc_json_document *header, const pamc_json *value, pamc_tensor *found) {
  if (!value || value->kind != PAMC_ARRAY || value->count > PAMC_MAX_RANK) return false;
  found->rank = 0;
  uint64_t count = 1;
  for (const pamc_json *item = pamc_json_first(header, value); item; item = pamc_json_next(header, item)) {
    int64_t size;
    if (!pamc_json_natural(item, &size) || size > (int64_t)MOST_BYTES) return false;
    found->shape[found->rank++] = size;
    count *= (uint64_t)size;
    if (count > MOST_BYTES) return false;
  }
  found->count = (size_t)count;
  found->bytes = found->count * (found->dtype == PAMC_FLOAT32 ? sizeof(float) : 1);
  return true;
}

static bool read_entry(const pamc_tensors *tensors, const pamc_json *entry, pamc_tensor *found) {
  const pamc_json_document *header = &tensors->header;
  *found = (pamc_tensor){.name = entry->key};
  if (!read_dtype(pamc_json_get(header, entry, "dtype"), &found->dtype)) return false;
  if (!read_shape(header, pamc_json_get(header, entry, "shape"), found)) return false;
  const pamc_json *offsets = pamc_json_get(header, entry, "data_offsets");
  if (!offsets || offsets->kind != PAMC_ARRAY || offsets->count != 2) return false;
  const pamc_json *first = pamc_json_first(header, offsets);
  int64_t begin, end;
  if (!pamc_json_natural(first, &begin) || !pamc_json_natural(pamc_json_next(header, first), &end)) return false;
  size_t size = tensors->file.size - tensors->start;
  if (begin > end || (uint64_t)end > size || (size_t)(end - begin) != found->bytes) return false;
  found->data = (void *)(tensors->file.data + tensors->start + (size_t)begin);
  return true;
}

static const char *read_header(pamc_tensors *tensors) {
  const pamc_file *file = &tensors->file;
  if (file->size < 8) return "it is cut off";
  uint64_t length = 0;
  for (int i = 7; i >= 0; i--) length = length << 8 | file->data[i];
  if (length > MOST_HEADER || length > file->size - 8) return "its header is cut off";
  tensors->start = 8 + (size_t)length;
  const char *wrong = pamc_json_parse((const char *)file->data + 8, (size_t)length, &tensors->header);
  if (wrong) return wrong;
  if (tensors->header.values[0].kind != PAMC_OBJECT) return "its header is not an object";
  for (const pamc_json *entry = pamc_json_first(&tensors->header, tensors->header.values); entry;
       entry = pamc_json_next(&tensors->header, entry)) {
    pamc_tensor found;
    if (strcmp(entry->key, "__metadata__") && !read_entry(tensors, entry, &found)) return "an entry is malformed";
  }
  return NULL;
}

pamc_code pamc_tensors_open(const char *folder, const char *relative, pamc_tensors *tensors, pamc_error *error) {
  *tensors = (pamc_tensors){0};
  pamc_code code = pamc_map(folder, relative, MOST_BYTES, &tensors->file, error);
  if (code) return code;
  const char *wrong = read_header(tensors);
  if (!wrong) return PAMC_OK;
  pamc_tensors_close(tensors);
  return pamc_fail(error, PAMC_FILES, wrong, "%s/%s is damaged", folder, relative);
}

void pamc_tensors_close(pamc_tensors *tensors) {
  pamc_json_release(&tensors->header);
  pamc_unmap(&tensors->file);
}

pamc_code pamc_tensors_get(const pamc_tensors *tensors, const char *name, pamc_tensor *found, pamc_error *error) {
  const pamc_json *entry = pamc_json_get(&tensors->header, tensors->header.values, name);
  if (!entry || !read_entry(tensors, entry, found))
    return pamc_fail(error, PAMC_FILES, NULL, "the test vectors lack %s", name);
  return PAMC_OK;
}
