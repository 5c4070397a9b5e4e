// A log-linear histogram of microseconds: 128 buckets a power of two, so that a percentile is right within 0.8 %.
#pragma once
#include <stdint.h>
#include <string.h>

enum { HISTOGRAM_BITS = 7, HISTOGRAM_BUCKETS = 40 << HISTOGRAM_BITS };

typedef struct {
  uint64_t count, max;
  uint64_t buckets[HISTOGRAM_BUCKETS];
} Histogram;

static inline void histogram_clear(Histogram *h) { memset(h, 0, sizeof *h); }

static inline unsigned histogram_bucket(uint64_t value) {
  if (value < 1u << HISTOGRAM_BITS) return (unsigned)value;
  unsigned exponent = 63 - (unsigned)__builtin_clzll(value) - HISTOGRAM_BITS;
  unsigned bucket = ((exponent + 1) << HISTOGRAM_BITS) + (unsigned)((value >> exponent) & ((1u << HISTOGRAM_BITS) - 1));
  return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

// The largest value of the bucket.
static inline uint64_t histogram_edge(unsigned bucket) {
  if (bucket < 1u << HISTOGRAM_BITS) return bucket;
  unsigned exponent = (bucket >> HISTOGRAM_BITS) - 1;
  return (((uint64_t)((1u << HISTOGRAM_BITS) + (bucket & ((1u << HISTOGRAM_BITS) - 1))) + 1) << exponent) - 1;
}

static inline void histogram_add(Histogram *h, uint64_t value) {
  h->count++;
  if (value > h->max) h->max = value;
  h->buckets[histogram_bucket(value)]++;
}

// The value that the share `share` (0 to 1) of all values does not exceed; 0 if there are none.
static inline uint64_t histogram_percentile(const Histogram *h, double share) {
  uint64_t wanted = (uint64_t)(share * (double)h->count + 0.9999999), seen = 0;
  if (wanted == 0) wanted = 1;
  for (unsigned b = 0; b < HISTOGRAM_BUCKETS; b++) {
    seen += h->buckets[b];
    if (seen >= wanted) return histogram_edge(b) < h->max ? histogram_edge(b) : h->max;
  }
  return h->max;
}
