#include "ort.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "fail.h"

/* The table of functions only grows. That of 1.17 has all that is called here, so every later library serves. */
#define API_VERSION 17
#define FIRST_LATER SessionOptionsAppendExecutionProvider_VitisAI
_Static_assert(offsetof(OrtApi, CreateEnv) < offsetof(OrtApi, FIRST_LATER), "not in ONNX Runtime 1.17");
_Static_assert(offsetof(OrtApi, CreateSession) < offsetof(OrtApi, FIRST_LATER), "not in ONNX Runtime 1.17");
_Static_assert(offsetof(OrtApi, AddSessionConfigEntry) < offsetof(OrtApi, FIRST_LATER), "not in ONNX Runtime 1.17");
_Static_assert(offsetof(OrtApi, SessionGetOutputName) < offsetof(OrtApi, FIRST_LATER), "not in ONNX Runtime 1.17");
_Static_assert(offsetof(OrtApi, CreateTensorWithDataAsOrtValue) < offsetof(OrtApi, FIRST_LATER),
               "not in ONNX Runtime 1.17");
_Static_assert(offsetof(OrtApi, Run) < offsetof(OrtApi, FIRST_LATER), "not in ONNX Runtime 1.17");

#define ANYWHERE "libonnxruntime.so"

static pamc_code find_api(const char *library, pamc_ort *ort, pamc_error *error) {
  /* Never closed: its threads and exit handlers may outlive the last session. */
  void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (!handle) return pamc_fail(error, PAMC_RUNTIME, dlerror(), "ONNX Runtime cannot be loaded from %s", library);
  void *symbol = dlsym(handle, "OrtGetApiBase");
  if (!symbol) return pamc_fail(error, PAMC_RUNTIME, dlerror(), "%s is not ONNX Runtime", library);
  const OrtApiBase *(*get_base)(void);
  memcpy(&get_base, &symbol, sizeof get_base);
  const OrtApiBase *base = get_base();
  ort->version = base->GetVersionString();
  ort->api = base->GetApi(API_VERSION);
  if (!ort->api)
    return pamc_fail(error, PAMC_RUNTIME, "1.17 or later is needed", "%s is ONNX Runtime %s", library, ort->version);
  return PAMC_OK;
}

pamc_code pamc_ort_open(const char *library, pamc_ort *ort, pamc_error *error) {
  *ort = (pamc_ort){0};
  pamc_code code = find_api(library ? library : ANYWHERE, ort, error);
  if (code) return code;
  /* What it would log comes back as the text of an error as well. */
  OrtStatus *status = ort->api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "pamc", &ort->env);
  return pamc_ort_check(ort, status, false, library ? library : ANYWHERE, "ONNX Runtime does not start", error);
}

void pamc_ort_close(pamc_ort *ort) {
  if (ort->env) ort->api->ReleaseEnv(ort->env);
  *ort = (pamc_ort){0};
}

pamc_code pamc_ort_check(const pamc_ort *ort, OrtStatus *status, bool files, const char *where, const char *what,
                         pamc_error *error) {
  if (!status) return PAMC_OK;
  OrtErrorCode cause = ort->api->GetErrorCode(status);
  bool refused = cause == ORT_NOT_IMPLEMENTED || cause == ORT_RUNTIME_EXCEPTION || cause == ORT_ENGINE_ERROR;
  pamc_code code = files && !refused ? PAMC_FILES : PAMC_RUNTIME;
  pamc_fail(error, code, ort->api->GetErrorMessage(status), "%s: %s", where, what);
  ort->api->ReleaseStatus(status);
  return code;
}

/* Whether this machine may add up uint8 x int8 in 16 bits, which cuts large sums off: x86 without VNNI. */
static bool sums_overflow(void) {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  bool avx512_vnni = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (c >> 11 & 1);
  bool avx_vnni = __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1);
  return !avx512_vnni && !avx_vnni;
#else
  return false;
#endif
}

pamc_code pamc_ort_session(const pamc_ort *ort, const char *path, int threads, OrtSession **session,
                           pamc_error *error) {
  const OrtApi *api = ort->api;
  OrtSessionOptions *options;
  OrtStatus *status = api->CreateSessionOptions(&options);
  if (status) return pamc_ort_check(ort, status, false, path, "a session has no options", error);
  status = api->SetIntraOpNumThreads(options, threads);
  if (!status) status = api->SetInterOpNumThreads(options, 1);
  if (!status) status = api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL);
  if (!status && sums_overflow()) status = api->AddSessionConfigEntry(options, "session.x64quantprecision", "1");
  if (!status) status = api->CreateSession(ort->env, path, options, session);
  api->ReleaseSessionOptions(options);
  return pamc_ort_check(ort, status, true, path, "the network cannot be loaded", error);
}
