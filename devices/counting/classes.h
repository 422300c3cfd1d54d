/* Classes of A64 instructions, told from the 32 bits of the instruction alone. */
#ifndef PAMC_CLASSES_H
#define PAMC_CLASSES_H

#include <stdint.h>

/* In the order of the pipes that they go to. docs/counting.md says what each holds. */
#define CLASSES(each)                                                                                                  \
  each(fma_vector) each(fma_scalar) each(dot) each(simd) each(float_scalar) each(load_vector) each(store_vector)       \
      each(load) each(store) each(branch) each(integer) each(other)

#define NAME(name) A64_##name,
typedef enum { CLASSES(NAME) A64_CLASSES } a64_class;
#undef NAME

/* The class of `word`. The encodings are those of the Arm Architecture Reference Manual for A-profile, chapter C4. */
a64_class a64_classify(uint32_t word);

#endif
