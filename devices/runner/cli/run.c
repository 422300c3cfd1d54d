/* pamc-runner run: one inference, from a file to files. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../src/fail.h"
#include "commands.h"

pamc_code read_input(const pamc_network *network, const char *path, pamc_error *error) {
  pamc_tensor input = pamc_input(network);
  pamc_file file;
  pamc_code code = pamc_map_path(path, SIZE_MAX, &file, error);
  if (code) return code;
  if (file.size == input.bytes) memcpy(input.data, file.data, input.bytes);
  else
    code = pamc_fail(error, PAMC_USAGE, NULL, "%s has %zu bytes, an input has %zu", path, file.size, input.bytes);
  pamc_unmap(&file);
  return code;
}

static bool write_all(const char *path, const void *data, size_t size) {
  int descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor < 0) return false;
  const char *at = data;
  while (size) {
    ssize_t written = write(descriptor, at, size);
    if (written <= 0 && errno != EINTR) break;
    if (written <= 0) continue;
    at += written;
    size -= (size_t)written;
  }
  /* A full disk may show only now. */
  return close(descriptor) == 0 && size == 0;
}

/* Write DIR/<task>.bin; it gets its name only when it is complete. */
static pamc_code write_output(const char *folder, const pamc_tensor *output, pamc_error *error) {
  size_t size = strlen(folder) + strlen(output->name) + sizeof "/..bin.part";
  char *path = malloc(size), *partial = malloc(size);
  pamc_code code = path && partial ? PAMC_OK : pamc_fail_memory(error);
  if (!code) {
    snprintf(path, size, "%s/%s.bin", folder, output->name);
    snprintf(partial, size, "%s/.%s.bin.part", folder, output->name);
    if (!write_all(partial, output->data, output->bytes) || rename(partial, path)) {
      code = pamc_fail(error, PAMC_FILES, strerror(errno), "%s cannot be written", path);
      unlink(partial);
    }
  }
  free(path);
  free(partial);
  return code;
}

static pamc_code write_outputs(const pamc_network *network, const char *folder, lines *out, pamc_error *error) {
  if (mkdir(folder, 0777) && errno != EEXIST)
    return pamc_fail(error, PAMC_FILES, strerror(errno), "%s cannot be made", folder);
  for (size_t i = 0; i < pamc_output_count(network); i++) {
    pamc_tensor output = pamc_output(network, i);
    pamc_code code = write_output(folder, &output, error);
    if (code) return code;
    char file[64];
    snprintf(file, sizeof file, "%s.bin", output.name);
    line_open(out, "output");
    line_text(out, "task", output.name);
    line_integers(out, "shape", output.shape, output.rank);
    line_text(out, "file", file);
    line_close(out);
  }
  return PAMC_OK;
}

int run_command(pamc_bundle *bundle, const options *asked, lines *out, pamc_error *error) {
  pamc_network *network;
  pamc_code code = pamc_load(bundle, asked->task_sets[0], (int)asked->threads, &network, error);
  if (code) return (int)code;
  code = read_input(network, asked->input, error);
  if (!code) code = pamc_run(network, error);
  if (!code) code = write_outputs(network, asked->output, out, error);
  pamc_unload(network);
  return (int)code;
}
