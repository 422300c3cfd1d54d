#include "lines.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void flush(lines *out) {
  size_t done = 0;
  while (!out->broken && done < out->used) {
    ssize_t written = write(out->descriptor, out->buffer + done, out->used - done);
    if (written > 0) done += (size_t)written;
    else if (written == 0 || errno != EINTR) out->broken = true;
  }
  out->used = 0;
}

static void put(lines *out, const char *text, size_t length) {
  while (length) {
    if (out->used == sizeof out->buffer) flush(out);
    size_t room = sizeof out->buffer - out->used, part = length < room ? length : room;
    memcpy(out->buffer + out->used, text, part);
    out->used += part;
    text += part;
    length -= part;
  }
}

static void put_text(lines *out, const char *text) { put(out, text, strlen(text)); }

/* Quoted. Bytes beyond ASCII become question marks: messages of other libraries may be in any encoding. */
static void put_string(lines *out, const char *text) {
  put_text(out, "\"");
  for (; *text; text++) {
    unsigned char c = (unsigned char)*text;
    char escaped[8];
    if (c == '"' || c == '\\') snprintf(escaped, sizeof escaped, "\\%c", c);
    else if (c < 0x20) snprintf(escaped, sizeof escaped, "\\u%04x", c);
    else snprintf(escaped, sizeof escaped, "%c", c < 0x7f ? c : '?');
    put_text(out, escaped);
  }
  put_text(out, "\"");
}

static void put_key(lines *out, const char *key) {
  put_text(out, ",");
  put_string(out, key);
  put_text(out, ":");
}

static void put_integer(lines *out, int64_t value) {
  char text[24];
  snprintf(text, sizeof text, "%" PRId64, value);
  put_text(out, text);
}

void line_open(lines *out, const char *kind) {
  put_text(out, "{\"kind\":");
  put_string(out, kind);
}

void line_text(lines *out, const char *key, const char *value) {
  put_key(out, key);
  put_string(out, value);
}

void line_integer(lines *out, const char *key, int64_t value) {
  put_key(out, key);
  put_integer(out, value);
}

void line_integers(lines *out, const char *key, const int64_t *values, size_t count) {
  put_key(out, key);
  put_text(out, "[");
  for (size_t i = 0; i < count; i++) {
    if (i) put_text(out, ",");
    put_integer(out, values[i]);
  }
  put_text(out, "]");
}

void line_flag(lines *out, const char *key, bool value) {
  put_key(out, key);
  put_text(out, value ? "true" : "false");
}

void line_number(lines *out, const char *key, double value) {
  char text[40] = "null";
  if (isfinite(value)) snprintf(text, sizeof text, "%.17g", value);
  put_key(out, key);
  put_text(out, text);
}

void line_close(lines *out) {
  put_text(out, "}\n");
  flush(out);
  out->count++;
}
