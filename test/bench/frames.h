// Frames that many connections receive with the same bytes. The bytes of the first connection become the reference; all
// bytes of every other connection are compared with it (memcmp), so that items are parsed only once. A connection whose
// bytes differ gets a reference of its own: nothing is counted that was not received.
#pragma once
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inflate.h"

enum { FRAME_PREFIX = 64, FRAME_SLOTS = 4096, FRAME_STAMPS = 64, OPCODE_TEXT = 1, OPCODE_BINARY = 2 };

typedef enum { FRAME_PUSH, FRAME_OK, FRAME_ERROR, FRAME_LAGGED, FRAME_RECONNECT, FRAME_OTHER } FrameKind;

typedef struct {
  uint64_t length;
  uint8_t opcode, prefix_length;
  uint8_t prefix[FRAME_PREFIX];
  uint8_t *bytes;
  uint64_t have;     // bytes known so far
  uint32_t readers;  // connections in the middle of it
  int parsed, broken;
  FrameKind kind;
  int ready;  // holds the text that says that a connection is in its room
  uint64_t lagged;
  // Items: how many, the first and last mark, whether the marks rise by one, and a sample of the send times (µs).
  uint32_t items, stamps;
  uint64_t first, last;
  int contiguous;
  uint64_t stamp[FRAME_STAMPS];
} Frame;

typedef struct {
  Frame *slot[FRAME_SLOTS];
  unsigned next;
  const char *ready;
} Frames;

// A number after `key` within the `size` bytes at `text`; *found tells whether there is one.
static inline uint64_t frame_number(const uint8_t *text, size_t size, const char *key, int *found) {
  const uint8_t *at = memmem(text, size, key, strlen(key));
  *found = at != NULL;
  uint64_t value = 0;
  if (!at) return 0;
  for (at += strlen(key); at < text + size && *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint64_t)(*at - '0');
  return value;
}

static inline int frame_holds(const uint8_t *text, size_t size, const char *what) {
  return memmem(text, size, what, strlen(what)) != NULL;
}

// An item begins with its mark and its send time: `{"@":17,"t":83211200417,...`. No other `"@":` occurs in a frame.
// Peers that put an item into a JSON string write `{\"@\":`: only the digits after the colon matter.
static inline void frame_items(Frame *frame, const uint8_t *text, size_t size) {
  const uint8_t *end = text + size, *at = text;
  uint32_t count = 0;
  for (const uint8_t *p = text; (p = memchr(p, '@', (size_t)(end - p))); p++) count++;
  uint32_t every = count > FRAME_STAMPS ? (count + FRAME_STAMPS - 1) / FRAME_STAMPS : 1;
  frame->contiguous = 1;
  while ((at = memchr(at, '@', (size_t)(end - at)))) {
    int found;
    size_t left = (size_t)(end - at) < 96 ? (size_t)(end - at) : 96;
    const uint8_t *colon = memchr(at, ':', left);
    uint64_t mark = 0;
    if (!colon) break;
    for (const uint8_t *p = colon + 1; p < end && *p >= '0' && *p <= '9'; p++) mark = mark * 10 + (uint64_t)(*p - '0');
    if (frame->items == 0) frame->first = mark;
    else if (mark != frame->last + 1) frame->contiguous = 0;
    frame->last = mark;
    if (frame->items % every == 0 && frame->stamps < FRAME_STAMPS) {
      const uint8_t *t = memchr(colon, 't', (size_t)(end - colon) < 40 ? (size_t)(end - colon) : 40);
      uint64_t stamp = t ? frame_number(t, (size_t)(end - t) < 40 ? (size_t)(end - t) : 40, ":", &found) : 0;
      if (stamp) frame->stamp[frame->stamps++] = stamp;
    }
    frame->items++;
    at++;
  }
}

