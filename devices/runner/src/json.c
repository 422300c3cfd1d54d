#include "json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY "memory is exhausted"
#define MOST_MEMBERS 4096 /* each new key is compared with those before it */

typedef struct {
  pamc_json_document *document;
  char *at; /* the text ends with a NUL and has no other, so reading stops there at the latest */
  const char *wrong;
} parser;

static bool fail(parser *p, const char *wrong) {
  if (!p->wrong) p->wrong = wrong;
  return false;
}

static void skip_space(parser *p) {
  while (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r') p->at++;
}

static bool add(parser *p, pamc_json_kind kind, const char *key, size_t *index) {
  pamc_json_document *d = p->document;
  if (d->count == d->capacity) {
    size_t capacity = d->capacity ? 2 * d->capacity : 64;
    if (capacity > SIZE_MAX / sizeof *d->values) return fail(p, MEMORY);
    pamc_json *values = realloc(d->values, capacity * sizeof *values);
    if (!values) return fail(p, MEMORY);
    d->values = values;
    d->capacity = capacity;
  }
  d->values[d->count] = (pamc_json){.kind = kind, .key = key};
  *index = d->count++;
  return true;
}

/* Length of the UTF-8 character at `s`, without surrogates and overlong forms; 0 when it is none. */
static size_t utf8_length(const char *s) {
  const unsigned char *u = (const unsigned char *)s;
  if (u[0] < 0x80) return 1;
  size_t length = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
  if (u[0] < 0xc2 || u[0] > 0xf4) return 0;
  for (size_t i = 1; i < length; i++)
    if ((u[i] & 0xc0) != 0x80) return 0;
  if ((u[0] == 0xe0 && u[1] < 0xa0) || (u[0] == 0xed && u[1] > 0x9f)) return 0;
  if ((u[0] == 0xf0 && u[1] < 0x90) || (u[0] == 0xf4 && u[1] > 0x8f)) return 0;
  return length;
}

static bool hex4(const char *s, uint32_t *code) {
  *code = 0;
  for (int i = 0; i < 4; i++) {
    char c = s[i];
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = (uint32_t)(c - '0');
    else if (c >= 'a' && c <= 'f') digit = (uint32_t)(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F') digit = (uint32_t)(c - 'A') + 10;
    else return false;
    *code = *code << 4 | digit;
  }
  return true;
}

static char *put_utf8(char *to, uint32_t code) {
  if (code < 0x80) {
    *to++ = (char)code;
  } else if (code < 0x800) {
    *to++ = (char)(0xc0 | code >> 6);
    *to++ = (char)(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    *to++ = (char)(0xe0 | code >> 12);
    *to++ = (char)(0x80 | (code >> 6 & 0x3f));
    *to++ = (char)(0x80 | (code & 0x3f));
  } else {
    *to++ = (char)(0xf0 | code >> 18);
    *to++ = (char)(0x80 | (code >> 12 & 0x3f));
    *to++ = (char)(0x80 | (code >> 6 & 0x3f));
    *to++ = (char)(0x80 | (code & 0x3f));
  }
  return to;
}

/* What stands after a backslash and a u; the surrogate pair of a character beyond 16 bits takes two of them. */
static bool unescape_code(parser *p, char **to) {
  uint32_t code, low;
  if (!hex4(p->at, &code)) return fail(p, "a string has a bad \\u escape");
  p->at += 4;
  if (code >= 0xd800 && code < 0xdc00) {
    if (p->at[0] != '\\' || p->at[1] != 'u' || !hex4(p->at + 2, &low) || low < 0xdc00 || low > 0xdfff)
      return fail(p, "a string has half a surrogate pair");
    p->at += 6;
    code = 0x10000 + ((code - 0xd800) << 10 | (low - 0xdc00));
  } else if (code >= 0xdc00 && code < 0xe000) {
    return fail(p, "a string has half a surrogate pair");
  }
  if (code == 0) return fail(p, "a string has a NUL");
  *to = put_utf8(*to, code);
  return true;
}

static bool unescape(parser *p, char **to) {
  static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
  char c = *++p->at;
  if (c == 'u') {
    p->at++;
    return unescape_code(p, to);
  }
  const char *found = c ? strchr(from, c) : NULL;
  if (!found) return fail(p, "a string has a bad escape");
  *(*to)++ = into[found - from];
  p->at++;
  return true;
}

/* A string, unescaped where it stands: no escape is shorter than what it means. */
static bool read_string(parser *p, const char **text) {
  if (*p->at != '"') return fail(p, "a string is expected");
  char *to = ++p->at;
  *text = to;
  while (*p->at != '"') {
    if ((unsigned char)*p->at < 0x20) return fail(p, "a string does not end or has a control character");
    if (*p->at == '\\') {
      if (!unescape(p, &to)) return false;
      continue;
    }
    size_t length = utf8_length(p->at);
    if (!length) return fail(p, "a string is not UTF-8");
    memmove(to, p->at, length);
    to += length;
    p->at += length;
  }
  p->at++;
  *to = '\0';
  return true;
}

static bool digits(parser *p) {
  if (*p->at < '0' || *p->at > '9') return fail(p, "a number is malformed");
  while (*p->at >= '0' && *p->at <= '9') p->at++;
  return true;
}

static bool skip_number(parser *p) {
  if (*p->at == '-') p->at++;
  if (*p->at == '0') p->at++;
  else if (!digits(p)) return false;
  if (*p->at == '.') {
    p->at++;
    if (!digits(p)) return false;
  }
  if (*p->at == 'e' || *p->at == 'E') {
    p->at++;
    if (*p->at == '+' || *p->at == '-') p->at++;
    if (!digits(p)) return false;
  }
  return true;
}

static bool read_value(parser *p, const char *key, int depth, size_t *index);

/* The next element or member of what stands at `parent`, whose last one so far is `last`. */
static bool read_item(parser *p, size_t parent, size_t *last, int depth) {
  const char *key = NULL;
  skip_space(p);
  if (p->document->values[parent].kind == PAMC_OBJECT) {
    if (!read_string(p, &key)) return false;
    if (p->document->values[parent].count == MOST_MEMBERS) return fail(p, "an object has too many members");
    if (pamc_json_get(p->document, &p->document->values[parent], key)) return fail(p, "an object has a key twice");
    skip_space(p);
    if (*p->at++ != ':') return fail(p, "an object lacks a colon");
  }
  size_t index;
  if (!read_value(p, key, depth + 1, &index)) return false;
  pamc_json *values = p->document->values;
  if (values[parent].count++) values[*last].next = index;
  else values[parent].first = index;
  *last = index;
  return true;
}

static bool read_items(parser *p, size_t parent, char close, int depth) {
  size_t last = 0;
  p->at++;
  skip_space(p);
  if (*p->at == close) {
    p->at++;
    return true;
  }
  for (;;) {
    if (!read_item(p, parent, &last, depth)) return false;
    skip_space(p);
    char c = *p->at;
    if (c != ',' && c != close) return fail(p, "a comma or a closing bracket is missing");
    p->at++;
    if (c == close) return true;
  }
}

static bool read_word(parser *p, pamc_json_kind kind, const char *word, const char *key, size_t *index) {
  if (strncmp(p->at, word, strlen(word))) return fail(p, "a value is expected");
  p->at += strlen(word);
  return add(p, kind, key, index);
}

static bool read_number(parser *p, const char *key, size_t *index) {
  char *start = p->at;
  if (!skip_number(p) || !add(p, PAMC_NUMBER, key, index)) return false;
  p->document->values[*index].text = start;
  return true;
}

static bool read_value(parser *p, const char *key, int depth, size_t *index) {
  if (depth > PAMC_JSON_DEPTH) return fail(p, "it is nested too deeply");
  skip_space(p);
  switch (*p->at) {
    case '{': return add(p, PAMC_OBJECT, key, index) && read_items(p, *index, '}', depth);
    case '[': return add(p, PAMC_ARRAY, key, index) && read_items(p, *index, ']', depth);
    case '"': {
      const char *text;
      if (!read_string(p, &text) || !add(p, PAMC_STRING, key, index)) return false;
      p->document->values[*index].text = text;
      return true;
    }
    case 'n': return read_word(p, PAMC_NULL, "null", key, index);
    case 't': return read_word(p, PAMC_TRUE, "true", key, index);
    case 'f': return read_word(p, PAMC_FALSE, "false", key, index);
    default: return read_number(p, key, index);
  }
}

const char *pamc_json_parse(const char *text, size_t size, pamc_json_document *document) {
  *document = (pamc_json_document){0};
  if (size && memchr(text, '\0', size)) return "it has a NUL";
  if (size > SIZE_MAX - 1 || !(document->text = malloc(size + 1))) return MEMORY;
  if (size) memcpy(document->text, text, size);
  document->text[size] = '\0';
  parser p = {document, document->text, NULL};
  size_t root;
  if (read_value(&p, NULL, 0, &root)) {
    skip_space(&p);
    if (*p.at) fail(&p, "something follows its end");
  }
  if (p.wrong) pamc_json_release(document);
  return p.wrong;
}

void pamc_json_release(pamc_json_document *document) {
  free(document->values);
  free(document->text);
  *document = (pamc_json_document){0};
}

const pamc_json *pamc_json_first(const pamc_json_document *document, const pamc_json *value) {
  if (!value || !value->count) return NULL;
  return &document->values[value->first];
}

const pamc_json *pamc_json_next(const pamc_json_document *document, const pamc_json *value) {
  return value->next ? &document->values[value->next] : NULL;
}

const pamc_json *pamc_json_get(const pamc_json_document *document, const pamc_json *value, const char *key) {
  if (!value || value->kind != PAMC_OBJECT) return NULL;
  for (const pamc_json *item = pamc_json_first(document, value); item; item = pamc_json_next(document, item))
    if (strcmp(item->key, key) == 0) return item;
  return NULL;
}

const char *pamc_json_string(const pamc_json *value) {
  return value && value->kind == PAMC_STRING ? value->text : NULL;
}

bool pamc_json_natural(const pamc_json *value, int64_t *number) {
  if (!value || value->kind != PAMC_NUMBER) return false;
  const char *at = value->text;
  int64_t sum = 0;
  for (; *at >= '0' && *at <= '9'; at++) {
    int digit = *at - '0';
    if (sum > (INT64_MAX - digit) / 10) return false;
    sum = 10 * sum + digit;
  }
  if (at == value->text || *at == '.' || *at == 'e' || *at == 'E') return false;
  *number = sum;
  return true;
}

bool pamc_json_double(const pamc_json *value, double *number) {
  if (!value || value->kind != PAMC_NUMBER) return false;
  *number = strtod(value->text, NULL);
  return isfinite(*number);
}
