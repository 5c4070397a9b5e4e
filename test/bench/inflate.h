// Decodes raw DEFLATE (RFC 1951) bit by bit. Each distinct frame is inflated only once, so this is fast enough, and the
// client needs no library.
#pragma once
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
  const uint8_t *in;
  size_t size, at;
  uint32_t bits;
  int held, failed;
  uint8_t *out;
  size_t length, room;
} Inflate;

// Codes of one alphabet: how many of each length, and the symbols in the order of their codes.
typedef struct {
  uint16_t count[16], symbol[288];
} Alphabet;

static inline unsigned inflate_bits(Inflate *s, int count) {
  while (s->held < count) {
    if (s->at == s->size) {
      s->failed = 1;
      return 0;
    }
    s->bits |= (uint32_t)s->in[s->at++] << s->held;
    s->held += 8;
  }
  unsigned value = s->bits & ((1u << count) - 1);
  s->bits >>= count;
  s->held -= count;
  return value;
}

static inline void inflate_put(Inflate *s, uint8_t byte) {
  if (s->length == s->room) {
    s->room = s->room ? s->room * 2 : 4096;
    s->out = realloc(s->out, s->room);
    if (!s->out) abort();
  }
  s->out[s->length++] = byte;
}

static inline void alphabet_of(Alphabet *a, const uint8_t *lengths, int symbols) {
  uint16_t next[16] = {0};
  memset(a->count, 0, sizeof a->count);
  for (int i = 0; i < symbols; i++) a->count[lengths[i]]++;
  a->count[0] = 0;
  for (int length = 1; length < 15; length++) next[length + 1] = (uint16_t)(next[length] + a->count[length]);
  for (int i = 0; i < symbols; i++)
    if (lengths[i]) a->symbol[next[lengths[i]]++] = (uint16_t)i;
}

static inline int inflate_symbol(Inflate *s, const Alphabet *a) {
  int code = 0, first = 0, index = 0;
  for (int length = 1; length < 16; length++) {
    code |= (int)inflate_bits(s, 1);
    int count = a->count[length];
    if (code - first < count) return a->symbol[index + code - first];
    index += count;
    first = (first + count) << 1;
    code <<= 1;
  }
  s->failed = 1;
  return 0;
}

static inline void inflate_block(Inflate *s, const Alphabet *literals, const Alphabet *distances) {
  static const uint16_t base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                  31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
  static const uint8_t extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
  while (!s->failed) {
    int symbol = inflate_symbol(s, literals);
    if (symbol == 256) return;
    if (symbol < 256) {
      inflate_put(s, (uint8_t)symbol);
      continue;
    }
    if (symbol > 285) break;
    unsigned length = base[symbol - 257] + inflate_bits(s, extra[symbol - 257]);
    int code = inflate_symbol(s, distances);
    if (code > 29) break;
    // RFC 1951 3.2.5: two codes for each number of extra bits, from code 2 on.
    unsigned distance = code < 4 ? (unsigned)code + 1
                                 : ((2u + (code & 1)) << (code / 2 - 1)) + 1 + inflate_bits(s, code / 2 - 1);
    if (s->failed || distance > s->length) break;
    while (length--) inflate_put(s, s->out[s->length - distance]);
  }
  s->failed = 1;
}

static inline void inflate_dynamic(Inflate *s) {
  static const uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
  uint8_t lengths[288 + 32] = {0};
  Alphabet codes, literals, distances;
  int literal_count = (int)inflate_bits(s, 5) + 257, distance_count = (int)inflate_bits(s, 5) + 1;
  int code_count = (int)inflate_bits(s, 4) + 4, total = literal_count + distance_count;
  for (int i = 0; i < code_count; i++) lengths[order[i]] = (uint8_t)inflate_bits(s, 3);
  alphabet_of(&codes, lengths, 19);
  memset(lengths, 0, sizeof lengths);
  for (int i = 0; i < total && !s->failed;) {
    int symbol = inflate_symbol(s, &codes);
    if (symbol < 16) {
      lengths[i++] = (uint8_t)symbol;
      continue;
    }
    if (symbol == 16 && i == 0) s->failed = 1;
    uint8_t value = symbol == 16 && i > 0 ? lengths[i - 1] : 0;
    int repeat = symbol == 16   ? 3 + (int)inflate_bits(s, 2)
                 : symbol == 17 ? 3 + (int)inflate_bits(s, 3)
                                : 11 + (int)inflate_bits(s, 7);
    if (i + repeat > total) s->failed = 1;
    while (repeat-- && i < total) lengths[i++] = value;
  }
  if (s->failed || literal_count > 286) {
    s->failed = 1;
    return;
  }
  alphabet_of(&literals, lengths, literal_count);
  alphabet_of(&distances, lengths + literal_count, distance_count);
  inflate_block(s, &literals, &distances);
}

static inline void inflate_fixed(Inflate *s) {
  uint8_t lengths[288 + 30];
  Alphabet literals, distances;
  for (int i = 0; i < 288; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  memset(lengths + 288, 5, 30);
  alphabet_of(&literals, lengths, 288);
  alphabet_of(&distances, lengths + 288, 30);
  inflate_block(s, &literals, &distances);
}

static inline void inflate_stored(Inflate *s) {
  s->bits = 0;
  s->held = 0;
  if (s->size - s->at < 4) {
    s->failed = 1;
    return;
  }
  size_t length = s->in[s->at] | (size_t)s->in[s->at + 1] << 8;
  s->at += 4;
  if (s->size - s->at < length) {
    s->failed = 1;
    return;
  }
  while (length--) inflate_put(s, s->in[s->at++]);
}

// Inflates `size` bytes into a new buffer, which the caller frees. Returns 0 if the input is not raw DEFLATE. An input
// that ends after a block that is not the last one (a sync flush) is complete.
static inline int inflate_raw(const uint8_t *in, size_t size, uint8_t **out, size_t *length) {
  Inflate s = {.in = in, .size = size};
  for (int last = 0; !last && !s.failed && !(s.at == s.size && s.held < 3 && s.length > 0);) {
    last = (int)inflate_bits(&s, 1);
    switch (inflate_bits(&s, 2)) {
      case 0: inflate_stored(&s); break;
      case 1: inflate_fixed(&s); break;
      case 2: inflate_dynamic(&s); break;
      default: s.failed = 1;
    }
  }
  *out = s.out;
  *length = s.length;
  return !s.failed;
}