static inline void frame_parse(Frame *frame, const char *ready) {
  const uint8_t *text = frame->bytes;
  size_t size = frame->length;
  uint8_t *inflated = NULL;
  frame->parsed = 1;
  if (frame->opcode == OPCODE_BINARY && size > 0 && text[0] != '{') {
    if (!inflate_raw(text, size, &inflated, &size)) {
      frame->broken = 1;
      free(inflated);
      return;
    }
    text = inflated;
  }
  int found;
  size_t head = size < 256 ? size : 256;
  frame_items(frame, text, size);
  if (frame->items) frame->kind = FRAME_PUSH;
  else if (frame_holds(text, head, "\"LAGGED\"")) frame->kind = FRAME_LAGGED;
  else if (frame_holds(text, head, "\"RECONNECT\"")) frame->kind = FRAME_RECONNECT;
  else if (frame_holds(text, head, "\"ERROR\"")) frame->kind = FRAME_ERROR;
  else if (frame_holds(text, head, "\"OK\"")) frame->kind = FRAME_OK;
  else frame->kind = FRAME_OTHER;
  if (frame->kind == FRAME_LAGGED) frame->lagged = frame_number(text, size, "\"dropped\":", &found);
  frame->ready = ready[0] != 0 && frame_holds(text, head, ready);
  free(inflated);
}

static inline Frame *frame_new(uint8_t opcode, uint64_t length, const uint8_t *prefix, uint8_t prefix_length) {
  Frame *frame = calloc(1, sizeof *frame);
  if (!frame || !(frame->bytes = malloc(length ? length : 1))) abort();
  frame->opcode = opcode;
  frame->length = length;
  frame->prefix_length = prefix_length;
  memcpy(frame->prefix, prefix, prefix_length);
  return frame;
}

static inline void frame_free(Frame *frame) {
  free(frame->bytes);
  free(frame);
}

// Keeps `frame` among the recent ones. It replaces the oldest frame that no connection is reading.
static inline void frames_keep(Frames *frames, Frame *frame) {
  for (unsigned tries = 0; tries < FRAME_SLOTS; tries++) {
    unsigned at = frames->next++ % FRAME_SLOTS;
    if (frames->slot[at] && frames->slot[at]->readers) continue;
    if (frames->slot[at]) frame_free(frames->slot[at]);
    frames->slot[at] = frame;
    return;
  }
  fprintf(stderr, "client: more than %d different frames are under way at once\n", FRAME_SLOTS);
  exit(1);
}

// The newest kept frame that begins with these bytes, or a new one; increments the frame's number of readers.
static inline Frame *frames_find(Frames *frames, uint8_t opcode, uint64_t length, const uint8_t *prefix,
                                 uint8_t prefix_length) {
  for (unsigned back = 1; back <= FRAME_SLOTS && back <= frames->next; back++) {
    Frame *frame = frames->slot[(frames->next - back) % FRAME_SLOTS];
    if (frame && frame->length == length && frame->opcode == opcode && !memcmp(frame->prefix, prefix, prefix_length)) {
      frame->readers++;
      return frame;
    }
  }
  Frame *frame = frame_new(opcode, length, prefix, prefix_length);
  frame->readers = 1;
  frames_keep(frames, frame);
  return frame;
}

// Takes `size` more bytes from a reader that has received `offset` bytes of `frame`. Returns the frame to continue
// with: another one if the bytes differ.
static inline Frame *frames_take(Frames *frames, Frame *frame, uint64_t offset, const uint8_t *bytes, size_t size) {
  uint64_t known = frame->have - offset < size ? frame->have - offset : size;
  if (known && memcmp(frame->bytes + offset, bytes, known)) {
    Frame *own = frame_new(frame->opcode, frame->length, frame->prefix, frame->prefix_length);
    memcpy(own->bytes, frame->bytes, offset);
    own->have = offset;
    own->readers = 1;
    frame->readers--;
    frames_keep(frames, own);
    frame = own;
    known = 0;
  }
  if (known < size) {
    memcpy(frame->bytes + frame->have, bytes + known, size - known);
    frame->have += size - known;
  }
  if (frame->have == frame->length && !frame->parsed) frame_parse(frame, frames->ready);
  return frame;
}
