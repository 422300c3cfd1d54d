/* A strict reader of JSON (RFC 8259) for files that somebody else may have written.
 *
 * Text must be UTF-8 without NUL, nested at most PAMC_JSON_DEPTH deep, and have no key twice in one object, nor more than
 * 4096 keys. Numbers are kept as text; their readers check the range. */
#ifndef PAMC_JSON_H
#define PAMC_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAMC_JSON_DEPTH 32

typedef enum { PAMC_NULL, PAMC_FALSE, PAMC_TRUE, PAMC_NUMBER, PAMC_STRING, PAMC_ARRAY, PAMC_OBJECT } pamc_json_kind;

typedef struct pamc_json {
  pamc_json_kind kind;
  const char *key;  /* of a member of an object, else NULL */
  const char *text; /* of a string or a number */
  size_t count;     /* elements or members */
  size_t first;     /* index of the first of them */
  size_t next;      /* index of the next sibling; 0 ends */
} pamc_json;

/* A document; values[0] is its root. */
typedef struct {
  pamc_json *values;
  size_t count, capacity;
  char *text;
} pamc_json_document;

/* Parse `size` bytes. Returns NULL, or what is wrong; then there is no document to release. */
const char *pamc_json_parse(const char *text, size_t size, pamc_json_document *document);
void pamc_json_release(pamc_json_document *document);

/* The member `key` of an object; NULL where `value` is NULL, is no object, or has no such member. */
const pamc_json *pamc_json_get(const pamc_json_document *document, const pamc_json *value, const char *key);

/* The first element or member, and the following sibling; NULL after the last. */
const pamc_json *pamc_json_first(const pamc_json_document *document, const pamc_json *value);
const pamc_json *pamc_json_next(const pamc_json_document *document, const pamc_json *value);

/* Text of a string, else NULL. */
const char *pamc_json_string(const pamc_json *value);

/* A whole number from 0 to 2^63-1, or a finite number; false for anything else. */
bool pamc_json_natural(const pamc_json *value, int64_t *number);
bool pamc_json_double(const pamc_json *value, double *number);

#endif
