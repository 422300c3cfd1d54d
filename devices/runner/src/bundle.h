/* What the command line needs of a bundle beyond pamc.h. */
#ifndef PAMC_BUNDLE_H
#define PAMC_BUNDLE_H

#include "../pamc.h"
#include "manifest.h"

const char *pamc_folder(const pamc_bundle *bundle);
const pamc_manifest *pamc_manifest_of(const pamc_bundle *bundle);

/* The canonical name of the task set that `text` means. PAMC_USAGE when it is none, PAMC_FILES when its network is not
 * in the folder. */
pamc_code pamc_find(const pamc_bundle *bundle, const char *text, const char **task_set, pamc_error *error);

const char *pamc_loaded_task_set(const pamc_network *network);

#endif
