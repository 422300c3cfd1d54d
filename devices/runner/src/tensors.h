/* safetensors files: 8 bytes with the length of a JSON header, the header, the values. */
#ifndef PAMC_TENSORS_H
#define PAMC_TENSORS_H

#include "file.h"
#include "json.h"

typedef struct {
  pamc_file file;
  pamc_json_document header;
  size_t start; /* of the values */
} pamc_tensors;

/* Open `folder/relative` and check every entry: its type, its shape, and that it lies in the file. */
pamc_code pamc_tensors_open(const char *folder, const char *relative, pamc_tensors *tensors, pamc_error *error);
void pamc_tensors_close(pamc_tensors *tensors);

/* The tensor `name`; PAMC_FILES when there is none. Its name and data live as long as `tensors`; data may be
 * unaligned. */
pamc_code pamc_tensors_get(const pamc_tensors *tensors, const char *name, pamc_tensor *found, pamc_error *error);

#endif
