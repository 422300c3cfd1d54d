/* Files of a bundle: nothing that a bundle names leads out of its folder. */
#ifndef PAMC_FILE_H
#define PAMC_FILE_H

#include <stdbool.h>

#include "../pamc.h"

/* A whole file, mapped for reading. An empty file has no bytes and no address. */
typedef struct {
  const unsigned char *data;
  size_t size;
} pamc_file;

/* `folder/relative` as a new string, to be freed. PAMC_FILES for a path that is absolute, climbs, or holds control
 * characters. */
pamc_code pamc_path(const char *folder, const char *relative, char **path, pamc_error *error);

/* Whether `folder/relative` is a proper path and can be read. */
bool pamc_readable(const char *folder, const char *relative);

/* Map `folder/relative`. PAMC_FILES when it is no readable regular file or has more than `most` bytes. */
pamc_code pamc_map(const char *folder, const char *relative, size_t most, pamc_file *file, pamc_error *error);

/* The same for any path. */
pamc_code pamc_map_path(const char *path, size_t most, pamc_file *file, pamc_error *error);

void pamc_unmap(pamc_file *file);

#endif
