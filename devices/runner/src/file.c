#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

static bool contained(const char *relative) {
  const char *part = relative;
  for (const char *at = relative;; at++) {
    unsigned char c = (unsigned char)*at;
    if (c == '/' || c == '\0') {
      size_t length = (size_t)(at - part);
      if (length == 0 || strncmp(part, "..", length) == 0) return false; /* also "." */
      part = at + 1;
      if (c == '\0') return true;
    } else if (c < 0x20 || c == 0x7f || c == '\\') {
      return false;
    }
  }
}

pamc_code pamc_path(const char *folder, const char *relative, char **path, pamc_error *error) {
  if (!contained(relative))
    return pamc_fail(error, PAMC_FILES, NULL, "%s: the bundle names a path outside of itself", folder);
  size_t size = strlen(folder) + strlen(relative) + 2;
  char *joined = malloc(size);
  if (!joined) return pamc_fail_memory(error);
  snprintf(joined, size, "%s/%s", folder, relative);
  *path = joined;
  return PAMC_OK;
}

bool pamc_readable(const char *folder, const char *relative) {
  char *path;
  if (pamc_path(folder, relative, &path, NULL)) return false;
  bool found = access(path, R_OK) == 0;
  free(path);
  return found;
}

pamc_code pamc_map_path(const char *path, size_t most, pamc_file *file, pamc_error *error) {
  /* Without O_NONBLOCK a named pipe would make this wait for a writer. */
  int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return pamc_fail(error, PAMC_FILES, strerror(errno), "%s cannot be read", path);
  struct stat about;
  pamc_code code = PAMC_OK;
  *file = (pamc_file){NULL, 0};
  if (fstat(descriptor, &about) || !S_ISREG(about.st_mode)) {
    code = pamc_fail(error, PAMC_FILES, "it is not a file", "%s cannot be read", path);
  } else if (about.st_size < 0 || (uintmax_t)about.st_size > most) {
    code = pamc_fail(error, PAMC_FILES, "it is larger than such a file can be", "%s cannot be read", path);
  } else if (about.st_size > 0) {
    void *data = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (data == MAP_FAILED)
      code = pamc_fail(error, PAMC_FILES, strerror(errno), "%s cannot be read", path);
    else
      *file = (pamc_file){data, (size_t)about.st_size};
  }
  close(descriptor);
  return code;
}

pamc_code pamc_map(const char *folder, const char *relative, size_t most, pamc_file *file, pamc_error *error) {
  char *path;
  pamc_code code = pamc_path(folder, relative, &path, error);
  if (code) return code;
  code = pamc_map_path(path, most, file, error);
  free(path);
  return code;
}

void pamc_unmap(pamc_file *file) {
  if (file->data) munmap((void *)file->data, file->size);
  *file = (pamc_file){NULL, 0};
}
