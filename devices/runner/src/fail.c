#include "fail.h"

#include <stdarg.h>
#include <stdio.h>

pamc_code pamc_fail(pamc_error *error, pamc_code code, const char *why, const char *what, ...) {
  if (!error) return code;
  error->code = code;
  va_list arguments;
  va_start(arguments, what);
  vsnprintf(error->what, sizeof error->what, what, arguments);
  va_end(arguments);
  snprintf(error->why, sizeof error->why, "%s", why ? why : "");
  return code;
}

pamc_code pamc_fail_memory(pamc_error *error) {
  return pamc_fail(error, PAMC_RUNTIME, NULL, "memory is exhausted");
}
