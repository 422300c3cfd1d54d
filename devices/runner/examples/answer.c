/* Answers one task set for one raw sample: answer FOLDER age+smile < x.bin */
#include <stdio.h>

#include "../pamc.h"

int main(int count, char **arguments) {
  pamc_bundle *bundle = NULL;
  pamc_network *network = NULL;
  pamc_error error = {0};
  if (count != 3) return PAMC_USAGE;
  if (pamc_open(arguments[1], NULL, &bundle, &error) || pamc_load(bundle, arguments[2], 1, &network, &error)) goto end;
  pamc_tensor input = pamc_input(network);
  if (fread(input.data, 1, input.bytes, stdin) != input.bytes) {
    fprintf(stderr, "an input has %zu bytes\n", input.bytes);
    error.code = PAMC_USAGE;
    goto end;
  }
  if (pamc_run(network, &error)) goto end;
  for (size_t i = 0; i < pamc_output_count(network); i++) {
    pamc_tensor output = pamc_output(network, i);
    const float *values = output.data;
    printf("%s:", output.name);
    for (size_t k = 0; k < output.count; k++) printf(" %g", (double)values[k]);
    printf("\n");
  }
end:
  if (error.what[0]) fprintf(stderr, "%s: %s\n", error.what, error.why);
  pamc_unload(network);
  pamc_close(bundle);
  return error.code;
}
