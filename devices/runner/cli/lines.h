/* What pamc-runner says: one JSON object a line. A line is written when it is closed, or when the buffer is full. */
#ifndef PAMC_LINES_H
#define PAMC_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  int descriptor;
  bool broken; /* a write failed; nothing more is written */
  int64_t count;
  size_t used;
  char buffer[16384];
} lines;

/* Begin a line of a kind, add members to it, end it. */
void line_open(lines *out, const char *kind);
void line_text(lines *out, const char *key, const char *value);
void line_integer(lines *out, const char *key, int64_t value);
void line_integers(lines *out, const char *key, const int64_t *values, size_t count);
void line_flag(lines *out, const char *key, bool value);
/* null where `value` is not finite. */
void line_number(lines *out, const char *key, double value);
void line_close(lines *out);

#endif
