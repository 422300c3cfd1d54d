/* Filling a pamc_error. */
#ifndef PAMC_FAIL_H
#define PAMC_FAIL_H

#include "../pamc.h"

/* Say `what` (a printf format) is wrong, and `why` where that is known; returns `code`. `error` may be NULL. */
__attribute__((format(printf, 4, 5))) pamc_code pamc_fail(pamc_error *error, pamc_code code, const char *why,
                                                          const char *what, ...);

pamc_code pamc_fail_memory(pamc_error *error);

#endif
