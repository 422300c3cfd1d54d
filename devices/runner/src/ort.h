/* ONNX Runtime's C API, found in a shared library at run time. */
#ifndef PAMC_ORT_H
#define PAMC_ORT_H

#include <stdbool.h>

#include "../pamc.h"
#include <onnxruntime_c_api.h>

typedef struct {
  const OrtApi *api;
  const char *version;
  OrtEnv *env;
} pamc_ort;

/* Open `library` (NULL: libonnxruntime.so as the system finds it). PAMC_RUNTIME when it is missing or too old. */
pamc_code pamc_ort_open(const char *library, pamc_ort *ort, pamc_error *error);
void pamc_ort_close(pamc_ort *ort);

/* PAMC_OK for NULL. Otherwise the code of a failed call (PAMC_FILES where a damaged network explains it, and `files`
 * says that one is read), with "where: what" as the message and ONNX Runtime's own as the reason. Releases `status`. */
pamc_code pamc_ort_check(const pamc_ort *ort, OrtStatus *status, bool files, const char *where, const char *what,
                         pamc_error *error);

/* A session over the file `path`. */
pamc_code pamc_ort_session(const pamc_ort *ort, const char *path, int threads, OrtSession **session, pamc_error *error);

#endif
