#include "classes.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct {
  uint32_t mask, value;
} pattern;

/* FMLA, FMLS, FMLAL and FMLSL of vectors: three vectors, or two and an element. */
static const pattern fma_vector[] = {
    {0xbfa0fc00, 0x0e20cc00}, {0xbfa0fc00, 0x0ea0cc00}, {0xbfe0fc00, 0x0e400c00}, {0xbfe0fc00, 0x0ec00c00},
    {0xbfe0fc00, 0x0e20ec00}, {0xbfe0fc00, 0x0ea0ec00}, {0xbfe0fc00, 0x2e20cc00}, {0xbfe0fc00, 0x2ea0cc00},
    {0xbf80f400, 0x0f801000}, {0xbf80f400, 0x0f805000}, {0xbfc0f400, 0x0f001000}, {0xbfc0f400, 0x0f005000},
    {0xbfc0f400, 0x0f800000}, {0xbfc0f400, 0x0f804000}, {0xbfc0f400, 0x2f808000}, {0xbfc0f400, 0x2f80c000},
};

/* FMADD, FMSUB, FNMADD, FNMSUB, and FMLA and FMLS of one element. */
static const pattern fma_scalar[] = {
    {0xff000000, 0x1f000000}, {0xff80f400, 0x5f801000}, {0xff80f400, 0x5f805000},
    {0xffc0f400, 0x5f001000}, {0xffc0f400, 0x5f005000},
};

/* SDOT, UDOT, USDOT, SUDOT, BFDOT, then SMMLA, UMMLA, USMMLA, BFMMLA, BFMLALB and BFMLALT. */
static const pattern dot[] = {
    {0xbfe0fc00, 0x0e809400}, {0xbfe0fc00, 0x2e809400}, {0xbfe0fc00, 0x0e809c00}, {0xbfe0fc00, 0x2e40fc00},
    {0xbfc0f400, 0x0f80e000}, {0xbfc0f400, 0x2f80e000}, {0xbfc0f400, 0x0f80f000}, {0xbfc0f400, 0x0f00f000},
    {0xbfc0f400, 0x0f40f000}, {0xffe0fc00, 0x4e80a400}, {0xffe0fc00, 0x6e80a400}, {0xffe0fc00, 0x4e80ac00},
    {0xffe0fc00, 0x6e40ec00}, {0xbfe0fc00, 0x2ec0fc00}, {0xbfc0f400, 0x0fc0f000},
};

/* FP to and from integers, immediates, compares, selects, operations on one or two registers. */
static const pattern float_scalar[] = {{0x5f000000, 0x1e000000}};

/* Exceptions, system registers, barriers and hints, which lie among the branches. */
static const pattern system_words[] = {{0xff000000, 0xd4000000}, {0xff000000, 0xd5000000}};

static bool any(const pattern *patterns, size_t count, uint32_t word) {
  for (size_t i = 0; i < count; i++)
    if ((word & patterns[i].mask) == patterns[i].value) return true;
  return false;
}

#define ANY(patterns, word) any(patterns, sizeof(patterns) / sizeof *(patterns), word)

static bool is(uint32_t word, uint32_t mask, uint32_t value) { return (word & mask) == value; }

static bool bit(uint32_t word, unsigned number) { return word >> number & 1; }

static bool loads(uint32_t word) {
  bool vector = bit(word, 26);
  if (is(word, 0x3b000000, 0x18000000)) return true;                 /* literal */
  if (is(word, 0x3a000000, 0x28000000)) return bit(word, 22);        /* pairs */
  if (is(word, 0x3f200c00, 0x19000000)) return word >> 22 & 3;       /* LDAPUR, STLUR */
  if (is(word, 0x3fa07c00, 0x08a07c00)) return true;                 /* CAS */
  if (is(word, 0xbfa07c00, 0x08207c00)) return true;                 /* CASP */
  if (is(word, 0x3b200c00, 0x38200000) && !vector) return true;      /* atomics */
  if (is(word, 0x3b200400, 0x38200400) && !vector) return true;      /* LDRAA, LDRAB */
  if (is(word, 0x3a000000, 0x38000000) && !vector) return word >> 22 & 3; /* one register, prefetches */
  return bit(word, 22);                                              /* exclusive, ordered, vectors, structures */
}

a64_class a64_classify(uint32_t word) {
  unsigned group = word >> 25 & 15;
  if ((group & 5) == 4) {
    if (bit(word, 26)) return loads(word) ? A64_load_vector : A64_store_vector;
    return loads(word) ? A64_load : A64_store;
  }
  if ((group & 7) == 7) {
    if (ANY(fma_vector, word)) return A64_fma_vector;
    if (ANY(fma_scalar, word)) return A64_fma_scalar;
    if (ANY(dot, word)) return A64_dot;
    return ANY(float_scalar, word) ? A64_float_scalar : A64_simd;
  }
  if ((group & 14) == 10) return ANY(system_words, word) ? A64_other : A64_branch;
  return (group & 14) == 8 || (group & 7) == 5 ? A64_integer : A64_other;
}
